"""interactions -> splits: which single events a horizon holds out."""

from recspark.interactions.splits import build_splits
from recspark.runtime.job import Job
from recspark.tables import SPLITS

JOB = Job(build_splits, writes=SPLITS)

if __name__ == "__main__":
    JOB.main()
