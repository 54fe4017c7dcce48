from typing import ClassVar

from recspark.ranking.models.gmf import GmfKnobs
from tests.ranking.contract import RankerContract


class TestGeneralisedMatrixFactorisation(RankerContract):
    knobs = GmfKnobs(embedding_size=8, item_dropout=0.0, user_dropout=0.0)
    golden: ClassVar = {"softmax": 2.11079, "binary": 0.40797, "bpr": 0.70954}
    sees_history, sees_user_ids = False, True
