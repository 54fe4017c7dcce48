"""What arrays by item index are made from. Plain arrays in and out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def available_items(item_features: Mapping[str, np.ndarray]) -> np.ndarray:
    """[n_items] bool, by item index: the item may be recommended. `item_features` holds item_idx and available; items without a row may not."""
    item_idx = np.asarray(item_features["item_idx"])
    available = np.zeros(int(item_idx.max(initial=-1)) + 1, np.bool_)
    available[item_idx] = item_features["available"]
    return available
