"""clean_items, item_index, interactions -> feature_stats: statistics and vocabularies of item attributes."""

from recspark.features.statistics import build_item_statistics
from recspark.runtime.job import Job
from recspark.tables import FEATURE_STATS

JOB = Job(build_item_statistics, writes=FEATURE_STATS, slice={"entity": "item"})

if __name__ == "__main__":
    JOB.main()
