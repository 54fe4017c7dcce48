from typing import ClassVar

from recspark.ranking.models.mlp import MlpKnobs
from tests.ranking.contract import WITHOUT_CHANCE, RankerContract


class TestMultilayerPerceptron(RankerContract):
    knobs = MlpKnobs(embedding_size=8, hidden=(16,), **WITHOUT_CHANCE)
    golden: ClassVar = {"softmax": 2.10366, "binary": 0.41222, "bpr": 0.70680}
