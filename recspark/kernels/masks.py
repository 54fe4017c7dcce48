"""What a list must not hold: one mask for every source and for the published lists. Plain arrays in and out.

An item may stand in a row's list when it is available, the row has neither seen nor blocked it, the row has no allow list or
the item stands in it, and none of its categories has its quota in the list already. An item with several categories counts in
each of them and needs room in all; one without any always has room. Quotas are met greedily from the best item on, by (score
descending, item ascending).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.frozen import frozen
from recspark.kernels.ragged import Ragged


class Quota(NamedTuple):
    """At most `most` items of a category in a list; 0: any number."""

    offsets: (
        np.ndarray
    )  # [n_items + 1] int64: item i's categories are categories[offsets[i]:offsets[i + 1]]; items beyond its end have none
    categories: np.ndarray  # int32, from 0
    n_categories: int
    most: int


class Mask(NamedTuple):
    """The masks of n rows. Lists of a row are slices of their items, ascending."""

    available: np.ndarray  # [n_items] bool, by item index; an item beyond its end is not available
    seen_offsets: np.ndarray  # [n + 1] int64
    seen_items: np.ndarray  # int32: what the row has seen, and what it blocks
    has_allow: np.ndarray  # [n] bool: the row may be offered nothing but its allow list
    allow_offsets: np.ndarray  # [n + 1] int64
    allow_items: np.ndarray  # int32; of rows without an allow list nothing is read
    quota: Quota


NO_QUOTA = Quota(frozen(np.zeros(1), np.int64), frozen(np.empty(0), np.int32), 0, 0)


def quota_of(item_idx: np.ndarray, category: np.ndarray, most: int) -> Quota:
    """The quota of (item, category) pairs, ascending by item."""
    n_items, n_categories = (int(np.max(one, initial=-1)) + 1 for one in (item_idx, category))
    offsets = np.searchsorted(item_idx, np.arange(n_items + 1))
    return Quota(frozen(offsets, np.int64), frozen(category, np.int32), n_categories, most)


def mask_of(
    available: np.ndarray, seen: Ragged, allow: Ragged | None = None, has_allow: np.ndarray | None = None, quota: Quota = NO_QUOTA
) -> Mask:
    """The mask of the rows of `seen`. `has_allow` says which rows of `allow` restrict; all of them where it is left out."""
    n = len(seen[0]) - 1
    allow_offsets, allow_items = (np.zeros(n + 1), np.empty(0)) if allow is None else allow
    if has_allow is None:
        has_allow = np.full(n, allow is not None)
    return Mask(
        frozen(available, np.bool_),
        frozen(seen[0], np.int64),
        frozen(seen[1], np.int32),
        frozen(has_allow, np.bool_),
        frozen(allow_offsets, np.int64),
        frozen(allow_items, np.int32),
        quota,
    )


def rows_of(mask: Mask, first: int, last: int) -> Mask:
    """The mask of rows first to last - 1 alone."""
    return mask._replace(
        seen_offsets=mask.seen_offsets[first : last + 1],
        has_allow=mask.has_allow[first:last],
        allow_offsets=mask.allow_offsets[first : last + 1],
    )


@njit(cache=True)
def contains(ascending: np.ndarray, low: int, high: int, value: int) -> bool:
    """`value` stands in `ascending[low:high]`."""
    end = high
    while low < high:
        middle = (low + high) // 2
        if ascending[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low < end and ascending[low] == value


@njit(cache=True)
def is_masked(item: int, mask: Mask, row: int) -> bool:
    """`item` must not stand in the list of `row`, whatever else stands there; quotas are asked by `has_room`."""
    if item < 0 or item >= mask.available.size or not mask.available[item]:
        return True
    if contains(mask.seen_items, mask.seen_offsets[row], mask.seen_offsets[row + 1], item):
        return True
    return mask.has_allow[row] and not contains(mask.allow_items, mask.allow_offsets[row], mask.allow_offsets[row + 1], item)


@njit(cache=True)
def has_room(item: int, quota: Quota, taken: np.ndarray) -> bool:
    """None of the item's categories has its quota: `taken` [n_categories] counts the items of each in the list."""
    if quota.most > 0 and item < quota.offsets.size - 1:
        for category in quota.categories[quota.offsets[item] : quota.offsets[item + 1]]:
            if taken[category] >= quota.most:
                return False
    return True


@njit(cache=True)
def _count(item: int, quota: Quota, taken: np.ndarray, by: int) -> None:
    if quota.most > 0 and item < quota.offsets.size - 1:
        for category in quota.categories[quota.offsets[item] : quota.offsets[item + 1]]:
            taken[category] += by


@njit(cache=True)
def count_items(items: np.ndarray, quota: Quota, taken: np.ndarray, by: int) -> None:
    """Add `by` to `taken` for each category of each of the items."""
    if quota.most > 0:
        for item in items:
            _count(item, quota, taken, by)


@njit(cache=True)
def takes_place(item: int, quota: Quota, taken: np.ndarray) -> bool:
    """Whether the item has room in the list; if so it is counted there."""
    if not has_room(item, quota, taken):
        return False
    _count(item, quota, taken, 1)
    return True
