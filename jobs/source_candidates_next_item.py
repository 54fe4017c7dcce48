"""vectors, seen, item_features -> source_candidates: the items that a next-item model expects after the history."""

from recspark.candidates.by_vectors import score_next_item_candidates
from recspark.runtime.job import Job
from recspark.tables import SOURCE_CANDIDATES

JOB = Job(score_next_item_candidates, writes=SOURCE_CANDIDATES, slice={"source": "next_item"})

if __name__ == "__main__":
    JOB.main()
