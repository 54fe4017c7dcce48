from typing import ClassVar

from recspark.ranking.models.wide_deep import WideDeepKnobs
from tests.ranking.contract import WITHOUT_CHANCE, RankerContract


class TestWideDeep(RankerContract):
    knobs = WideDeepKnobs(embedding_size=8, hidden=(16,), **WITHOUT_CHANCE)
    golden: ClassVar = {"softmax": 2.10073, "binary": 0.39960, "bpr": 0.70151}
