"""landed_events -> clean_events: what obeys every rule, exact repetitions collapsed."""

from recspark.interactions.clean import build_clean_events
from recspark.runtime.job import Job
from recspark.tables import CLEAN_EVENTS

JOB = Job(build_clean_events, writes=CLEAN_EVENTS)

if __name__ == "__main__":
    JOB.main()
