"""interactions -> flagged_users: users too active to be people."""

from recspark.interactions.flagged import build_flagged_users
from recspark.runtime.job import Job
from recspark.tables import FLAGGED_USERS

JOB = Job(build_flagged_users, writes=FLAGGED_USERS)

if __name__ == "__main__":
    JOB.main()
