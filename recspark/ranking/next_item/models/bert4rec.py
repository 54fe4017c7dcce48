"""BERT4Rec (Sun et al., CIKM 2019): a bidirectional transformer that guesses masked items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from recspark.columns import PAD_ITEM
from recspark.ranking.next_item.augment import with_masked_targets
from recspark.ranking.next_item.batch import MASKED_ITEM, SequenceBatch
from recspark.ranking.next_item.dimensions import ItemContent, SequenceDimensions
from recspark.ranking.next_item.layers import TransformerBlock
from recspark.ranking.next_item.models.next_item import AttentionKnobs, NextItemModel
from recspark.ranking.options import Share


class Bert4RecKnobs(AttentionKnobs):
    """What can be set about the network and what it has to guess."""

    name: Literal["bert4rec"] = "bert4rec"
    n_layers: PositiveInt = 2
    n_heads: PositiveInt = 2
    feedforward: PositiveInt = 256
    item_bias: bool = True
    masked: Share = 0.2  # share of the items that are to be guessed
    masked_last: Share = 0.1  # share of the rows where that is the last item and no other


def with_question(batch: SequenceBatch, length: int) -> SequenceBatch:
    """A masked item after the last event of each sequence, at the time of that; the oldest event leaves a row of `length`."""
    n_events, pad = batch.mask.sum(1, keepdim=True), (0, 1)
    place = torch.arange(min(length, batch.items.shape[1] + 1), device=batch.items.device)[None]
    source = place + (n_events + 1 - length).clamp(min=0)
    items = F.pad(batch.items, pad, value=PAD_ITEM).gather(1, source)
    return replace(
        batch,
        items=torch.where(source == n_events, MASKED_ITEM, items),
        event_types=F.pad(batch.event_types, pad).gather(1, source),
        times=batch.times.gather(1, torch.minimum(source, (n_events - 1).clamp(min=0))),
    )


class Bert4Rec(NextItemModel):
    """Events B x L -> B x L x E: what each position's item could be, seen from both sides."""

    is_causal: ClassVar[bool] = False

    def __init__(self, dimensions: SequenceDimensions, content: ItemContent, knobs: Bert4RecKnobs) -> None:
        super().__init__(dimensions, content, knobs)
        size = knobs.embedding_size
        self.positions = nn.Parameter(torch.randn(dimensions.length, size) * knobs.embedding_std)
        self.blocks = nn.ModuleList(TransformerBlock(size, knobs.n_heads, knobs.feedforward, knobs.dropout) for _ in range(knobs.n_layers))
        self.norm = nn.LayerNorm(size)
        self.transform = nn.Linear(size, size)
        self.masked, self.masked_last = knobs.masked, knobs.masked_last

    def with_targets(self, columns: Mapping[str, np.ndarray], *, seed: int, epoch: int) -> dict[str, np.ndarray]:
        return with_masked_targets(columns, self.masked, self.masked_last, seed=seed, epoch=epoch)

    def forward(self, batch: SequenceBatch) -> Tensor:
        x = self.events(self.catalogue, batch) + self.positions[: batch.items.shape[1]]
        mask = batch.mask.clone()
        mask[:, 0] = True  # a row of padding attends to its first position: attending to nothing is not a number
        for block in self.blocks:
            x = block(x, mask[:, None, None])
        said: Tensor = F.gelu(self.transform(self.norm(x)))
        return said

    def vectors(self, batch: SequenceBatch) -> Tensor:
        asked: Tensor = super().vectors(with_question(batch, self.length))
        return asked * batch.mask.any(1, keepdim=True)
