"""clean_users, user_index, feature_stats -> user_features: one encoded row for every user of the index."""

from recspark.features.encode import build_user_features
from recspark.runtime.job import Job
from recspark.tables import USER_FEATURES

JOB = Job(build_user_features, writes=USER_FEATURES)

if __name__ == "__main__":
    JOB.main()
