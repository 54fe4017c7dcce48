"""What every ranker is, and what can be set about most of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, PositiveInt
from torch import Tensor, nn

from recspark.ranking.batch import SlateBatch
from recspark.ranking.dimensions import Dimensions
from recspark.ranking.inputs import Blend, SlateFeatures
from recspark.ranking.options import Share


class Knobs(BaseModel):
    """What can be set about a ranker; in the configuration, `rankers.model`. A model adds its `name`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    name: str
    item_dropout: Share = 0.2


class DeepKnobs(Knobs):
    """What can be set about a network over embeddings."""

    embedding_size: PositiveInt = 16
    hidden: tuple[PositiveInt, ...] = (64, 32)
    dropout: Share = 0.2


class Ranker(nn.Module, ABC):
    """Slates -> one logit a candidate: B x S. Built from `Dimensions` and its own knobs; see `models.build`.

    logit = blend(features) + score(batch, features). What `score` adds begins at zero or close to it, so that an untrained
    ranker answers the slate's own order.
    """

    # Its modules that weight decay leaves alone: the blend does not begin at zero. Vectors and single numbers (biases,
    # slopes) are never decayed.
    no_decay: ClassVar[frozenset[str]] = frozenset({"blend"})

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        self.features = SlateFeatures(dimensions)
        self.blend = Blend(dimensions)

    def forward(self, batch: SlateBatch) -> Tensor:
        features = self.features(batch.features)
        logits: Tensor = self.blend(features) + self.score(batch, features)
        return logits

    @abstractmethod
    def score(self, batch: SlateBatch, features: Tensor) -> Tensor:
        """What the model adds to the blend: a batch, its standardised features B x S x F -> B x S."""
