"""Logistic regression: a weight for each feature, item and category. The yardstick for everything deeper."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from recspark.ranking.batch import SlateBatch
from recspark.ranking.dimensions import Dimensions
from recspark.ranking.inputs import FirstOrder
from recspark.ranking.models.ranker import Knobs, Ranker


class LogisticKnobs(Knobs):
    """What can be set about the regression; in the configuration, `rankers.model`."""

    name: Literal["logistic"] = "logistic"


class LogisticRegression(Ranker):
    """logit = w . features + a weight of each item, category and number: B x S.

    It knows nothing of histories and users but what the features tell of them.
    """

    def __init__(self, dimensions: Dimensions, knobs: LogisticKnobs) -> None:
        super().__init__(dimensions)
        self.first_order = FirstOrder(dimensions, knobs.item_dropout)

    def score(self, batch: SlateBatch, features: Tensor) -> Tensor:
        added: Tensor = self.first_order(batch)
        return added
