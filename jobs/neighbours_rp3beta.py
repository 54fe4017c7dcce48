"""interactions -> neighbours: where random walks from an item end."""

from recspark.candidates.rp3beta import build_rp3beta
from recspark.runtime.job import Job
from recspark.tables import NEIGHBOURS

JOB = Job(build_rp3beta, writes=NEIGHBOURS, slice={"source": "rp3beta"})

if __name__ == "__main__":
    JOB.main()
