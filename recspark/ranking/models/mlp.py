"""A network over embeddings: the ranking network of Covington et al., "Deep neural networks for YouTube recommendations" (RecSys 2016)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from recspark.ranking.batch import SlateBatch
from recspark.ranking.dimensions import Dimensions
from recspark.ranking.inputs import SlateEncoder, join_fields, mean_event
from recspark.ranking.layers import make_mlp
from recspark.ranking.models.ranker import DeepKnobs, Ranker


class MlpKnobs(DeepKnobs):
    """What can be set about the network; in the configuration, `rankers.model`."""

    name: Literal["mlp"] = "mlp"


class MultilayerPerceptron(Ranker):
    """logit = blend + MLP(candidate, mean of the history, user, features): B x S. The network is B x S x (3 E + F) -> B x S."""

    def __init__(self, dimensions: Dimensions, knobs: MlpKnobs) -> None:
        super().__init__(dimensions)
        d, size = dimensions, knobs.embedding_size
        self.encoder = SlateEncoder(d, size, knobs.item_dropout)
        self.deep = make_mlp(3 * size + len(d.feature_means), knobs.hidden, knobs.dropout)

    def score(self, batch: SlateBatch, features: Tensor) -> Tensor:
        candidates, history, user = self.encoder(batch)
        deep: Tensor = self.deep(join_fields(candidates, mean_event(history, batch.history_mask), user, features))
        return deep.squeeze(-1)
