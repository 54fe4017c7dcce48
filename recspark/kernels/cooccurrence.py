"""The most similar items of a block of items, from the weighted histories of the users that touch it.

Items are split into blocks by index modulo n_blocks; one call knows every history with an item of its block, so the sums of
the block's items are complete and nothing but their n best neighbours leaves. For each item the histories that hold it are
added into one dense row of sums (Gustavson's sparse product, ACM TOMS 4(3), 1978). Histories that do not fit in memory
together come in chunks: `fold_rows` keeps the sums between them, and continues each sum in the order of the histories, so
that chunks, blocks and partitions do not change a bit of the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.frozen import frozen
from recspark.kernels.heaps import enters, push, sort_heap

# How many items' neighbours are handed over at once.
ITEMS_AT_ONCE = 16384


class Rows(NamedTuple):
    """Histories as compressed rows: history u is items[offsets[u]:offsets[u + 1]], each item once, with its weight."""

    offsets: np.ndarray  # int64 [n_rows + 1]
    items: np.ndarray  # int32
    weights: np.ndarray  # float64


class PairSums(NamedTuple):
    """Sums so far of the block's items; the item at place p of block b is p * n_blocks + b."""

    offsets: np.ndarray  # int64 [n_places + 1]
    items: np.ndarray  # int32: the other item
    dots: np.ndarray  # float64
    supports: np.ndarray  # int32


class Neighbours(NamedTuple):
    """One entry a neighbour, by (idx, position)."""

    idx: np.ndarray  # int64
    neighbour_idx: np.ndarray  # int64
    score: np.ndarray  # float32
    support: np.ndarray  # int32
    position: np.ndarray  # int32


NO_SUMS = PairSums(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float64), np.empty(0, np.int32))


@njit(cache=True)
def _postings(row_offsets, row_items, row_weights, block, n_blocks, n_places):  # type: ignore[no-untyped-def]
    """For each of the block's items the rows that hold it, ascending, and its weight there."""
    offsets = np.zeros(n_places + 1, np.int64)
    for entry in range(row_offsets[0], row_offsets[-1]):
        if row_items[entry] % n_blocks == block:
            offsets[row_items[entry] // n_blocks + 1] += 1
    offsets = np.cumsum(offsets)
    ends = offsets[:-1].copy()
    rows, weights = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.float64)
    for row in range(row_offsets.size - 1):
        for entry in range(row_offsets[row], row_offsets[row + 1]):
            if row_items[entry] % n_blocks == block:
                place = row_items[entry] // n_blocks
                rows[ends[place]], weights[ends[place]] = row, row_weights[entry]
                ends[place] += 1
    return offsets, rows, weights


@njit(cache=True)
def _add_up(place, sums, postings, rows, dots, supports, touched):  # type: ignore[no-untyped-def]
    """Earlier sums of the item at `place`, and its rows after them, in the dense `dots` and `supports`; how many are touched."""
    sum_offsets, sum_items, sum_dots, sum_supports = sums
    posting_offsets, posting_rows, posting_weights = postings
    row_offsets, row_items, row_weights = rows
    n_touched = 0
    for entry in range(sum_offsets[place], sum_offsets[place + 1]):
        other = sum_items[entry]
        dots[other], supports[other] = sum_dots[entry], sum_supports[entry]
        touched[n_touched] = other
        n_touched += 1
    for posting in range(posting_offsets[place], posting_offsets[place + 1]):
        row, weight = posting_rows[posting], posting_weights[posting]
        for entry in range(row_offsets[row], row_offsets[row + 1]):
            other = row_items[entry]
            if supports[other] == 0:
                touched[n_touched] = other
                n_touched += 1
            dots[other] += weight * row_weights[entry]
            supports[other] += 1
    return n_touched


@njit(cache=True)
def _fold(sums, postings, rows, n_items):  # type: ignore[no-untyped-def]
    n_places = sums[0].size - 1
    dots, supports, touched = np.zeros(n_items, np.float64), np.zeros(n_items, np.int32), np.empty(n_items, np.int32)
    offsets = np.zeros(n_places + 1, np.int64)
    items, kept_dots, kept_supports = np.empty(1024, np.int32), np.empty(1024, np.float64), np.empty(1024, np.int32)
    for place in range(n_places):
        n_touched = _add_up(place, sums, postings, rows, dots, supports, touched)
        start = offsets[place]
        if start + n_touched > items.size:
            room = 2 * (start + n_touched) - start
            items = np.concatenate((items[:start], np.empty(room, np.int32)))
            kept_dots = np.concatenate((kept_dots[:start], np.empty(room, np.float64)))
            kept_supports = np.concatenate((kept_supports[:start], np.empty(room, np.int32)))
        for k in range(n_touched):
            other = touched[k]
            items[start + k], kept_dots[start + k], kept_supports[start + k] = other, dots[other], supports[other]
            dots[other], supports[other] = 0.0, 0
        offsets[place + 1] = start + n_touched
    return offsets, items[: offsets[-1]].copy(), kept_dots[: offsets[-1]].copy(), kept_supports[: offsets[-1]].copy()


@njit(cache=True)
def _select(sums, postings, rows, n_items, block, n_blocks, first, last, n, min_support, shrinkage):  # type: ignore[no-untyped-def]
    dots, supports, touched = np.zeros(n_items, np.float64), np.zeros(n_items, np.int32), np.empty(n_items, np.int32)
    items, scores = np.empty((last - first, n), np.int32), np.empty((last - first, n), np.float32)
    kept_supports, sizes = np.empty((last - first, n), np.int32), np.zeros(last - first, np.int64)
    for place in range(first, last):
        line, idx, size = place - first, place * n_blocks + block, 0
        n_touched = _add_up(place, sums, postings, rows, dots, supports, touched)
        for k in range(n_touched):
            other = touched[k]
            if other == idx or supports[other] < min_support:
                continue
            # Rounded before it is compared: equal in the table means equal here.
            score = np.float32(dots[other] * (supports[other] / (supports[other] + shrinkage)))
            if enters(items[line], scores[line], size, score, other):
                size = push(items[line], scores[line], size, score, other)
        sort_heap(items[line], scores[line], size)
        for k in range(size):
            kept_supports[line, k] = supports[items[line, k]]
        for k in range(n_touched):
            dots[touched[k]], supports[touched[k]] = 0.0, 0
        sizes[line] = size
    return items, scores, kept_supports, sizes


def _prepare(sums: PairSums, rows: Rows, block: int, n_blocks: int) -> tuple[PairSums, tuple[np.ndarray, ...], Rows, int]:
    rows = Rows(frozen(rows.offsets, np.int64), frozen(rows.items, np.int32), frozen(rows.weights, np.float64))
    n_items = 1 + max((int(column.max()) for column in (rows.items, sums.items) if column.size), default=-1)
    n_places = max(0, -(-(n_items - block) // n_blocks))
    offsets = np.pad(sums.offsets, (0, max(0, n_places + 1 - len(sums.offsets))), mode="edge")
    sums = PairSums(frozen(offsets, np.int64), frozen(sums.items, np.int32), frozen(sums.dots, np.float64), frozen(sums.supports, np.int32))
    return sums, _postings(*rows, block, n_blocks, len(offsets) - 1), rows, n_items


def fold_rows(sums: PairSums, rows: Rows, block: int, n_blocks: int) -> PairSums:
    """`sums` (NO_SUMS to begin with) and the pairs of `rows` after them, for the items of `block`."""
    sums, postings, rows, n_items = _prepare(sums, rows, block, n_blocks)
    return PairSums(*_fold(tuple(sums), postings, tuple(rows), n_items))


def top_neighbours(
    sums: PairSums, rows: Rows, block: int, n_blocks: int, *, n: int, min_support: int, shrinkage: float
) -> Iterator[Neighbours]:
    """The n best neighbours of each of the block's items, ITEMS_AT_ONCE items at a time.

    score(i, j) = dot(i, j) * support / (support + shrinkage), rounded to single precision, where dot is the sum of
    weight(u, i) * weight(u, j) over the rows u that hold both and support their number; pairs with less than `min_support`
    are left out. Best first by (score descending, neighbour ascending).
    """
    sums, postings, rows, n_items = _prepare(sums, rows, block, n_blocks)
    n_places = len(sums.offsets) - 1
    for first in range(0, n_places, ITEMS_AT_ONCE):
        last = min(first + ITEMS_AT_ONCE, n_places)
        items, scores, supports, sizes = _select(
            tuple(sums), postings, tuple(rows), n_items, block, n_blocks, first, last, n, min_support, float(shrinkage)
        )
        filled = np.arange(n) < sizes[:, None]
        place, position = np.nonzero(filled)
        yield Neighbours(
            (first + place) * n_blocks + block,
            items[filled].astype(np.int64),
            scores[filled],
            supports[filled],
            position.astype(np.int32),
        )
