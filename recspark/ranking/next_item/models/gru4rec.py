"""GRU4Rec (Hidasi et al., ICLR 2016): a recurrent network over the events."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from recspark.ranking.next_item.batch import SequenceBatch
from recspark.ranking.next_item.dimensions import ItemContent, SequenceDimensions
from recspark.ranking.next_item.layers import Dropout
from recspark.ranking.next_item.models.next_item import NextItemKnobs, NextItemModel


class Gru4RecKnobs(NextItemKnobs):
    """What can be set about the network."""

    name: Literal["gru4rec"] = "gru4rec"
    hidden: PositiveInt = 128
    n_layers: PositiveInt = 1


class Gru4Rec(NextItemModel):
    """Events B x L -> states of gated recurrent units B x L x hidden -> B x L x E."""

    def __init__(self, dimensions: SequenceDimensions, content: ItemContent, knobs: Gru4RecKnobs) -> None:
        super().__init__(dimensions, content, knobs)
        between = knobs.dropout if knobs.n_layers > 1 else 0.0
        self.recurrence = nn.GRU(knobs.embedding_size, knobs.hidden, knobs.n_layers, batch_first=True, dropout=between)
        self.dropout = Dropout(knobs.dropout)
        self.out_projection = nn.Linear(knobs.hidden, knobs.embedding_size)

    def forward(self, batch: SequenceBatch) -> Tensor:
        states, _ = self.recurrence(self.events(self.catalogue, batch))
        projected: Tensor = self.out_projection(self.dropout(states))
        return projected
