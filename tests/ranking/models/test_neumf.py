from typing import ClassVar

from recspark.ranking.models.neumf import NeuMfKnobs
from tests.ranking.contract import WITHOUT_CHANCE, RankerContract


class TestNeuralMatrixFactorisation(RankerContract):
    knobs = NeuMfKnobs(embedding_size=8, hidden=(16,), user_dropout=0.0, **WITHOUT_CHANCE)
    golden: ClassVar = {"softmax": 2.11402, "binary": 0.38781, "bpr": 0.71165}
    sees_history, sees_user_ids = False, True
