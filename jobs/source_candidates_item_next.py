"""histories, neighbours, requests, seen, item_features -> source_candidates: what follows the items of the history."""

from recspark.candidates.neighbours import score_neighbour_candidates
from recspark.runtime.job import Job
from recspark.tables import SOURCE_CANDIDATES

JOB = Job(score_neighbour_candidates, writes=SOURCE_CANDIDATES, slice={"source": "item_next"})

if __name__ == "__main__":
    JOB.main()
