"""users (source) -> clean_users: who is served, one row an id."""

from recspark.interactions.land import land_users
from recspark.runtime.job import Job
from recspark.tables import CLEAN_USERS

JOB = Job(land_users, writes=CLEAN_USERS)

if __name__ == "__main__":
    JOB.main()
