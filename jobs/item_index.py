"""clean_events, clean_items -> item_index: item_id -> item_idx."""

from recspark.interactions.index import build_item_index
from recspark.runtime.job import Job
from recspark.tables import ITEM_INDEX

JOB = Job(build_item_index, writes=ITEM_INDEX)

if __name__ == "__main__":
    JOB.main()
