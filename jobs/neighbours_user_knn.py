"""interactions -> neighbours: the users most alike."""

from recspark.candidates.user_knn import fit_user_knn
from recspark.runtime.job import Job
from recspark.tables import NEIGHBOURS

JOB = Job(fit_user_knn, writes=NEIGHBOURS, slice={"source": "user_knn"})

if __name__ == "__main__":
    JOB.main()
