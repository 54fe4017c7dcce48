"""scores -> ranked: the ranker's list of each request."""

from recspark.recommendations.rank import build_ranked
from recspark.runtime.job import Job
from recspark.tables import RANKED

JOB = Job(build_ranked, writes=RANKED)

if __name__ == "__main__":
    JOB.main()
