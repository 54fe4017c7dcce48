"""A tiny world of sequences: each item is followed by the one after it, so that what comes next can be known for certain."""

from __future__ import annotations

import numpy as np
import torch

from recspark.ranking.next_item.dimensions import ItemContent, SequenceDimensions, item_content
from recspark.ranking.next_item.models.build import NextItemModelKnobs, build_next_item_model, describe_next_item_model
from recspark.ranking.next_item.models.next_item import NextItemModel

N_ITEMS, LENGTH = 12, 8
PLAIN = SequenceDimensions(n_items=N_ITEMS, length=LENGTH)
# Everything that a table can have beyond items.
FULL = SequenceDimensions(
    n_items=N_ITEMS,
    length=LENGTH,
    n_event_types=3,
    has_times=True,
    n_item_codes=6,
    n_item_numbers=2,
    n_item_vector=3,
    n_user_codes=5,
    n_user_numbers=1,
)


def make_sequences(n: int, seed: int = 0, length: int = LENGTH) -> dict[str, np.ndarray]:
    """n rows of 3 to `length` events: items x, x + 1, ... from a random x on, round the catalogue."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, length + 1, n).astype(np.int32)
    place = np.arange(length)[None]
    events = place < lengths[:, None]
    items = (rng.integers(0, N_ITEMS, (n, 1)) + place) % N_ITEMS
    items = np.where(events, items, -1).astype(np.int32)
    last = items[np.arange(n), lengths - 1]
    return {
        "sequence_idx": np.arange(100, 100 + n, dtype=np.int64),
        "user_idx": np.arange(n, dtype=np.int64),
        "window": np.zeros(n, np.int32),
        "items": items,
        "event_types": np.where(events, rng.integers(1, 3, (n, length)), 0).astype(np.int32),
        "times": np.where(events, np.cumsum(rng.exponential(1.0, (n, length)), axis=1), 0).astype(np.float32),
        "length": lengths,
        "weight": np.ones(n, np.float32),
        "seen_items": np.concatenate([last[:, None], np.where(place < lengths[:, None] - 1, items, -1)], axis=1),
        "user_numbers": rng.normal(size=(n, 1)).astype(np.float32),
        "user_categories": rng.integers(2, 5, (n, 1)).astype(np.int32),
    }


def as_table(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The rows as the table has them: ages instead of times, no weight."""
    ages = np.where(columns["items"] >= 0, columns["times"].max() - columns["times"], 0).astype(np.float32)
    return {
        **{name: array for name, array in columns.items() if name not in ("times", "weight")},
        "ages": ages if columns["times"].any() else 0 * ages,
    }


def make_content(n_items: int = N_ITEMS) -> ItemContent:
    rng = np.random.default_rng(7)
    return item_content(n_items, rng.integers(2, 6, (n_items, 2)), rng.normal(size=(n_items, 2)), rng.normal(size=(n_items, 3)))


def build(knobs: NextItemModelKnobs, dimensions: SequenceDimensions = PLAIN, n_items: int = N_ITEMS) -> NextItemModel:
    """The model with the weights of torch's seed 0."""
    torch.manual_seed(0)
    content = item_content(n_items) if dimensions is PLAIN else make_content(n_items)
    return build_next_item_model(describe_next_item_model(dimensions, knobs), content)
