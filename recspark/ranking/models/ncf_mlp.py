"""A network over a user's and an item's embedding: He et al., "Neural collaborative filtering" (WWW 2017), section 3.3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from recspark.ranking.batch import SlateBatch
from recspark.ranking.dimensions import Dimensions
from recspark.ranking.inputs import join_fields
from recspark.ranking.layers import make_mlp
from recspark.ranking.models.gmf import UserItemPair
from recspark.ranking.models.ranker import DeepKnobs, Ranker
from recspark.ranking.options import Share


class NcfMlpKnobs(DeepKnobs):
    """What can be set about the network; in the configuration, `rankers.model`."""

    name: Literal["ncf_mlp"] = "ncf_mlp"
    user_dropout: Share = 0.05


class PairTower(nn.Module):
    """MLP(user, item): a batch -> B x S; the network is B x S x 2 E -> B x S."""

    def __init__(
        self, d: Dimensions, size: int, hidden: Sequence[int], *, dropout: float, item_dropout: float, user_dropout: float
    ) -> None:
        super().__init__()
        self.pair = UserItemPair(d, size, item_dropout, user_dropout)
        self.deep = make_mlp(2 * size, hidden, dropout)

    def forward(self, batch: SlateBatch) -> Tensor:
        user, candidates = self.pair(batch)
        logits: Tensor = self.deep(join_fields(user, candidates)).squeeze(-1)
        return logits


class NeuralCollaborativeFiltering(Ranker):
    """logit = blend + MLP(user, item): B x S. It knows users by their ids, as `gmf` does."""

    def __init__(self, dimensions: Dimensions, knobs: NcfMlpKnobs) -> None:
        super().__init__(dimensions)
        shares = {"dropout": knobs.dropout, "item_dropout": knobs.item_dropout, "user_dropout": knobs.user_dropout}
        self.deep = PairTower(dimensions, knobs.embedding_size, knobs.hidden, **shares)

    def score(self, batch: SlateBatch, features: Tensor) -> Tensor:
        added: Tensor = self.deep(batch)
        return added
