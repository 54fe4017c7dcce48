"""interactions -> popularity: how much each item is used, decayed by age."""

from recspark.features.popularity import build_popularity
from recspark.runtime.job import Job
from recspark.tables import POPULARITY

JOB = Job(build_popularity, writes=POPULARITY)

if __name__ == "__main__":
    JOB.main()
