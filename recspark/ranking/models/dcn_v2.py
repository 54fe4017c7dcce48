"""DCN V2: Wang et al., "DCN V2: improved deep & cross network" (WWW 2021), the stacked form."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from recspark.ranking.batch import SlateBatch
from recspark.ranking.dimensions import Dimensions
from recspark.ranking.inputs import SlateEncoder, join_fields, mean_event
from recspark.ranking.layers import make_mlp
from recspark.ranking.models.ranker import DeepKnobs, Ranker


class DcnV2Knobs(DeepKnobs):
    """What can be set about the network; in the configuration, `rankers.model`."""

    name: Literal["dcn_v2"] = "dcn_v2"
    n_layers: PositiveInt = 2
    cross_rank: PositiveInt | None = None


class CrossNetwork(nn.Module):
    """x' = x0 * (W x + b) + x, `n_layers` times: ... x D -> ... x D, products of up to n_layers + 1 inputs (equation 1).

    With `cross_rank` W = U V, D x rank and rank x D: fewer weights (equation 2, without experts).
    """

    def __init__(self, width: int, n_layers: int, cross_rank: int | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(width, width)
            if cross_rank is None
            else nn.Sequential(nn.Linear(width, cross_rank, bias=False), nn.Linear(cross_rank, width))
            for _ in range(n_layers)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        crossed = inputs
        for layer in self.layers:
            crossed = inputs * layer(crossed) + crossed
        return crossed


class DeepCrossNetwork(Ranker):
    """logit = blend + MLP(cross(candidate, mean of the history, user, features)): B x S. The crossed width D is 3 E + F."""

    def __init__(self, dimensions: Dimensions, knobs: DcnV2Knobs) -> None:
        super().__init__(dimensions)
        d, size = dimensions, knobs.embedding_size
        width = 3 * size + len(d.feature_means)
        self.encoder = SlateEncoder(d, size, knobs.item_dropout)
        self.cross = CrossNetwork(width, knobs.n_layers, knobs.cross_rank)
        self.deep = make_mlp(width, knobs.hidden, knobs.dropout)

    def score(self, batch: SlateBatch, features: Tensor) -> Tensor:
        candidates, history, user = self.encoder(batch)
        fields = join_fields(candidates, mean_event(history, batch.history_mask), user, features)
        deep: Tensor = self.deep(self.cross(fields))
        return deep.squeeze(-1)
