"""staged_recommendations, gates -> recommendations: what goes live."""

from recspark.recommendations.publish import build_recommendations
from recspark.runtime.job import Job
from recspark.tables import RECOMMENDATIONS

JOB = Job(build_recommendations, writes=RECOMMENDATIONS)

if __name__ == "__main__":
    JOB.main()
