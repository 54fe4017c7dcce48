from typing import ClassVar

from recspark.ranking.models.logistic import LogisticKnobs
from tests.ranking.contract import RankerContract


class TestLogisticRegression(RankerContract):
    knobs = LogisticKnobs(item_dropout=0.0)
    golden: ClassVar = {"softmax": 2.11637, "binary": 0.39865, "bpr": 0.70973}
    sees_history = False
    overfits_to = 1.5  # no item is in enough slates
