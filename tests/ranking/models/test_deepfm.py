from typing import ClassVar

from recspark.ranking.models.deepfm import DeepFmKnobs
from tests.ranking.contract import WITHOUT_CHANCE, RankerContract


class TestDeepFactorizationMachine(RankerContract):
    knobs = DeepFmKnobs(embedding_size=8, hidden=(16,), **WITHOUT_CHANCE)
    golden: ClassVar = {"softmax": 2.50052, "binary": 0.48592, "bpr": 0.88525}
    starts_within = 5e-3  # embeddings begin at a hundredth, their products are heard a little
