"""Neural matrix factorisation: He et al., "Neural collaborative filtering" (WWW 2017), section 3.4: `gmf` and `ncf_mlp` together."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from recspark.ranking.batch import SlateBatch
from recspark.ranking.dimensions import Dimensions
from recspark.ranking.models.gmf import FactorTower
from recspark.ranking.models.ncf_mlp import PairTower
from recspark.ranking.models.ranker import DeepKnobs, Ranker
from recspark.ranking.options import Share


class NeuMfKnobs(DeepKnobs):
    """What can be set about the model; in the configuration, `rankers.model`."""

    name: Literal["neumf"] = "neumf"
    user_dropout: Share = 0.05


class NeuralMatrixFactorisation(Ranker):
    """logit = blend + h . [user * item; MLP(user', item')]: B x S.

    The two halves have embeddings of their own. A linear layer over both (equation 12) is the sum of one over each.
    """

    def __init__(self, dimensions: Dimensions, knobs: NeuMfKnobs) -> None:
        super().__init__(dimensions)
        d, size = dimensions, knobs.embedding_size
        shares = {"item_dropout": knobs.item_dropout, "user_dropout": knobs.user_dropout}
        self.factors = FactorTower(d, size, **shares)
        self.deep = PairTower(d, size, knobs.hidden, dropout=knobs.dropout, **shares)

    def score(self, batch: SlateBatch, features: Tensor) -> Tensor:
        added: Tensor = self.factors(batch) + self.deep(batch)
        return added
