"""clean_items, item_index, feature_stats -> item_features: one encoded row for every item of the index."""

from recspark.features.encode import build_item_features
from recspark.runtime.job import Job
from recspark.tables import ITEM_FEATURES

JOB = Job(build_item_features, writes=ITEM_FEATURES)

if __name__ == "__main__":
    JOB.main()
