"""histories, neighbours, requests, seen, item_features -> source_candidates: items like those of the history."""

from recspark.candidates.cosine import score_item_cosine_candidates
from recspark.runtime.job import Job
from recspark.tables import SOURCE_CANDIDATES

JOB = Job(score_item_cosine_candidates, writes=SOURCE_CANDIDATES, slice={"source": "item_cosine"})

if __name__ == "__main__":
    JOB.main()
