"""interactions, neighbours, requests, seen, item_features -> source_candidates: items that EASE's weights sum up to."""

from recspark.candidates.ease import score_ease_candidates
from recspark.runtime.job import Job
from recspark.tables import SOURCE_CANDIDATES

JOB = Job(score_ease_candidates, writes=SOURCE_CANDIDATES, slice={"source": "ease"})

if __name__ == "__main__":
    JOB.main()
