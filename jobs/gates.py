"""staged_recommendations -> gates: the figures that decide whether they go live."""

from recspark.recommendations.gates import build_gates
from recspark.runtime.job import Job
from recspark.tables import GATES

JOB = Job(build_gates, writes=GATES)

if __name__ == "__main__":
    JOB.main()
