"""vectors, requests, seen, item_features -> source_candidates: the items nearest to the user's vector."""

from recspark.candidates.by_vectors import score_als_candidates
from recspark.runtime.job import Job
from recspark.tables import SOURCE_CANDIDATES

JOB = Job(score_als_candidates, writes=SOURCE_CANDIDATES, slice={"source": "als"})

if __name__ == "__main__":
    JOB.main()
