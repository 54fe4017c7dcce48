"""Building blocks of next-item models. Shapes: B sequences, L events, E embedding size, n items, H heads."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recspark.ranking.layers import CategoryEmbedding
from recspark.ranking.next_item.batch import MASKED_ITEM, SequenceBatch
from recspark.ranking.next_item.dimensions import ItemContent, SequenceDimensions

# Time differences fall in buckets by their logarithm: BUCKETS_AN_OCTAVE for each doubling, from a second to a century.
SECONDS_A_DAY = 86_400.0
N_TIME_BUCKETS = 64
BUCKETS_AN_OCTAVE = 2


def embedding(n: int, size: int, std: float) -> nn.Embedding:
    """n x size vectors of normal numbers."""
    made = nn.Embedding(n, size)
    nn.init.normal_(made.weight, std=std)
    return made


class Dropout(nn.Module):
    """Dropout of elements. On CPUs a byte decides each: the share is rounded to 1/256, the rest scaled by what was kept.

    torch's own draws a number of 64 bits an element there, which took a tenth of a training step.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.share):
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.share)
        dropped = min(255, round(self.share * 256))
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        bytes_ = words.view(torch.uint8)[: x.numel()].view(x.shape)
        return x * (bytes_ >= dropped).to(x.dtype).mul_(256 / (256 - dropped))


def time_buckets(days: Tensor) -> Tensor:
    """... days -> ... bucket, below N_TIME_BUCKETS; what is not positive is in the first."""
    octaves = torch.log2((days * SECONDS_A_DAY).clamp(min=1))
    return (octaves * BUCKETS_AN_OCTAVE).long().clamp(max=N_TIME_BUCKETS - 1)


class Catalogue(nn.Module):
    """Every item's vector: its own + its categories' + projections of its numbers and its given vector.

    The same vectors are read as input and compared with at the output (tied weights). An item that came after training
    has its content alone; padding is zero.
    """

    categories: Tensor
    numbers: Tensor
    vectors: Tensor

    def __init__(self, dimensions: SequenceDimensions, content: ItemContent, size: int, std: float) -> None:
        super().__init__()
        d = dimensions
        self.n_trained, self.n_items = d.n_items, content.n_items
        self.own = embedding(d.n_items, size, std)
        self.of_category = CategoryEmbedding(d.n_item_codes, size) if d.n_item_codes else None
        self.of_number = nn.Linear(d.n_item_numbers, size, bias=False) if d.n_item_numbers else None
        self.of_vector = nn.Linear(d.n_item_vector, size, bias=False) if d.n_item_vector else None
        # Not weights: the catalogue of the day, given anew when the model is built.
        for name in ("categories", "numbers", "vectors"):
            self.register_buffer(name, getattr(content, name), persistent=False)

    @property
    def is_plain(self) -> bool:
        """An item is its own vector and nothing else, and none came after training."""
        return self.n_items == self.n_trained and not (self.of_category or self.of_number or self.of_vector)

    def forward(self, idx: Tensor) -> Tensor:
        """... int64 -> ... x E; zeros for idx < 0, and for items beyond the catalogue."""
        is_item = (idx >= 0) & (idx < self.n_items)
        safe = torch.where(is_item, idx, 0)
        embedded = self.own(safe.clamp(max=self.n_trained - 1))
        embedded = embedded * (safe < self.n_trained).unsqueeze(-1) if self.n_items > self.n_trained else embedded
        if self.of_category is not None:
            embedded = embedded + self.of_category(self.categories[safe])
        if self.of_number is not None:
            embedded = embedded + self.of_number(self.numbers[safe])
        if self.of_vector is not None:
            embedded = embedded + self.of_vector(self.vectors[safe])
        return embedded * is_item.unsqueeze(-1)

    def all(self) -> Tensor:
        """n x E: of every item."""
        if self.is_plain:
            return self.own.weight
        everything: Tensor = self(torch.arange(self.n_items, device=self.own.weight.device))
        return everything


class EventInput(nn.Module):
    """What a model reads at each event: the item, what happened, the time since the event before, the user. B x L x E.

    The parts that a table does not have are absent. Item vectors are multiplied by sqrt(E), as in the transformer's paper:
    comparing wants them small, reading large.
    """

    def __init__(self, dimensions: SequenceDimensions, size: int, std: float, dropout: float) -> None:
        super().__init__()
        d = dimensions
        self.scale = math.sqrt(size)
        self.of_type = embedding(d.n_event_types, size, std * self.scale) if d.n_event_types else None
        self.of_gap = embedding(N_TIME_BUCKETS, size, std * self.scale) if d.has_times else None
        self.of_user_category = CategoryEmbedding(d.n_user_codes, size) if d.n_user_codes else None
        self.of_user_number = nn.Linear(d.n_user_numbers, size, bias=False) if d.n_user_numbers else None
        # What stands for an item to be guessed.
        self.guess = nn.Parameter(torch.randn(size) * std)
        self.dropout = Dropout(dropout)

    def forward(self, catalogue: Catalogue, batch: SequenceBatch) -> Tensor:
        read = catalogue(batch.items)
        read = torch.where((batch.items == MASKED_ITEM).unsqueeze(-1), self.guess, read) * self.scale
        if self.of_type is not None:
            known = torch.where(batch.event_types < self.of_type.num_embeddings, batch.event_types, 0)
            read = read + self.of_type(known)
        if self.of_gap is not None:
            read = read + self.of_gap(time_buckets(batch.times.diff(dim=1, prepend=batch.times[:, :1])))
        user = None
        if self.of_user_category is not None:
            user = self.of_user_category(batch.user_categories)
        if self.of_user_number is not None:
            numbers = self.of_user_number(batch.user_numbers)
            user = numbers if user is None else user + numbers
        if user is not None:
            read = read + user[:, None]
        dropped: Tensor = self.dropout(read)
        return dropped


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and feed-forward (Xiong et al. 2020): B x L x E -> B x L x E.

    mask: B x 1 x 1 x L bool of what may be attended to, or None: each position attends to itself and those before it.
    """

    def __init__(self, size: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, Dropout(dropout)
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.in_projection = nn.Linear(size, 3 * size)
        self.out_projection = nn.Linear(size, size)
        self.up, self.down = nn.Linear(size, feedforward), nn.Linear(feedforward, size)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = self.in_projection(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        x = x + self.dropout(self.out_projection(attended.transpose(1, 2).flatten(2)))
        hidden = self.dropout(F.gelu(self.up(self.feedforward_norm(x))))
        return x + self.dropout(self.down(hidden))
