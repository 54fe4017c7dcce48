"""The last rung: every available item, most popular first."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from recspark.handover.arrays import Published
from recspark.kernels.catalogue import available_items, category_quota
from recspark.kernels.masks import Quota
from recspark.kernels.topk import order_by_score


class Fallback(NamedTuple):
    """Available items by (popularity score descending, item_idx), as the popular source orders them, then those without learnt events."""

    items: np.ndarray  # [n_available] int32
    scores: np.ndarray  # [n_available] float32; 0 for items without learnt events
    available: np.ndarray  # [n_items] bool, by item_idx
    quota: Quota


@lru_cache(maxsize=2)
def fallback_of(item_popularity: Published, item_features: Published) -> Fallback:
    """The last rung, item-sized, built once a worker process."""
    popularity, features = item_popularity.arrays(), item_features.arrays()
    available = available_items(features)
    learnt, scores = order_by_score(popularity["item_idx"], popularity["score"])
    others = np.setdiff1d(np.arange(available.size, dtype=np.int32), learnt)
    items, scores = np.concatenate([learnt, others]), np.concatenate([scores, np.zeros(others.size, np.float32)])
    kept = np.isin(items, np.flatnonzero(available))
    return Fallback(items[kept], scores[kept], available, category_quota(features))
