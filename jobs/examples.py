"""requests, candidates, histories, user_features, labels, popularity, item_features -> examples: the slates that rankers read."""

from recspark.examples.slates import build_examples
from recspark.runtime.job import Job
from recspark.tables import EXAMPLES

JOB = Job(build_examples, writes=EXAMPLES)

if __name__ == "__main__":
    JOB.main()
