"""items (source) -> clean_items: what can be recommended, one row an id."""

from recspark.interactions.land import land_items
from recspark.runtime.job import Job
from recspark.tables import CLEAN_ITEMS

JOB = Job(land_items, writes=CLEAN_ITEMS)

if __name__ == "__main__":
    JOB.main()
