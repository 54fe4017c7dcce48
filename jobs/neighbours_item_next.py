"""interactions -> neighbours: the items that people come to after an item."""

from recspark.candidates.item_next import build_item_next
from recspark.runtime.job import Job
from recspark.tables import NEIGHBOURS

JOB = Job(build_item_next, writes=NEIGHBOURS, slice={"source": "item_next"})

if __name__ == "__main__":
    JOB.main()
