"""NextItNet (Yuan et al., WSDM 2019): residual blocks of causal convolutions whose reach doubles."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from recspark.ranking.next_item.batch import SequenceBatch
from recspark.ranking.next_item.dimensions import ItemContent, SequenceDimensions
from recspark.ranking.next_item.layers import Dropout
from recspark.ranking.next_item.models.next_item import NextItemKnobs, NextItemModel


class NextItNetKnobs(NextItemKnobs):
    """What can be set about the network."""

    name: Literal["nextitnet"] = "nextitnet"
    kernel_size: Annotated[int, Field(ge=2)] = 3
    dilations: tuple[PositiveInt, ...] = (1, 2, 4, 8, 1, 2, 4, 8)


class ConvolutionBlock(nn.Module):
    """B x L x E -> B x L x E: two causal convolutions, the second of twice the reach; each after norm and ReLU.

    The paper's block (b) with the norms before, as in later residual networks; layer norm, since batch norm would take padding into account.
    """

    def __init__(self, size: int, kernel_size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(2))
        self.convolutions = nn.ModuleList(nn.Conv1d(size, size, kernel_size, dilation=d) for d in (dilation, 2 * dilation))
        self.reaches = [(kernel_size - 1) * d for d in (dilation, 2 * dilation)]
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        hidden = x
        for norm, convolution, reach in zip(self.norms, self.convolutions, self.reaches, strict=True):
            hidden = F.pad(F.relu(norm(hidden)).transpose(1, 2), (reach, 0))
            hidden = convolution(hidden).transpose(1, 2)
        dropped: Tensor = self.dropout(hidden)
        return x + dropped


class NextItNet(NextItemModel):
    """Events B x L -> B x L x E."""

    def __init__(self, dimensions: SequenceDimensions, content: ItemContent, knobs: NextItNetKnobs) -> None:
        super().__init__(dimensions, content, knobs)
        size = knobs.embedding_size
        self.blocks = nn.ModuleList(ConvolutionBlock(size, knobs.kernel_size, d, knobs.dropout) for d in knobs.dilations)
        self.norm = nn.LayerNorm(size)

    def forward(self, batch: SequenceBatch) -> Tensor:
        x = self.events(self.catalogue, batch)
        for block in self.blocks:
            x = block(x)
        normed: Tensor = self.norm(x)
        return normed
