"""Deep Interest Network (Zhou et al., KDD 2018) beside a linear part over the candidates' features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recspark.ranking.batch import SlateBatch
from recspark.ranking.layers import CategoryEmbedding, EventEmbedding, InterestAttention, ItemEmbedding, make_mlp

# Features of this ending are 1 / (1 + position), 0 where a source did not find the candidate.
RECIPROCAL = "reciprocal_position"
# The slate's own order, best blended first: what an untrained ranker answers.
START = "blended_reciprocal_position"


@dataclass(frozen=True)
class Dimensions:
    """Sizes and constants that a ranker takes from what it is fitted on.

    `feature_means` and `feature_stds` (F each) belong to the candidates' features and, after them, the logarithm of
    each reciprocal position: see `expand_features`.
    """

    feature_names: tuple[str, ...]
    feature_means: tuple[float, ...]
    feature_stds: tuple[float, ...]
    n_slots: int
    n_items: int
    n_item_codes: int
    n_item_numbers: int
    n_user_codes: int
    n_user_numbers: int
    n_event_types: int


def reciprocal_columns(feature_names: Sequence[str]) -> list[int]:
    """Which features are reciprocal positions."""
    return [i for i, name in enumerate(feature_names) if name.endswith(RECIPROCAL)]


def expand_features(features: Tensor, feature_names: Sequence[str]) -> Tensor:
    """Append log(1 / (1 + position)) of each reciprocal position: ... x F -> ... x (F + R).

    The share of a place in lists of this kind falls about as 1 / (1 + position) (Zipf): its logarithm is what a linear
    model of a softmax needs. A candidate that the source did not find counts as at twice the slate's length.
    """
    reciprocals = features[..., reciprocal_columns(feature_names)]
    return torch.cat([features, reciprocals.clamp(min=1 / (2 * features.shape[-2])).log()], dim=-1)


class DeepInterestNetwork(nn.Module):
    """Slates -> one logit a candidate: B x S.

    logit = linear(features) + MLP(candidate, interest, candidate * interest, user, features). The linear part begins
    as the slate's own order and the MLP at zero: training starts from the blend of the sources, and only what helps
    moves away from it.
    """

    means: Tensor
    stds: Tensor

    def __init__(
        self,
        dimensions: Dimensions,
        *,
        embedding_size: int,
        hidden: Sequence[int],
        attention_hidden: int,
        dropout: float,
        item_dropout: float,
    ) -> None:
        super().__init__()
        d, size = dimensions, embedding_size
        self.feature_names = d.feature_names
        self.register_buffer("means", torch.tensor(d.feature_means))
        self.register_buffer("stds", torch.tensor(d.feature_stds))
        self.items = ItemEmbedding(d.n_items, d.n_item_codes, d.n_item_numbers, size, item_dropout)
        self.events = EventEmbedding(d.n_event_types, size)
        self.user_categories = CategoryEmbedding(d.n_user_codes, size)
        self.user_numbers = nn.Linear(d.n_user_numbers, size)
        self.attention = InterestAttention(size, attention_hidden)
        n_features = len(d.feature_means)
        self.wide = nn.Linear(n_features, 1)
        self.deep = make_mlp(4 * size + n_features, hidden, dropout)
        self._start_from_blend()

    def _start_from_blend(self) -> None:
        """Make the untrained logit log(1 / (1 + place in the slate)) up to a constant."""
        nn.init.zeros_(self.wide.weight)
        nn.init.zeros_(self.wide.bias)
        if START in self.feature_names:
            logs = [self.feature_names[i] for i in reciprocal_columns(self.feature_names)]
            column = len(self.feature_names) + logs.index(START)
            with torch.no_grad():
                self.wide.weight[0, column] = self.stds[column]

    def forward(self, batch: SlateBatch) -> Tensor:
        features = (expand_features(batch.features, self.feature_names) - self.means) / self.stds
        candidates = self.items(batch.candidates)
        history = self.items(batch.history) + self.events(batch.history_types, batch.history_ages)
        interest = self.attention(history, batch.history_mask, candidates)
        user = self.user_categories(batch.user_categories) + self.user_numbers(batch.user_numbers)
        user = user[:, None].expand_as(candidates)
        deep = self.deep(torch.cat([candidates, interest, candidates * interest, user, features], dim=-1))
        logits: Tensor = (self.wide(features) + deep).squeeze(-1)
        return logits
