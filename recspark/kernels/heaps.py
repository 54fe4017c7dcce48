"""A heap of the n best (score, item) so far, the worst at its root: where few of many come one at a time."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def _is_worse(score: float, item: int, other_score: float, other_item: int) -> bool:
    return score < other_score or (score == other_score and item > other_item)


@njit(cache=True)
def _sift_down(items: np.ndarray, scores: np.ndarray, size: int) -> None:
    parent = 0
    item, score = items[0], scores[0]
    while 2 * parent + 1 < size:
        child = 2 * parent + 1
        if child + 1 < size and _is_worse(scores[child + 1], items[child + 1], scores[child], items[child]):
            child += 1
        if not _is_worse(scores[child], items[child], score, item):
            break
        items[parent], scores[parent] = items[child], scores[child]
        parent = child
    items[parent], scores[parent] = item, score


@njit(cache=True)
def enters(items: np.ndarray, scores: np.ndarray, size: int, score: float, item: int) -> bool:
    """`item` would enter the heap `items, scores` (its first `size` entries, the worst at 0), were it not masked."""
    if size < items.size:
        return not np.isnan(score)
    return _is_worse(scores[0], items[0], score, item)


@njit(cache=True)
def push(items: np.ndarray, scores: np.ndarray, size: int, score: float, item: int) -> int:
    """Put `item`, which `enters`, into the heap, in place of the worst where it is full; the new size."""
    if size == items.size:
        items[0], scores[0] = item, score
        _sift_down(items, scores, size)
        return size
    child = size
    while child > 0:
        parent = (child - 1) // 2
        if not _is_worse(score, item, scores[parent], items[parent]):
            break
        items[child], scores[child] = items[parent], scores[parent]
        child = parent
    items[child], scores[child] = item, score
    return size + 1


@njit(cache=True)
def sort_heap(items: np.ndarray, scores: np.ndarray, size: int) -> None:
    """The heap's entries, best first, in place (heapsort)."""
    for end in range(size - 1, 0, -1):
        items[0], items[end] = items[end], items[0]
        scores[0], scores[end] = scores[end], scores[0]
        _sift_down(items, scores, end)
