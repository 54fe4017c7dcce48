"""interactions -> neighbours: the items most often used by the same users."""

from recspark.candidates.cosine import build_item_cosine
from recspark.runtime.job import Job
from recspark.tables import NEIGHBOURS

JOB = Job(build_item_cosine, writes=NEIGHBOURS, slice={"source": "item_cosine"})

if __name__ == "__main__":
    JOB.main()
