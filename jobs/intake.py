"""landed_events, clean_events, quarantine -> intake: the account of each delivery."""

from recspark.interactions.clean import build_intake
from recspark.runtime.job import Job
from recspark.tables import INTAKE

JOB = Job(build_intake, writes=INTAKE)

if __name__ == "__main__":
    JOB.main()
