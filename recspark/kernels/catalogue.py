"""What arrays by item index are made from. Plain arrays in and out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recspark.kernels.masks import NO_QUOTA, Quota, quota_of


def available_items(item_features: Mapping[str, np.ndarray]) -> np.ndarray:
    """[n_items] bool, by item index: the item may be recommended. `item_features` holds item_idx and available; items without a row may not."""
    item_idx = np.asarray(item_features["item_idx"])
    available = np.zeros(int(item_idx.max(initial=-1)) + 1, np.bool_)
    available[item_idx] = item_features["available"]
    return available


def category_quota(item_features: Mapping[str, np.ndarray]) -> Quota:
    """How many items of a category a list may hold. `item_features` holds item_idx, ascending, quota_categories [n x widest] and quota."""
    most = int(np.max(item_features["quota"], initial=0))
    if most == 0:
        return NO_QUOTA
    codes = np.asarray(item_features["quota_categories"])
    row, slot = np.nonzero(codes >= 0)
    return quota_of(np.asarray(item_features["item_idx"])[row], codes[row, slot], most)
