"""interactions -> activity: how many users and items have how many others, for forecasts of cost."""

from recspark.features.activity import build_activity
from recspark.runtime.job import Job
from recspark.tables import ACTIVITY

JOB = Job(build_activity, writes=ACTIVITY)

if __name__ == "__main__":
    JOB.main()
