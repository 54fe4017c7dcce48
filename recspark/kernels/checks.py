"""What is wrong with lists of recommendations, found by another way than the one they were made. Plain arrays in and out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recspark.kernels.ragged import Ragged


class Checked(NamedTuple):
    """[n] int64 each, by request."""

    n_items: np.ndarray  # entries of the list
    n_repeated: np.ndarray  # entries beyond the first of their item
    n_seen: np.ndarray  # distinct items of the list that the request has seen
    n_unavailable: np.ndarray  # distinct items of the list that may not be recommended
    n_eligible: np.ndarray  # available items that the request has not seen


def _pairs(lists: Ragged) -> np.ndarray:
    """Every distinct (request, item) as one number: request << 32 | item."""
    offsets, values = lists
    owners = np.repeat(np.arange(offsets.size - 1, dtype=np.int64), np.diff(offsets))
    return np.unique((owners << 32) | (values[offsets[0] : offsets[-1]].astype(np.int64) & 0xFFFFFFFF))


def check_lists(lists: Ragged, seen: Ragged, available: np.ndarray) -> Checked:
    """Count the flaws of each request's list, and what it could have held.

    Args:
        lists, seen: items by request, n each.
        available: [n_items] bool, by item index; an item beyond its end may not be recommended.
    """
    n = lists[0].size - 1
    listed, known = _pairs(lists), _pairs(seen)

    def may_stand(pairs: np.ndarray) -> np.ndarray:
        items = pairs & 0xFFFFFFFF
        return np.append(available, False)[np.minimum(items, available.size)]

    def by_request(pairs: np.ndarray) -> np.ndarray:
        return np.bincount(pairs >> 32, minlength=n)

    n_items = np.diff(lists[0])
    return Checked(
        n_items,
        n_items - by_request(listed),
        by_request(np.intersect1d(listed, known, assume_unique=True)),
        by_request(listed[~may_stand(listed)]),
        np.count_nonzero(available) - by_request(known[may_stand(known)]),
    )
