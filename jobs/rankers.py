"""examples at fit and tune, item_features -> rankers: the trained deep ranker and its card."""

from recspark.ranking.train import train_ranker
from recspark.runtime.job import Job
from recspark.tables import RANKERS

JOB = Job(train_ranker, writes=RANKERS, runner="torch")

if __name__ == "__main__":
    JOB.main()
