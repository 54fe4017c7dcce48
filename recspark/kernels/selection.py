"""The n best of many scores a row, within quotas: what all top-k kernels choose with. Plain arrays in and out.

Whoever offers scores has set those of masked items to not-a-number, which is never chosen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.columns import PAD_ITEM
from recspark.kernels.masks import Mask, Quota, count_items, has_room, takes_place
from recspark.kernels.quickselect import keep_best

# Scores are looked through so many at a time: most hold none that could enter, and comparing them is one short vector loop.
_AT_ONCE = 32
_LARGEST_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)
_NO_KEY = np.uint64(0)
_SIGN, _ALL, _LOW = np.uint32(0x80000000), np.uint32(0xFFFFFFFF), np.uint64(0xFFFFFFFF)


class Lists(NamedTuple):
    """The lists of rows while they are filled: settled items, best first, and the keys of those that wait.

    A key is one number whose order is that of (score, -item). Without quotas one look at all candidates settles a row. With
    quotas an item that waits may find its category full once the better ones are settled; the row then looks again, at what is
    worse than all that waited and has room. Each such look fills a category, so that no item is lost, and no more are held.
    """

    items: np.ndarray  # [n_rows x n] int32
    scores: np.ndarray  # [n_rows x n] float32
    sizes: np.ndarray  # [n_rows] settled
    keys: np.ndarray  # [n_rows x capacity] uint64
    waiting: np.ndarray  # [n_rows]
    least: np.ndarray  # [n_rows] uint64: what waits must be above it; 0 until as many wait as there are places
    least_scores: np.ndarray  # [n_rows] float32: its score; minus infinity until then
    last: np.ndarray  # [n_rows] uint64: the worst key that has been settled or refused; only what is below is still to come
    taken: np.ndarray  # [n_categories] 0 but within a call


def empty_lists(n_rows: int, n: int, quota: Quota) -> Lists:
    """
    Raises:
        ValueError: n < 1.
    """
    if n < 1:
        raise ValueError(f"n = {n}: the number of items to choose must be at least 1")
    return Lists(
        np.full((n_rows, n), PAD_ITEM, np.int32),
        np.zeros((n_rows, n), np.float32),
        np.zeros(n_rows, np.int64),
        np.empty((n_rows, 2 * n + _AT_ONCE), np.uint64),
        np.zeros(n_rows, np.int64),
        np.full(n_rows, _NO_KEY),
        np.full(n_rows, -np.inf, np.float32),
        np.full(n_rows, _LARGEST_KEY),
        np.zeros(quota.n_categories, np.int64),
    )


@njit(cache=True)
def _key(bits: np.uint32, item: int) -> np.uint64:
    """Of a score's bits (uint32; no -0.0) and an item: larger is better."""
    ordered = np.uint32(bits ^ _ALL) if bits & _SIGN else np.uint32(bits | _SIGN)
    return np.uint64(ordered) << np.uint64(32) | (_LOW - np.uint64(item))


@njit(cache=True)
def _bits(key: np.uint64) -> np.uint32:
    """The bits of a key's score."""
    ordered = np.uint32(key >> np.uint64(32))
    return np.uint32(ordered ^ _SIGN) if ordered & _SIGN else np.uint32(ordered ^ _ALL)


@njit(cache=True)
def _any_reaches(scores: np.ndarray, least: float) -> bool:
    hits = False
    for score in scores:
        hits |= score >= least
    return hits


@njit(cache=True)
def offer(candidates: np.ndarray, scores: np.ndarray, n_candidates: int, quota: Quota, lists: Lists, row: int) -> None:
    """Let the first n_candidates of `candidates` (distinct) wait for a place in the row's list; `scores` float32, without -0.0."""
    settled = lists.items[row, : lists.sizes[row]]
    n_places = lists.items.shape[1] - settled.size
    keys, waiting, least_key, last_key = lists.keys[row], lists.waiting[row], lists.least[row], lists.last[row]
    least, bits = lists.least_scores[row], scores.view(np.uint32)
    count_items(settled, quota, lists.taken, 1)
    for begin in range(0, n_candidates, _AT_ONCE):
        # A slice: numba then knows that no index is negative, and the loop below compares whole vectors.
        some = scores[begin : min(begin + _AT_ONCE, n_candidates)]
        if not _any_reaches(some, least):
            continue
        for place, score in enumerate(some):
            if score >= least:
                item = candidates[begin + place]
                key = _key(bits[begin + place], item)
                if least_key < key < last_key and has_room(item, quota, lists.taken):
                    keys[waiting] = key
                    waiting += 1
        if waiting > keys.size - _AT_ONCE:
            keep_best(keys, None, waiting, n_places)
            waiting, least_key = n_places, keys[:n_places].min()
            lists.least_scores.view(np.uint32)[row] = _bits(least_key)
            least = lists.least_scores[row]
    count_items(settled, quota, lists.taken, -1)
    lists.waiting[row], lists.least[row] = waiting, least_key


@njit(cache=True)
def settle(quota: Quota, lists: Lists, row: int) -> bool:
    """Settle what waits, best first, as long as there is room; True where the row must look again."""
    size, waiting, keys = lists.sizes[row], lists.waiting[row], lists.keys[row]
    items, score_bits = lists.items[row], lists.scores[row].view(np.uint32)
    n_places = items.size - size
    if waiting > n_places:
        keep_best(keys, None, waiting, n_places)
    n_kept = min(waiting, n_places)
    best = keys[:n_kept]
    best.sort()
    count_items(items[:size], quota, lists.taken, 1)
    for key in best[::-1]:
        item = int(_LOW - (key & _LOW))
        if takes_place(item, quota, lists.taken):
            items[size], score_bits[size] = item, _bits(key)
            size += 1
    count_items(items[:size], quota, lists.taken, -1)
    if n_kept > 0:
        lists.last[row] = best[0]
    lists.sizes[row], lists.waiting[row], lists.least[row], lists.least_scores[row] = size, 0, _NO_KEY, -np.inf
    return n_kept == n_places and size < items.size


@njit(cache=True)
def choose(candidates: np.ndarray, scores: np.ndarray, n_candidates: int, mask: Mask, lists: Lists, row: int) -> None:
    """The row's list, of the first n_candidates of `candidates`."""
    is_open = True
    while is_open:
        offer(candidates, scores, n_candidates, mask.quota, lists, row)
        is_open = settle(mask.quota, lists, row)
