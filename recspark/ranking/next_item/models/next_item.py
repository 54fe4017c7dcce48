"""What every next-item model is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt
from torch import Tensor, nn

from recspark.ranking.next_item.batch import SequenceBatch, with_next_targets
from recspark.ranking.next_item.dimensions import ItemContent, SequenceDimensions
from recspark.ranking.next_item.layers import Catalogue, EventInput
from recspark.ranking.options import AttentionHeads, Share


class NextItemKnobs(BaseModel):
    """What can be set about every next-item model."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    embedding_size: PositiveInt = 64
    embedding_std: PositiveFloat = 0.02
    dropout: Share = 0.2
    item_bias: bool = False


class AttentionKnobs(NextItemKnobs, AttentionHeads):
    """Those of models that attend to events."""


class NextItemModel(nn.Module, ABC):
    """Sequences -> a vector at each position, to be compared with the items': score = vector . item vector + item bias.

    Built from `SequenceDimensions`, the items' content and its own knobs; see `models.build`.
    """

    # Its modules that weight decay leaves alone. Vectors and single numbers (biases, slopes) are never decayed.
    no_decay: ClassVar[frozenset[str]] = frozenset({"catalogue", "events", "positions"})
    # Whether a position knows nothing of the events after it, and says the next one.
    is_causal: ClassVar[bool] = True

    def __init__(self, dimensions: SequenceDimensions, content: ItemContent, knobs: NextItemKnobs) -> None:
        super().__init__()
        self.length = dimensions.length
        self.catalogue = Catalogue(dimensions, content, knobs.embedding_size, knobs.embedding_std)
        self.events = EventInput(dimensions, knobs.embedding_size, knobs.embedding_std, knobs.dropout)
        self.item_bias = nn.Parameter(torch.zeros(dimensions.n_items)) if knobs.item_bias else None

    @abstractmethod
    def forward(self, batch: SequenceBatch) -> Tensor:
        """B x L x E: what each position says about its target. Positions of padding may hold anything finite."""

    def with_targets(self, columns: Mapping[str, np.ndarray], *, seed: int, epoch: int) -> dict[str, np.ndarray]:
        """The columns of `sequences` with the `targets` that this model learns from; draws follow from (seed, epoch, row)."""
        return with_next_targets(columns)

    def vectors(self, batch: SequenceBatch) -> Tensor:
        """B x E: each sequence's user vector, that of its last event; zeros for a sequence without events."""
        states: Tensor = self(batch)
        return states[torch.arange(len(states), device=states.device), batch.last] * batch.mask.any(1, keepdim=True)

    def item_vectors(self) -> Tensor:
        """n x E."""
        return self.catalogue.all()

    def item_biases(self) -> Tensor:
        """n: what is added to each item's score; those that came after training have the least that was learnt."""
        n_later = self.catalogue.n_items - self.catalogue.n_trained
        biases = self.catalogue.own.weight.new_zeros(self.catalogue.n_trained) if self.item_bias is None else self.item_bias
        return torch.cat([biases, biases.detach().min().expand(n_later)])
