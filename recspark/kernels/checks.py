"""What is wrong with lists of recommendations, found by another way than the one they were made. Plain arrays in and out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recspark.kernels.ragged import Ragged


class Checked(NamedTuple):
    """[n] int64 each, by request."""

    n_items: np.ndarray  # entries of the list
    n_repeated: np.ndarray  # entries beyond the first of their item
    n_seen: np.ndarray  # distinct items of the list that the request has seen or blocked
    n_not_allowed: np.ndarray  # distinct items of the list that are not in the allow list of a request that has one
    n_unavailable: np.ndarray  # distinct items of the list that may not be recommended
    n_eligible: np.ndarray  # available items that the request has not seen, and may be offered


def _pairs(lists: Ragged) -> np.ndarray:
    """Every distinct (request, item) as one number: request << 32 | item."""
    offsets, values = lists
    owners = np.repeat(np.arange(offsets.size - 1, dtype=np.int64), np.diff(offsets))
    return np.unique((owners << 32) | (values[offsets[0] : offsets[-1]].astype(np.int64) & 0xFFFFFFFF))


def check_lists(lists: Ragged, seen: Ragged, available: np.ndarray, allow: Ragged, has_allow: np.ndarray) -> Checked:
    """Count the flaws of each request's list, and what it could have held.

    Args:
        lists, seen: items by request, n each.
        available: [n_items] bool, by item index; an item beyond its end may not be recommended.
        allow, has_allow: the only items a request may get, and [n] bool, whether it has such a list.
    """
    n = lists[0].size - 1
    listed, known, allowed = _pairs(lists), _pairs(seen), _pairs(allow)

    def may_stand(pairs: np.ndarray) -> np.ndarray:
        items = pairs & 0xFFFFFFFF
        return np.append(available, False)[np.minimum(items, available.size)]

    def by_request(pairs: np.ndarray) -> np.ndarray:
        return np.bincount(pairs >> 32, minlength=n)

    def restricted(pairs: np.ndarray) -> np.ndarray:
        return np.append(has_allow, False)[pairs >> 32]

    n_items = np.diff(lists[0])
    free = np.count_nonzero(available) - by_request(known[may_stand(known)])
    of_allow_list = by_request(np.setdiff1d(allowed[may_stand(allowed)], known, assume_unique=True))
    return Checked(
        n_items,
        n_items - by_request(listed),
        by_request(np.intersect1d(listed, known, assume_unique=True)),
        by_request(np.setdiff1d(listed[restricted(listed)], allowed, assume_unique=True)),
        by_request(listed[~may_stand(listed)]),
        np.where(has_allow, of_allow_list, free),
    )
