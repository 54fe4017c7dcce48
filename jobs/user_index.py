"""clean_events, clean_users -> user_index: user_id -> user_idx."""

from recspark.interactions.index import build_user_index
from recspark.runtime.job import Job
from recspark.tables import USER_INDEX

JOB = Job(build_user_index, writes=USER_INDEX)

if __name__ == "__main__":
    JOB.main()
