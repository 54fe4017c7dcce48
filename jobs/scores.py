"""examples, rankers at fit, item_features -> scores: the ranker's score of every candidate of every slate."""

from recspark.ranking.score import score_slates
from recspark.runtime.job import Job
from recspark.tables import SCORES

JOB = Job(score_slates, writes=SCORES, runner="torch")

if __name__ == "__main__":
    JOB.main()
