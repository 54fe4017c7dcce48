from typing import ClassVar

from recspark.ranking.models.din import DinKnobs
from tests.ranking.contract import WITHOUT_CHANCE, RankerContract


class TestDeepInterestNetwork(RankerContract):
    knobs = DinKnobs(embedding_size=8, hidden=(16,), attention_hidden=8, **WITHOUT_CHANCE)
    golden: ClassVar = {"softmax": 2.11174, "binary": 0.43018, "bpr": 0.71062}
