"""labels, requests, lists -> metrics: every figure of every model, with intervals and paired differences."""

from recspark.evaluation.metrics import build_metrics
from recspark.runtime.job import Job
from recspark.tables import METRICS

JOB = Job(build_metrics, writes=METRICS)

if __name__ == "__main__":
    JOB.main()
