"""interactions -> neighbours: the items most often used by the same users."""

from recspark.candidates.item_knn import build_item_knn
from recspark.runtime.job import Job
from recspark.tables import NEIGHBOURS

JOB = Job(build_item_knn, writes=NEIGHBOURS, slice={"source": "item_knn"})

if __name__ == "__main__":
    JOB.main()
