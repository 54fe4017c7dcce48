"""What every ranker is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from recspark.ranking.batch import SlateBatch

# A knob that is a share of something, as of what dropout leaves out.
Share = Annotated[float, Field(ge=0, lt=1)]


class Ranker(nn.Module, ABC):
    """Slates -> one logit a candidate: B x S. Built from `Dimensions` and its own knobs; see `models.build`."""

    # Its modules that weight decay leaves alone. Vectors and single numbers (biases, slopes) are never decayed.
    no_decay: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def forward(self, batch: SlateBatch) -> Tensor: ...
