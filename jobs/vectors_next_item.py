"""contexts, next_item_models at fit, item_features -> vectors: what the model makes of each request's history, and of each item."""

from recspark.ranking.next_item.score import write_vectors
from recspark.runtime.job import Job
from recspark.tables import VECTORS

JOB = Job(write_vectors, writes=VECTORS, slice={"source": "next_item"}, runner="torch")

if __name__ == "__main__":
    JOB.main()
