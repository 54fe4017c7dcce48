"""interactions, user_features -> sequences: each user's learnt events in order, as next-item models read them."""

from recspark.features.sequences import build_sequences
from recspark.runtime.job import Job
from recspark.tables import SEQUENCES

JOB = Job(build_sequences, writes=SEQUENCES)

if __name__ == "__main__":
    JOB.main()
