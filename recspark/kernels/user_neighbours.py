"""The most similar users of a block of users, while all others pass by. Plain arrays in and out.

A block keeps its own users as postings (item -> who has it, how heavily) and a heap of the n best neighbours of each; others
come in batches of any size and are forgotten. For each the postings of its items are added into one dense row of sums, one
entry a user of the block (Gustavson's sparse product, ACM TOMS 4(3), 1978), in ascending order of items: batches, blocks and
partitions do not change a bit of the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.frozen import frozen
from recspark.kernels.heaps import enters, push, sort_heap
from recspark.kernels.lists import NeighbourRows
from recspark.kernels.similarity import ROUNDED

# How many users' neighbours are handed over at once.
USERS_AT_ONCE = 4096
# A heap's entry is user << _SUPPORT_BITS | support: ordered by user, and the support travels with it.
_SUPPORT_BITS = 31
COSINE, JACCARD, PEARSON = range(3)


class Vectors(NamedTuple):
    """Users as compressed rows: user u has items[offsets[u]:offsets[u + 1]], ascending, each once, with its weight."""

    ids: np.ndarray  # int64 [n]
    offsets: np.ndarray  # int64 [n + 1]
    items: np.ndarray  # int32
    weights: np.ndarray  # float64


class Measure(NamedTuple):
    """How alike user u finds user v, from what they have in common; support is the number of items they share.

    COSINE: dot / (|u|^(2 asymmetry) |v|^(2 - 2 asymmetry) + in_norm) (Aiolli, RecSys 2013; .5 is the cosine).
    JACCARD: support / (items of u + items of v - support).
    PEARSON: dot / (|u| |v|), both norms over the shared items alone (Herlocker et al., SIGIR 1999); 0 up to `similarity.ROUNDED`.
    Each times support / (support + on_support) (Bell and Koren, ICDM 2007).
    """

    formula: int = 0
    asymmetry: float = 0.5
    in_norm: float = 0.0
    on_support: float = 0.0
    min_support: int = 1


class _Sums(NamedTuple):
    """One entry a user of the postings; all 0 between two rows."""

    dots: np.ndarray
    supports: np.ndarray
    own_squares: np.ndarray  # over the shared items; for PEARSON only, else empty
    other_squares: np.ndarray
    touched: np.ndarray  # whose entries are not 0


@njit(cache=True)
def _postings(offsets, items, weights, n_items):  # type: ignore[no-untyped-def]
    """For each item the places of the users who have it, ascending, and its weight there."""
    starts = np.zeros(n_items + 1, np.int64)
    for item in items:
        starts[item + 1] += 1
    starts = np.cumsum(starts)
    ends = starts[:-1].copy()
    places, posted = np.empty(items.size, np.int32), np.empty(items.size, np.float64)
    for place in range(offsets.size - 1):
        for entry in range(offsets[place], offsets[place + 1]):
            end = ends[items[entry]]
            places[end], posted[end] = place, weights[entry]
            ends[items[entry]] = end + 1
    return starts, places, posted


@njit(cache=True)
def _add_up(items, weights, low, high, postings, sums):  # type: ignore[no-untyped-def]
    """What one user has in common with everyone in the postings; how many are touched."""
    starts, places, posted = postings
    dots, supports, own_squares, other_squares, touched = sums
    n_touched = 0
    for entry in range(low, high):
        item, weight = items[entry], weights[entry]
        if item >= starts.size - 1:
            break
        for posting in range(starts[item], starts[item + 1]):
            place = places[posting]
            if supports[place] == 0:
                touched[n_touched] = place
                n_touched += 1
            dots[place] += weight * posted[posting]
            supports[place] += 1
        if own_squares.size:
            for posting in range(starts[item], starts[item + 1]):
                own_squares[places[posting]] += posted[posting] ** 2
                other_squares[places[posting]] += weight**2
    return n_touched


@njit(cache=True)
def _similarity(measure, dot, support, own, other):  # type: ignore[no-untyped-def]
    """Of two users with what stands for each in the bottom; for PEARSON `own` and `other` are the squares of the shared items."""
    formula, _, in_norm, on_support, min_support = measure
    top, bottom = dot, own * other + in_norm
    if formula == JACCARD:
        top, bottom = float(support), own + other - support
    elif formula == PEARSON:
        bottom = np.sqrt(own * other)
        top = dot if dot > ROUNDED * bottom else 0.0
    if support < min_support or bottom <= 0:
        return np.float32(0)
    # Rounded before it is compared: equal in the table means equal here.
    return np.float32(top / bottom * (support / (support + on_support)))


# Arrays are taken out of their tuples before the loops: numba counts references where they are taken out, which costs more than
# the arithmetic of a pair.
@njit(cache=True)
def _offer(others, other_sizes, postings, ids, own_sizes, measure, sums, heap, scores, sizes, least):  # type: ignore[no-untyped-def]
    """Let each of the others into the heaps of the block's users it is similar to."""
    other_ids, offsets, items, weights = others
    dots, supports, own_squares, other_squares, touched = sums
    n = heap.shape[1]
    for row in range(other_ids.size):
        n_touched = _add_up(items, weights, offsets[row], offsets[row + 1], postings, sums)
        for k in range(n_touched):
            place = touched[k]
            support = supports[place]
            if own_squares.size:
                score = _similarity(measure, dots[place], support, own_squares[place], other_squares[place])
                own_squares[place], other_squares[place] = 0.0, 0.0
            else:
                score = _similarity(measure, dots[place], support, own_sizes[place], other_sizes[row])
            dots[place], supports[place] = 0.0, 0
            # Most scores are too low; `least` says so without a look at the heap, which lies elsewhere in memory.
            if score <= 0 or score < least[place] or ids[place] == other_ids[row]:
                continue
            entry = other_ids[row] << _SUPPORT_BITS | support
            if enters(heap[place], scores[place], sizes[place], score, entry):
                sizes[place] = push(heap[place], scores[place], sizes[place], score, entry)
                if sizes[place] == n:
                    least[place] = scores[place, 0]


@njit(cache=True)
def _nearest(rows, row_sizes, postings, ids, sizes, measure, sums, nearest):  # type: ignore[no-untyped-def]
    """For each row the users of the postings that are most similar to it by cosine, best first, then -1."""
    _, offsets, items, weights = rows
    dots, supports, _, _, touched = sums
    scores = np.empty(nearest.shape[1], np.float32)
    for row in range(row_sizes.size):
        size, best = 0, nearest[row]
        n_touched = _add_up(items, weights, offsets[row], offsets[row + 1], postings, sums)
        for k in range(n_touched):
            place = touched[k]
            score = _similarity(measure, dots[place], supports[place], row_sizes[row], sizes[place])
            dots[place], supports[place] = 0.0, 0
            if score > 0 and enters(best, scores, size, score, ids[place]):
                size = push(best, scores, size, score, ids[place])
        sort_heap(best, scores, size)
        best[size:] = -1


@njit(cache=True)
def _sort_rows(heap, scores, sizes):  # type: ignore[no-untyped-def]
    for row in range(sizes.size):
        sort_heap(heap[row], scores[row], sizes[row])


def _frozen(vectors: Vectors) -> Vectors:
    types = (np.int64, np.int64, np.int32, np.float64)
    return Vectors(*(frozen(array, dtype) for array, dtype in zip(vectors, types, strict=True)))


def _sizes(vectors: Vectors, measure: Measure, own: bool) -> np.ndarray:
    """What stands for each user in the bottom of the similarity: a power of the norm, or the number of items."""
    offsets, _, weights = vectors[1:]
    if measure.formula == JACCARD:
        return np.diff(offsets).astype(np.float64)
    squares = np.add.reduceat(np.append(weights, 0.0) ** 2, offsets[:-1]) if len(vectors.ids) else np.empty(0)
    powers: np.ndarray = squares ** (measure.asymmetry if own else 1 - measure.asymmetry)
    return powers


def _no_sums(n: int, measure: Measure) -> _Sums:
    n_squares = n if measure.formula == PEARSON else 0
    return _Sums(np.zeros(n), np.zeros(n, np.int32), np.zeros(n_squares), np.zeros(n_squares), np.empty(n, np.int32))


class BlockSearch:
    """The n best neighbours of each of `users`, among all that are offered: similarity above 0, best first by (score, id)."""

    def __init__(self, users: Vectors, n: int, measure: Measure) -> None:
        self.users, self.measure = _frozen(users), measure
        self._postings = _postings(*self.users[1:], 1 + int(self.users.items.max(initial=-1)))
        self._sizes = _sizes(self.users, measure, own=True)
        self._sums = _no_sums(len(users.ids), measure)
        self._heap = np.empty((len(users.ids), n), np.int64)
        self._scores = np.empty((len(users.ids), n), np.float32)
        self._filled = np.zeros(len(users.ids), np.int64)
        self._least = np.zeros(len(users.ids), np.float32)

    def offer(self, others: Vectors) -> None:
        """Everybody is offered once; a user does not become an own neighbour."""
        others, sizes = _frozen(others), _sizes(others, self.measure, own=False)
        heaps = (self._heap, self._scores, self._filled, self._least)
        _offer(tuple(others), sizes, self._postings, self.users.ids, self._sizes, tuple(self.measure), tuple(self._sums), *heaps)

    def neighbours(self) -> Iterator[NeighbourRows]:
        """What was found; nothing may be offered afterwards."""
        _sort_rows(self._heap, self._scores, self._filled)
        for first in range(0, len(self._filled), USERS_AT_ONCE):
            some = slice(first, first + USERS_AT_ONCE)
            filled = np.arange(self._heap.shape[1]) < self._filled[some, None]
            place, position = np.nonzero(filled)
            entries = self._heap[some][filled]
            supports = (entries & ((1 << _SUPPORT_BITS) - 1)).astype(np.int32)
            scores = self._scores[some][filled]
            yield NeighbourRows(self.users.ids[first + place], entries >> _SUPPORT_BITS, scores, supports, position.astype(np.int32))


class Nearest:
    """The vectors of a small set, such as the centroids of clusters, that are nearest to each user by cosine."""

    def __init__(self, users: Vectors) -> None:
        self._users, self._measure = _frozen(users), Measure()
        self._postings = _postings(*self._users[1:], 1 + int(self._users.items.max(initial=-1)))
        self._sizes = _sizes(self._users, self._measure, own=False)
        self._sums = _no_sums(len(users.ids), self._measure)

    def of(self, rows: Vectors, n: int) -> np.ndarray:
        """[rows x n] int64: ids, most similar first; -1 where fewer than n are similar at all."""
        rows = _frozen(rows)
        nearest = np.empty((len(rows.ids), n), np.int64)
        sizes = _sizes(rows, self._measure, own=True)
        _nearest(tuple(rows), sizes, self._postings, self._users.ids, self._sizes, tuple(self._measure), tuple(self._sums), nearest)
        return nearest
