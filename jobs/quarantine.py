"""landed_events -> quarantine: the rows that were refused, with the reason."""

from recspark.interactions.clean import build_quarantine
from recspark.runtime.job import Job
from recspark.tables import QUARANTINE

JOB = Job(build_quarantine, writes=QUARANTINE)

if __name__ == "__main__":
    JOB.main()
