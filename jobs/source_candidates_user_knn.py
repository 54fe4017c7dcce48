"""interactions, neighbours, requests, seen, item_features -> source_candidates: what the user's neighbours use."""

from recspark.candidates.user_scores import score_user_knn_candidates
from recspark.runtime.job import Job
from recspark.tables import SOURCE_CANDIDATES

JOB = Job(score_user_knn_candidates, writes=SOURCE_CANDIDATES, slice={"source": "user_knn"})

if __name__ == "__main__":
    JOB.main()
