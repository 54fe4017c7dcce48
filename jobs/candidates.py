"""source_candidates, requests -> candidates: the union of all sources' proposals."""

from recspark.candidates.blend import build_candidates
from recspark.runtime.job import Job
from recspark.tables import CANDIDATES

JOB = Job(build_candidates, writes=CANDIDATES)

if __name__ == "__main__":
    JOB.main()
