"""HSTU (Zhai et al., ICML 2024, "Actions Speak Louder than Words", section 3.1 and the public research code's form)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from recspark.ranking.next_item.batch import SequenceBatch
from recspark.ranking.next_item.dimensions import ItemContent, SequenceDimensions
from recspark.ranking.next_item.layers import N_TIME_BUCKETS, Dropout, time_buckets
from recspark.ranking.next_item.models.next_item import AttentionKnobs, NextItemModel


class HstuKnobs(AttentionKnobs):
    """What can be set about the network."""

    name: Literal["hstu"] = "hstu"
    n_layers: PositiveInt = 2


class HstuBlock(nn.Module):
    """B x L x E -> B x L x E: pointwise attention, gated; no softmax and no feed-forward.

    U, V, Q, K = SiLU(linear(norm(x))); A = SiLU(QK^T / sqrt(E / H) + bias of distance and of time) / L, causal;
    x + linear(norm(AV) * U). Softmax would forget how much there was to attend to.
    """

    def __init__(self, size: int, heads: int, length: int, has_times: bool, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, Dropout(dropout)
        self.norm, self.attended_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.in_projection = nn.Linear(size, 4 * size)
        self.out_projection = nn.Linear(size, size)
        self.of_distance = nn.Parameter(torch.randn(length, heads) * 0.02)
        self.of_time = nn.Parameter(torch.randn(N_TIME_BUCKETS, heads) * 0.02) if has_times else None

    def forward(self, x: Tensor, distances: Tensor, causal: Tensor, times: Tensor) -> Tensor:
        u, v, q, k = F.silu(self.in_projection(self.norm(x))).chunk(4, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        bias = self.of_distance[distances].permute(2, 0, 1)[None]  # 1 x H x L x L
        if self.of_time is not None:
            bias = bias + self.of_time[times].permute(0, 3, 1, 2)
        scores = (q * (q.shape[-1] ** -0.5)) @ k.transpose(-1, -2)
        weights = F.silu(scores + bias) * causal
        attended = (weights @ v).transpose(1, 2).flatten(2)
        return x + self.dropout(self.out_projection(self.attended_norm(attended) * u))


class Hstu(NextItemModel):
    """Events B x L -> B x L x E. Where times exist, what was long ago and what was just now are told apart in each block."""

    def __init__(self, dimensions: SequenceDimensions, content: ItemContent, knobs: HstuKnobs) -> None:
        super().__init__(dimensions, content, knobs)
        size = knobs.embedding_size
        self.has_times = dimensions.has_times
        self.positions = nn.Parameter(torch.randn(dimensions.length, size) * knobs.embedding_std)
        self.blocks = nn.ModuleList(
            HstuBlock(size, knobs.n_heads, dimensions.length, dimensions.has_times, knobs.dropout) for _ in range(knobs.n_layers)
        )
        self.norm = nn.LayerNorm(size)

    def forward(self, batch: SequenceBatch) -> Tensor:
        place = torch.arange(batch.items.shape[1], device=batch.items.device)
        distances = (place[:, None] - place[None]).clamp(min=0)
        # Divided by the number of events that can be attended to at most.
        causal = (place[:, None] >= place[None]) / self.length
        times = time_buckets(batch.times[:, :, None] - batch.times[:, None]) if self.has_times else batch.items.new_empty(0)
        x = self.events(self.catalogue, batch) + self.positions[: len(place)]
        for block in self.blocks:
            x = block(x, distances, causal, times)
        normed: Tensor = self.norm(x)
        return normed
