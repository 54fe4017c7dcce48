"""interactions, requests -> histories: each request's latest events, oldest first."""

from recspark.features.histories import build_histories
from recspark.runtime.job import Job
from recspark.tables import HISTORIES

JOB = Job(build_histories, writes=HISTORIES)

if __name__ == "__main__":
    JOB.main()
