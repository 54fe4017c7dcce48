"""popularity, requests, seen, item_features -> source_candidates: the most popular items."""

from recspark.candidates.popular import score_popular_candidates
from recspark.runtime.job import Job
from recspark.tables import SOURCE_CANDIDATES

JOB = Job(score_popular_candidates, writes=SOURCE_CANDIDATES, slice={"source": "popular"})

if __name__ == "__main__":
    JOB.main()
