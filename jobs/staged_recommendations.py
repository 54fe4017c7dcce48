"""lists, champion -> staged_recommendations: what would go live, filled to its length and explained."""

from recspark.recommendations.staged import build_staged
from recspark.runtime.job import Job
from recspark.tables import STAGED

JOB = Job(build_staged, writes=STAGED)

if __name__ == "__main__":
    JOB.main()
