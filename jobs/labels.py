"""interactions (labels), requests, seen -> labels: what each request's user went on to do."""

from recspark.examples.labels import build_labels
from recspark.runtime.job import Job
from recspark.tables import LABELS

JOB = Job(build_labels, writes=LABELS)

if __name__ == "__main__":
    JOB.main()
