from typing import ClassVar

from recspark.ranking.models.dcn_v2 import DcnV2Knobs
from tests.ranking.contract import WITHOUT_CHANCE, RankerContract


class TestDeepCrossNetwork(RankerContract):
    knobs = DcnV2Knobs(embedding_size=8, hidden=(16,), n_layers=2, **WITHOUT_CHANCE)
    golden: ClassVar = {"softmax": 2.13901, "binary": 0.40245, "bpr": 0.72565}
