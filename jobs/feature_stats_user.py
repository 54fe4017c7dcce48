"""clean_users, user_index, interactions -> feature_stats: statistics and vocabularies of user attributes."""

from recspark.features.statistics import build_user_statistics
from recspark.runtime.job import Job
from recspark.tables import FEATURE_STATS

JOB = Job(build_user_statistics, writes=FEATURE_STATS, slice={"entity": "user"})

if __name__ == "__main__":
    JOB.main()
