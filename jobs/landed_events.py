"""events (source) -> landed_events: the newest delivery in our columns, with what is wrong with each row."""

from recspark.interactions.land import land_events
from recspark.runtime.job import Job
from recspark.tables import LANDED_EVENTS

JOB = Job(land_events, writes=LANDED_EVENTS)

if __name__ == "__main__":
    JOB.main()
