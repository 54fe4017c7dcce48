"""What is wrong with lists of recommendations, found by another way than the one they were made. Plain arrays in and out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recspark.kernels.masks import Mask, Quota
from recspark.kernels.ragged import Ragged


class Checked(NamedTuple):
    """[n] int64 each, by request."""

    n_items: np.ndarray  # entries of the list
    n_repeated: np.ndarray  # entries beyond the first of their item
    n_seen: np.ndarray  # distinct items of the list that the request has seen or blocked
    n_not_allowed: np.ndarray  # distinct items of the list that are not in the allow list of a request that has one
    n_unavailable: np.ndarray  # distinct items of the list that may not be recommended
    n_over_quota: np.ndarray  # distinct items of the list beyond the quota of a category, summed over categories
    n_left: np.ndarray  # where the list is short, the items that it could hold besides: available, unseen, allowed, with room; else 0


def _pairs(lists: Ragged) -> np.ndarray:
    """Every distinct (request, item) as one number: request << 32 | item."""
    offsets, values = lists
    owners = np.repeat(np.arange(offsets.size - 1, dtype=np.int64), np.diff(offsets))
    return np.unique((owners << 32) | (values[offsets[0] : offsets[-1]].astype(np.int64) & 0xFFFFFFFF))


def _category_counts(listed: np.ndarray, quota: Quota) -> tuple[np.ndarray, np.ndarray]:
    """Every (request, category) of the listed pairs as one number, and how many items it has."""
    sizes = np.diff(quota.offsets)
    listed = listed[(listed & 0xFFFFFFFF) < sizes.size]
    counts = sizes[listed & 0xFFFFFFFF]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    places = np.repeat(quota.offsets[listed & 0xFFFFFFFF], counts) + within
    return np.unique((np.repeat(listed >> 32, counts) << 32) | quota.categories[places], return_counts=True)


def check_lists(lists: Ragged, mask: Mask, ks: np.ndarray) -> Checked:
    """Count the flaws of each request's list, and what else a list of fewer than `ks` [n] items could hold.

    `mask` is that of the same requests, in their order.
    """
    n, quota = ks.size, mask.quota
    listed, known = _pairs(lists), _pairs((mask.seen_offsets, mask.seen_items))
    allowed = _pairs((mask.allow_offsets, mask.allow_items))

    def may_stand(pairs: np.ndarray) -> np.ndarray:
        items = pairs & 0xFFFFFFFF
        return np.append(mask.available, False)[np.minimum(items, mask.available.size)]

    def is_shut_out(pairs: np.ndarray) -> np.ndarray:
        return mask.has_allow[pairs >> 32] & ~np.isin(pairs, allowed)

    def by_request(pairs: np.ndarray) -> np.ndarray:
        return np.bincount(pairs >> 32, minlength=n)

    def eligible(pairs: np.ndarray) -> np.ndarray:
        return pairs[may_stand(pairs) & ~np.isin(pairs, known) & ~is_shut_out(pairs)]

    n_items = np.diff(lists[0])
    n_eligible = np.where(
        mask.has_allow, by_request(eligible(allowed)), np.count_nonzero(mask.available) - by_request(known[may_stand(known)])
    )
    n_left = np.where(n_items < ks, n_eligible - by_request(eligible(listed)), 0)
    of_categories, counts = _category_counts(listed, quota)
    if quota.most > 0:
        owners = np.repeat(np.arange(quota.offsets.size - 1), np.diff(quota.offsets))
        full = of_categories[counts >= quota.most]
        for row in np.flatnonzero(n_left > 0):
            without_room = owners[np.isin(quota.categories, full[full >> 32 == row] & 0xFFFFFFFF)]
            n_left[row] -= eligible(np.setdiff1d((row << 32) | without_room, listed)).size
    over = np.bincount(of_categories >> 32, np.maximum(counts - quota.most, 0) if quota.most > 0 else 0 * counts, minlength=n)
    return Checked(
        n_items,
        n_items - by_request(listed),
        by_request(np.intersect1d(listed, known, assume_unique=True)),
        by_request(listed[is_shut_out(listed)]),
        by_request(listed[~may_stand(listed)]),
        over.astype(np.int64),
        n_left,
    )
