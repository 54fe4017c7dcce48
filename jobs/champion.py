"""metrics at tune -> champion: the ranker or the best single source."""

from recspark.evaluation.champion import build_champion
from recspark.runtime.job import Job
from recspark.tables import CHAMPION

JOB = Job(build_champion, writes=CHAMPION)

if __name__ == "__main__":
    JOB.main()
