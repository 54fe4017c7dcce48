"""Behavior Sequence Transformer: Chen et al., "Behavior sequence transformer for e-commerce recommendation in Alibaba" (DLP-KDD 2019)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from recspark.ranking.batch import SlateBatch
from recspark.ranking.dimensions import Dimensions
from recspark.ranking.inputs import SlateEncoder, join_fields
from recspark.ranking.layers import EMBEDDING_STD, make_mlp
from recspark.ranking.models.ranker import DeepKnobs, Ranker
from recspark.ranking.options import AttentionHeads


class BstKnobs(DeepKnobs, AttentionHeads):
    """What can be set about the network; in the configuration, `rankers.model`."""

    name: Literal["bst"] = "bst"
    n_layers: PositiveInt = 1
    n_heads: PositiveInt = 2


class TransformerBlock(nn.Module):
    """Self-attention and a network, each with its residual and norm: B x T x E, B x T x T bool (may see) -> B x T x E."""

    def __init__(self, size: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.project = nn.Linear(size, 3 * size)
        self.attended = nn.Linear(size, size)
        self.first_norm, self.second_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.feed_forward = nn.Sequential(nn.Linear(size, 4 * size), nn.LeakyReLU(), nn.Dropout(dropout), nn.Linear(4 * size, size))
        self.dropout = nn.Dropout(dropout)

    def forward(self, sequence: Tensor, may_see: Tensor) -> Tensor:
        # B x heads x T x (E / heads), three of them.
        query, key, value = self.project(sequence).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(query, key, value, attn_mask=may_see[:, None])
        sequence = self.first_norm(sequence + self.dropout(self.attended(heads.transpose(1, 2).flatten(-2))))
        normed: Tensor = self.second_norm(sequence + self.dropout(self.feed_forward(sequence)))
        return normed


class BehaviorSequenceTransformer(Ranker):
    """logit = blend + MLP(candidate, candidate after the transformer, user, features): B x S.

    The sequence is the history and, behind it, the candidate. All S candidates pass at once, B x (L + S) x E: each sees the
    events and itself, an event sees the events, nobody sees another candidate. So the history is transformed once a slate;
    in the paper, once a candidate, events see the candidate too. Positions count back from the newest event.
    """

    def __init__(self, dimensions: Dimensions, knobs: BstKnobs) -> None:
        super().__init__(dimensions)
        d, size = dimensions, knobs.embedding_size
        self.encoder = SlateEncoder(d, size, knobs.item_dropout)
        self.positions = nn.Embedding(d.history_length + 1, size)
        nn.init.normal_(self.positions.weight, std=EMBEDDING_STD)
        self.blocks = nn.ModuleList(TransformerBlock(size, knobs.n_heads, knobs.dropout) for _ in range(knobs.n_layers))
        self.deep = make_mlp(3 * size + len(d.feature_means), knobs.hidden, knobs.dropout)

    def _add_positions(self, history: Tensor, history_mask: Tensor) -> Tensor:
        """The newest of B x L x E is number 1; 0 is the candidate's. Beyond what training saw all are equally long ago."""
        back = history_mask.sum(1, keepdim=True) - torch.arange(history.shape[1], device=history.device)
        return history + self.positions(back.clamp(0, self.positions.num_embeddings - 1))

    def score(self, batch: SlateBatch, features: Tensor) -> Tensor:
        candidates, history, user = self.encoder(batch)
        n_events, n_candidates = history.shape[1], candidates.shape[1]
        place = self.positions(torch.zeros(1, dtype=torch.int64, device=history.device))
        sequence = torch.cat([self._add_positions(history, batch.history_mask), candidates + place], dim=1)
        is_event = F.pad(batch.history_mask, (0, n_candidates))
        may_see = is_event[:, None] | torch.eye(n_events + n_candidates, dtype=torch.bool, device=history.device)
        for block in self.blocks:
            sequence = block(sequence, may_see)
        deep: Tensor = self.deep(join_fields(candidates, sequence[:, n_events:], user, features))
        return deep.squeeze(-1)
