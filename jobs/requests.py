"""user_index, interactions -> requests: one row to be served for every user of the index."""

from recspark.examples.requests import build_requests
from recspark.runtime.job import Job
from recspark.tables import REQUESTS

JOB = Job(build_requests, writes=REQUESTS)

if __name__ == "__main__":
    JOB.main()
