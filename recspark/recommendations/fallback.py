"""The last rung: every available item, most popular first."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from recspark.handover.arrays import Published


class Fallback(NamedTuple):
    """Available items by (popularity score descending, item_idx), then those without learnt events by item_idx."""

    items: np.ndarray  # [n_available] int32
    scores: np.ndarray  # [n_available] float32; 0 for items without learnt events
    available: np.ndarray  # [n_items] bool, by item_idx


@lru_cache(maxsize=2)
def fallback_of(item_popularity: Published, item_features: Published) -> Fallback:
    """The last rung, item-sized, built once a worker process."""
    popularity, features = item_popularity.arrays(), item_features.arrays()
    index = np.asarray(features["item_idx"])
    n_items = int(index.max()) + 1 if index.size else 0
    available = np.zeros(n_items, dtype=np.bool_)
    available[index] = np.asarray(features["available"], dtype=np.bool_)
    scores, learnt = np.zeros(n_items), np.zeros(n_items, dtype=np.bool_)
    known = np.asarray(popularity["item_idx"])
    within = known < n_items
    scores[known[within]] = np.asarray(popularity["score"])[within]
    learnt[known[within]] = True
    order = np.lexsort((np.arange(n_items), -scores, ~learnt))
    order = order[available[order]]
    return Fallback(order.astype(np.int32), scores[order].astype(np.float32), available)
