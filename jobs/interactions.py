"""clean_events, user_index, item_index -> interactions: events by our indexes."""

from recspark.interactions.interactions import index_events
from recspark.runtime.job import Job
from recspark.tables import INTERACTIONS

JOB = Job(index_events, writes=INTERACTIONS)

if __name__ == "__main__":
    JOB.main()
