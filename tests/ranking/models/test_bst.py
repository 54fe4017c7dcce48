from typing import ClassVar

from recspark.ranking.models.bst import BstKnobs
from tests.ranking.contract import WITHOUT_CHANCE, RankerContract


class TestBehaviorSequenceTransformer(RankerContract):
    knobs = BstKnobs(embedding_size=8, hidden=(16,), n_layers=2, n_heads=2, **WITHOUT_CHANCE)
    golden: ClassVar = {"softmax": 2.11166, "binary": 0.39256, "bpr": 0.70974}
