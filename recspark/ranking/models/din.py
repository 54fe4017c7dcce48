"""Deep Interest Network: Zhou et al., "Deep interest network for click-through rate prediction" (KDD 2018)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from recspark.ranking.batch import SlateBatch
from recspark.ranking.dimensions import Dimensions
from recspark.ranking.inputs import SlateEncoder, join_fields
from recspark.ranking.layers import make_mlp
from recspark.ranking.models.ranker import DeepKnobs, Ranker


class DinKnobs(DeepKnobs):
    """What can be set about the network; in the configuration, `rankers.model`."""

    name: Literal["din"] = "din"
    attention_hidden: PositiveInt = 16


class InterestAttention(nn.Module):
    """What in the history speaks for each candidate: B x L x E, B x L, B x S x E -> B x S x E.

    The local activation unit of the Deep Interest Network (Zhou et al. 2018, section 4.3): each event h is weighted by
    a network of (h, q, h * q, h - q) for candidate q; the weights are not normalised, so that a strong interest stays
    strong. Only the constant 1 / L keeps long histories in range.
    The first layer of the network is linear in h and q, so their parts are computed once an event and once a candidate
    instead of once a pair: W [h; q; h * q; h - q] = A h + C q + P (h * q).
    """

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.of_event = nn.Linear(size, hidden, bias=False)
        self.of_candidate = nn.Linear(size, hidden)
        self.of_pair = nn.Linear(size, hidden, bias=False)
        self.activation = nn.PReLU()
        self.weigh = nn.Linear(hidden, 1)

    def forward(self, history: Tensor, history_mask: Tensor, candidates: Tensor) -> Tensor:
        pair = torch.einsum("bse,he,ble->bslh", candidates, self.of_pair.weight, history)
        hidden = self.activation(pair + self.of_event(history)[:, None] + self.of_candidate(candidates)[:, :, None])
        weights = self.weigh(hidden).squeeze(-1).masked_fill(~history_mask[:, None], 0)
        return torch.einsum("bsl,ble->bse", weights, history) / history.shape[1]


class DeepInterestNetwork(Ranker):
    """logit = blend + MLP(candidate, interest, candidate * interest, user, features): B x S. The network is B x S x (4 E + F) -> B x S."""

    def __init__(self, dimensions: Dimensions, knobs: DinKnobs) -> None:
        super().__init__(dimensions)
        d, size = dimensions, knobs.embedding_size
        self.encoder = SlateEncoder(d, size, knobs.item_dropout)
        self.attention = InterestAttention(size, knobs.attention_hidden)
        self.deep = make_mlp(4 * size + len(d.feature_means), knobs.hidden, knobs.dropout)

    def score(self, batch: SlateBatch, features: Tensor) -> Tensor:
        candidates, history, user = self.encoder(batch)
        interest = self.attention(history, batch.history_mask, candidates)
        deep: Tensor = self.deep(join_fields(candidates, interest, candidates * interest, user, features))
        return deep.squeeze(-1)
