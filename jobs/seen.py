"""interactions, requests -> seen: the items that each request must not be offered again."""

from recspark.examples.seen import build_seen
from recspark.runtime.job import Job
from recspark.tables import SEEN

JOB = Job(build_seen, writes=SEEN)

if __name__ == "__main__":
    JOB.main()
