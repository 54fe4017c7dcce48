"""neighbours, item_index, item_features -> similar_items: items like an item."""

from recspark.candidates.similar import build_similar_items
from recspark.runtime.job import Job
from recspark.tables import SIMILAR_ITEMS

JOB = Job(build_similar_items, writes=SIMILAR_ITEMS)

if __name__ == "__main__":
    JOB.main()
