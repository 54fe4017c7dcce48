"""What a list is worth beyond being right: what the figures need to know of every item."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from recspark.handover.arrays import Published
from recspark.kernels.catalogue import available_items


class ItemFigures(NamedTuple):
    """Arrays by item_idx."""

    novelty: np.ndarray  # [n_items] float64, bits; NaN where nothing was learnt at all
    popular: np.ndarray  # [n_items] bool: among the most popular
    categories: np.ndarray  # [n_items x C] int32 codes
    available: np.ndarray  # [n_items] bool


def novelty_of(n_users: np.ndarray) -> np.ndarray:
    """-log2 of each item's share of all (user, item) pairs learnt from; an item without users counts as one with a single user.

    Source: Vargas, Castells 2011, item novelty under free discovery.
    """
    total = n_users.sum()
    if total == 0:
        return np.full(n_users.size, np.nan)
    return -np.log2(np.maximum(n_users, 1) / total)


def most_popular(n_users: np.ndarray, share: float) -> np.ndarray:
    """Which items are among the ceil(share * m) with the most users, m being the items with any; ties by item_idx."""
    known = int((n_users > 0).sum())
    # The product is rounded first: 0.2 * 15 is a hair more than 3.
    best = np.argsort(-n_users, kind="stable")[: math.ceil(round(share * known, 9))]
    popular = np.zeros(n_users.size, dtype=np.bool_)
    popular[best] = True
    return popular


@lru_cache(maxsize=2)
def item_figures_of(item_popularity: Published, item_features: Published, popular_share: float) -> ItemFigures:
    """What the kernels need of the items; item-sized, built once a worker process."""
    popularity, features = item_popularity.arrays(), item_features.arrays()
    index, available = np.asarray(features["item_idx"]), available_items(features)
    n_items = available.size
    n_users = np.zeros(n_items, dtype=np.int64)
    known = np.asarray(popularity["item_idx"])
    within = known < n_items
    n_users[known[within]] = np.asarray(popularity["n_users"])[within]
    categories = np.zeros((n_items, features["categories"].shape[1] if features["categories"].ndim == 2 else 1), dtype=np.int32)
    if index.size:
        categories[index] = features["categories"]
    return ItemFigures(novelty_of(n_users), most_popular(n_users, popular_share), categories, available)
