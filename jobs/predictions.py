"""labels, requests, vectors, interactions -> predictions: predicted ratings beside the real ones."""

from recspark.candidates.ratings import build_predictions
from recspark.runtime.job import Job
from recspark.tables import PREDICTIONS

JOB = Job(build_predictions, writes=PREDICTIONS)

if __name__ == "__main__":
    JOB.main()
