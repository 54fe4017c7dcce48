"""SASRec (Kang & McAuley, ICDM 2018): a causal transformer over the events, here pre-norm."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from recspark.ranking.next_item.batch import SequenceBatch
from recspark.ranking.next_item.dimensions import ItemContent, SequenceDimensions
from recspark.ranking.next_item.layers import TransformerBlock
from recspark.ranking.next_item.models.next_item import AttentionKnobs, NextItemModel


class SasRecKnobs(AttentionKnobs):
    """What can be set about the network."""

    name: Literal["sasrec"] = "sasrec"
    n_layers: PositiveInt = 2
    feedforward: PositiveInt = 64


class SasRec(NextItemModel):
    """Events B x L -> B x L x E: item and position embeddings, blocks of causal self-attention, a last norm."""

    def __init__(self, dimensions: SequenceDimensions, content: ItemContent, knobs: SasRecKnobs) -> None:
        super().__init__(dimensions, content, knobs)
        size = knobs.embedding_size
        self.positions = nn.Parameter(torch.randn(dimensions.length, size) * knobs.embedding_std)
        self.blocks = nn.ModuleList(TransformerBlock(size, knobs.n_heads, knobs.feedforward, knobs.dropout) for _ in range(knobs.n_layers))
        self.norm = nn.LayerNorm(size)

    def forward(self, batch: SequenceBatch) -> Tensor:
        x = self.events(self.catalogue, batch) + self.positions[: batch.items.shape[1]]
        for block in self.blocks:
            x = block(x, None)
        normed: Tensor = self.norm(x)
        return normed
