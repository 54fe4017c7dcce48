"""Deep Interest Network (Zhou et al., KDD 2018) beside a linear part over the candidates' features."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, PositiveInt
from torch import Tensor, nn

from recspark.ranking.batch import SlateBatch
from recspark.ranking.dimensions import Dimensions, expand_features, reciprocal_columns
from recspark.ranking.layers import CategoryEmbedding, EventEmbedding, InterestAttention, ItemEmbedding, make_mlp
from recspark.ranking.models.ranker import Ranker, Share

# The slate's own order, best blended first: what an untrained ranker answers.
START = "blended_reciprocal_position"


class DinKnobs(BaseModel):
    """What can be set about the network; in the configuration, `rankers.model`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    name: Literal["din"] = "din"
    embedding_size: PositiveInt = 16
    hidden: tuple[PositiveInt, ...] = (64, 32)
    attention_hidden: PositiveInt = 16
    dropout: Share = 0.2
    item_dropout: Share = 0.2


class DeepInterestNetwork(Ranker):
    """Slates -> one logit a candidate: B x S.

    logit = linear(features) + MLP(candidate, interest, candidate * interest, user, features). The linear part begins
    as the slate's own order and the MLP at zero: training starts from the blend of the sources, and only what helps
    moves away from it.
    """

    # It begins as the blend, not at zero.
    no_decay = frozenset({"wide"})
    means: Tensor
    stds: Tensor

    def __init__(self, dimensions: Dimensions, knobs: DinKnobs) -> None:
        super().__init__()
        d, size = dimensions, knobs.embedding_size
        self.feature_names = d.feature_names
        self.register_buffer("means", torch.tensor(d.feature_means))
        self.register_buffer("stds", torch.tensor(d.feature_stds))
        self.items = ItemEmbedding(d.n_items, d.n_item_codes, d.n_item_numbers, size, knobs.item_dropout)
        self.events = EventEmbedding(d.n_event_types, size)
        self.user_categories = CategoryEmbedding(d.n_user_codes, size)
        self.user_numbers = nn.Linear(d.n_user_numbers, size)
        self.attention = InterestAttention(size, knobs.attention_hidden)
        n_features = len(d.feature_means)
        self.wide = nn.Linear(n_features, 1)
        self.deep = make_mlp(4 * size + n_features, knobs.hidden, knobs.dropout)
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
