"""requests, histories, user_features -> contexts: what next-item models read of each request."""

from recspark.features.contexts import build_contexts
from recspark.runtime.job import Job
from recspark.tables import CONTEXTS

JOB = Job(build_contexts, writes=CONTEXTS)

if __name__ == "__main__":
    JOB.main()
