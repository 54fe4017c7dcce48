from typing import ClassVar

from recspark.ranking.models.ncf_mlp import NcfMlpKnobs
from tests.ranking.contract import WITHOUT_CHANCE, RankerContract


class TestNeuralCollaborativeFiltering(RankerContract):
    knobs = NcfMlpKnobs(embedding_size=8, hidden=(16,), user_dropout=0.0, **WITHOUT_CHANCE)
    golden: ClassVar = {"softmax": 2.10538, "binary": 0.40578, "bpr": 0.70659}
    sees_history, sees_user_ids = False, True
