"""interactions -> vectors: users' and items' factors by alternating least squares."""

from recspark.candidates.als import fit_als
from recspark.runtime.job import Job
from recspark.tables import VECTORS

JOB = Job(fit_als, writes=VECTORS, slice={"source": "als"})

if __name__ == "__main__":
    JOB.main()
