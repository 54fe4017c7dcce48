"""DeepFM: Guo et al., "DeepFM: a factorization-machine based neural network for CTR prediction" (IJCAI 2017)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from recspark.ranking.batch import SlateBatch
from recspark.ranking.dimensions import Dimensions
from recspark.ranking.inputs import FirstOrder, SlateEncoder, join_fields, mean_event
from recspark.ranking.layers import make_mlp
from recspark.ranking.models.ranker import DeepKnobs, Ranker


class DeepFmKnobs(DeepKnobs):
    """What can be set about the model; in the configuration, `rankers.model`."""

    name: Literal["deepfm"] = "deepfm"


class FactorizationMachine(nn.Module):
    """The sum of the products of all pairs of fields (Rendle 2010): candidates B x S x E, slate B x G x E, features B x S x F -> B x S.

    Fields are the candidate, the G embeddings of its slate, and x_f v_f for each feature x_f. With v the fields of a
    candidate the sum is (|sum v|^2 - sum |v|^2) / 2; no B x S x F x E is made.
    """

    def __init__(self, n_features: int, size: int) -> None:
        super().__init__()
        # The other fields are not zero, so these learn from the first step on.
        self.features = nn.Parameter(torch.zeros(n_features, size))

    def forward(self, candidates: Tensor, slate: Tensor, features: Tensor) -> Tensor:
        total = candidates + slate.sum(1)[:, None] + features @ self.features
        squares = candidates.square().sum(-1) + slate.square().sum((1, 2))[:, None] + features.square() @ self.features.square().sum(-1)
        return (total.square().sum(-1) - squares) / 2


class DeepFactorizationMachine(Ranker):
    """logit = blend + a weight of each item, category and number + FM(fields) + MLP(fields): B x S.

    FM and MLP share the embeddings: candidate, mean of the history, user.
    """

    def __init__(self, dimensions: Dimensions, knobs: DeepFmKnobs) -> None:
        super().__init__(dimensions)
        d, size, n_features = dimensions, knobs.embedding_size, len(dimensions.feature_means)
        self.first_order = FirstOrder(d, knobs.item_dropout)
        self.encoder = SlateEncoder(d, size, knobs.item_dropout)
        self.pairs = FactorizationMachine(n_features, size)
        self.deep = make_mlp(3 * size + n_features, knobs.hidden, knobs.dropout)

    def score(self, batch: SlateBatch, features: Tensor) -> Tensor:
        candidates, history, user = self.encoder(batch)
        past = mean_event(history, batch.history_mask)
        pairs = self.pairs(candidates, torch.stack([past, user], dim=1), features)
        deep = self.deep(join_fields(candidates, past, user, features)).squeeze(-1)
        added: Tensor = self.first_order(batch) + pairs + deep
        return added
