"""lists (source), user_index, item_index -> user_lists: what users block, and what alone they may be offered."""

from recspark.interactions.lists import land_lists
from recspark.runtime.job import Job
from recspark.tables import USER_LISTS

JOB = Job(land_lists, writes=USER_LISTS)

if __name__ == "__main__":
    JOB.main()
