"""Wide & Deep: Cheng et al., "Wide & deep learning for recommender systems" (DLRS 2016)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from recspark.ranking.batch import SlateBatch
from recspark.ranking.dimensions import Dimensions
from recspark.ranking.inputs import FirstOrder, SlateEncoder, join_fields, mean_event
from recspark.ranking.layers import make_mlp
from recspark.ranking.models.ranker import DeepKnobs, Ranker


class WideDeepKnobs(DeepKnobs):
    """What can be set about the model; in the configuration, `rankers.model`."""

    name: Literal["wide_deep"] = "wide_deep"


class WideDeep(Ranker):
    """logit = blend + a weight of each item, category and number + MLP(candidate, mean of the history, user, features): B x S.

    The wide part remembers single items. The paper's products of categories (installed app x shown app) stand among the
    features already: how much of the history has a category in common with the candidate.
    """

    def __init__(self, dimensions: Dimensions, knobs: WideDeepKnobs) -> None:
        super().__init__(dimensions)
        d, size = dimensions, knobs.embedding_size
        self.first_order = FirstOrder(d, knobs.item_dropout)
        self.encoder = SlateEncoder(d, size, knobs.item_dropout)
        self.deep = make_mlp(3 * size + len(d.feature_means), knobs.hidden, knobs.dropout)

    def score(self, batch: SlateBatch, features: Tensor) -> Tensor:
        candidates, history, user = self.encoder(batch)
        deep = self.deep(join_fields(candidates, mean_event(history, batch.history_mask), user, features))
        added: Tensor = self.first_order(batch) + deep.squeeze(-1)
        return added
