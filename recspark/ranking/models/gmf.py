"""Generalised matrix factorisation: He et al., "Neural collaborative filtering" (WWW 2017), section 3.2."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from recspark.ranking.batch import SlateBatch
from recspark.ranking.dimensions import Dimensions
from recspark.ranking.layers import ItemEmbedding, UserContent, UserEmbedding, make_output
from recspark.ranking.models.ranker import Knobs, Ranker
from recspark.ranking.options import Share


class GmfKnobs(Knobs):
    """What can be set about the factorisation; in the configuration, `rankers.model`."""

    name: Literal["gmf"] = "gmf"
    embedding_size: PositiveInt = 16
    user_dropout: Share = 0.05


class UserItemPair(nn.Module):
    """A slate's user and its candidates as embeddings: a batch -> B x E, B x S x E. Each with what is known beside the id."""

    def __init__(self, d: Dimensions, size: int, item_dropout: float, user_dropout: float) -> None:
        super().__init__()
        self.items = ItemEmbedding(d.n_items, d.n_item_codes, d.n_item_numbers, size, item_dropout)
        self.users = UserEmbedding(d.n_users, size, user_dropout)
        self.content = UserContent(d.n_user_codes, d.n_user_numbers, size)

    def forward(self, batch: SlateBatch) -> tuple[Tensor, Tensor]:
        user = self.users(batch.user_idx) + self.content(batch.user_categories, batch.user_numbers)
        return user, self.items(batch.candidates)


class FactorTower(nn.Module):
    """h . (user * item): a batch -> B x S."""

    def __init__(self, d: Dimensions, size: int, item_dropout: float, user_dropout: float) -> None:
        super().__init__()
        self.pair = UserItemPair(d, size, item_dropout, user_dropout)
        self.output = make_output(size, bias=False)

    def forward(self, batch: SlateBatch) -> Tensor:
        user, candidates = self.pair(batch)
        logits: Tensor = self.output(user[:, None] * candidates).squeeze(-1)
        return logits


class GeneralisedMatrixFactorisation(Ranker):
    """logit = blend + h . (user * item): B x S. It knows users by their ids; new ones share the embedding of nobody in particular."""

    def __init__(self, dimensions: Dimensions, knobs: GmfKnobs) -> None:
        super().__init__(dimensions)
        self.factors = FactorTower(dimensions, knobs.embedding_size, knobs.item_dropout, knobs.user_dropout)

    def score(self, batch: SlateBatch, features: Tensor) -> Tensor:
        added: Tensor = self.factors(batch)
        return added
