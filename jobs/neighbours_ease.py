"""interactions -> neighbours: EASE's weights of items for items."""

from recspark.candidates.ease import fit_ease
from recspark.runtime.job import Job
from recspark.tables import NEIGHBOURS

JOB = Job(fit_ease, writes=NEIGHBOURS, slice={"source": "ease"})

if __name__ == "__main__":
    JOB.main()
