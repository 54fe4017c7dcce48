"""What the items of one block have in common with all others, from the histories that touch the block.

Items are split into blocks by index modulo n_blocks. A block's histories are transposed, and for each of its items those that
hold it are added into one dense row of sums (Gustavson's sparse product, ACM TOMS 4(3), 1978). Inside, items are numbered by
popularity: most sums then fall on few cache lines. Histories are added in the order of their users, so that blocks and
partitions do not change a bit of a sum.

Two forms give the same sums. In the *triangle* a block computes the pairs of its items with more popular ones only, and offers
each to both items: half the work, but it holds the lists of all items (24 bytes a place), and the lists of the blocks are
merged. In the *square* it computes whole rows, and holds the lists of its own items.

Memory of a block, in bytes, of E entries of its histories, H lists of n places (all items, or the block's), L entries of them
that are filled, and N items:
  44 E + 24 H n + 16 L + 110 N
Histories that do not fit in memory together come in groups: `fold` keeps the sums between them. It holds each pair three times
(before, in pieces, and the pieces joined), in 4 bytes and one number for each that is added up: 8 bytes of COUNT, 12 of STEPS,
20 of DOT, 36 of MOMENTS. Weighted sums then depend, in their last bits, on which histories came together; counts do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.adding import COUNT, DOT, MOMENTS, STEPS, add_up
from recspark.kernels.frozen import frozen
from recspark.kernels.lists import Neighbours, close_lists, offer, open_lists
from recspark.kernels.packing import Histories, transpose
from recspark.kernels.similarity import PRODUCT, SLACK, STRETCH, Measure, score_of, worth_offering

# How many numbers are added up of a pair, by mode.
_WIDTHS, _KINDS = (1, 2, 4, 2), (np.int32, np.float64, np.float64, np.int32)
# How many pairs are handed over at once.
PAIRS_AT_ONCE = 1 << 22
# For who calls: histories' entries to add up at once (44 bytes each), beyond which sums are folded and carried on; and places in
# the lists of all items (24 bytes each), beyond which a block had better compute whole rows of its own items.
ENTRIES_AT_ONCE, PLACES = 1 << 26, 1 << 25


class Catalogue(NamedTuple):
    """The items by popularity, alike for every block: the r-th is item_of[r], and rank_of[item] is its r."""

    rank_of: np.ndarray  # int32 [n_items]
    item_of: np.ndarray  # int32 [n_items]


class Sums(NamedTuple):
    """Sums so far of the block's items, by rank: pair p of its k-th item is offsets[k] <= p < offsets[k + 1]."""

    offsets: np.ndarray  # int64
    others: np.ndarray  # uint32: the other item's rank
    values: np.ndarray  # [width, n]: int32 of COUNT and STEPS, else float64


class Block(NamedTuple):
    """Which items, in which form, and what is added up."""

    block: int
    n_blocks: int
    catalogue: Catalogue
    triangle: bool
    mode: int
    max_gap: int  # STEPS: at most so many steps apart

    @property
    def own(self) -> np.ndarray:
        """The ranks of the block's items, ascending."""
        return np.flatnonzero(self.catalogue.item_of % self.n_blocks == self.block)


def by_popularity(counts: np.ndarray) -> Catalogue:
    """The catalogue of items with `counts` histories each; equals by index."""
    item_of = np.argsort(-counts, kind="stable").astype(np.int32)
    rank_of = np.empty_like(item_of)
    rank_of[item_of] = np.arange(len(item_of), dtype=np.int32)
    return Catalogue(rank_of, item_of)


@njit(cache=True)
def _begin(k, rank, mode, max_gap, triangle, histories, earlier, sums):  # type: ignore[no-untyped-def]
    """Add up all pairs of the block's k-th item, which is `rank`, in `sums`; how many entries that were."""
    before, before_others, before_values = earlier
    for pair in range(before[k], before[k + 1]):
        for column in range(sums.shape[0]):
            sums[column, before_others[pair]] = before_values[column, pair]
    n_added = before[k + 1] - before[k] + np.int64(add_up(mode, max_gap, rank, triangle, histories, sums))
    if not triangle:
        sums[:, rank] = 0
    return n_added


@njit(cache=True)
def _is_dense(n_added, rank, triangle, sums):  # type: ignore[no-untyped-def]
    """Whether looking through all sums is quicker than finding those that were added to where they came from; and how far to look."""
    reach = rank if triangle else sums.shape[1]
    return 2 * n_added >= reach, reach


@njit(cache=True)
def _touched(k, rank, triangle, histories, earlier, sums, others, marks, n_added):  # type: ignore[no-untyped-def]
    """The others whose `sums` are not 0, in `others`: how many."""
    row_offsets, ranks, _, holders, rows, places = histories
    before, before_others, _ = earlier
    n, first, last = 0, sums[0], sums[-1]
    dense, reach = _is_dense(n_added, rank, triangle, sums)
    if dense:
        for other in range(reach):
            others[n] = other
            n += (first[other] != 0) | (last[other] != 0)
        return n
    for pair in range(before[k], before[k + 1]):
        other = before_others[pair]
        marks[other] = rank + 1
        others[n] = other
        n += 1
    for holder in range(holders[rank], holders[rank + 1]):
        end = places[holder] if triangle else row_offsets[rows[holder] + np.uint32(1)]
        for entry in range(row_offsets[rows[holder]], end):
            other = ranks[entry]
            if marks[other] != rank + 1:
                marks[other] = rank + 1
                others[n] = other
                n += (first[other] != 0) | (last[other] != 0)
    return n


@njit(cache=True)
def _clear(n, others, sums):  # type: ignore[no-untyped-def]
    for column in range(sums.shape[0]):
        for pair in range(n):
            sums[column, others[pair]] = 0


@njit(cache=True)
def _fold(own, first, mode, max_gap, triangle, histories, earlier, sums, limit):  # type: ignore[no-untyped-def]
    """The sums of the block's items from the `first` on, until there are `limit` of them; and the first item that is not in them."""
    width, n_items = sums.shape
    others, marks = np.empty(n_items + 1, np.uint32), np.zeros(n_items, np.int64)
    offsets = np.zeros(own.size + 1 - first, np.int64)
    # Memory that is never written to is never taken.
    all_others, all_values, k = np.empty(limit + n_items, np.uint32), np.empty((width, limit + n_items), sums.dtype), first
    while k < own.size and offsets[k - first] < limit:
        start = offsets[k - first]
        n_added = _begin(k, own[k], mode, max_gap, triangle, histories, earlier, sums)
        n = _touched(k, own[k], triangle, histories, earlier, sums, others, marks, n_added)
        for pair in range(n):
            all_others[start + pair] = others[pair]
            for column in range(width):
                all_values[column, start + pair] = sums[column, others[pair]]
        _clear(n, others, sums)
        k += 1
        offsets[k - first] = start + n
    end = offsets[k - first]
    return k, offsets[: k - first + 1].copy(), all_others[:end].copy(), all_values[:, :end].copy()


@njit(cache=True)
def _select(own, mode, max_gap, triangle, histories, earlier, sums, measure, item_of, min_support, room):  # type: ignore[no-untyped-def]
    # Arrays are taken out of their tuples before the loops, once: see `lists.offer`.
    formula, left, right, counts, n_histories, in_norm, on_support, symmetric = measure
    entries, supports, sizes, least = room
    others, marks = np.empty(item_of.size + 1, np.uint32), np.zeros(item_of.size, np.int64)
    # j after i, and i after j: one, where the direction does not count.
    there, back, dots = sums[0], sums[1 if mode == STEPS else 0], sums[0 if mode in (COUNT, STEPS) else 1]
    pairs = (there, back, dots, left, right)
    square_i, square_j, n, work = 0.0, 0.0, 0, (np.empty(STRETCH, np.bool_), np.empty(STRETCH))
    for k in range(own.size):
        i = own[k]
        mine = i if triangle else k
        n_i, left_i, right_i = float(counts[i]), left[i], right[i]
        n_added = _begin(k, i, mode, max_gap, triangle, histories, earlier, sums)
        dense, reach = _is_dense(n_added, i, triangle, sums)
        first, end = 0, reach
        while first < reach:
            if dense:
                # By stretches, so that what is offered soon raises what the rest of them must reach.
                end = min(first + STRETCH, reach)
                reached = (min_support, least, least[mine], triangle)
                n = worth_offering(first, end, formula, mode == STEPS, *pairs, left_i, right_i, on_support, *reached, work, others)
            else:
                n = _touched(k, i, triangle, histories, earlier, sums, others, marks, n_added)
            first = end
            for pair in range(n):
                j = others[pair]
                support, support_back, dot = float(there[j]), float(back[j]), float(dots[j])
                most = max(support, support_back)
                if most < min_support:
                    continue
                if formula == PRODUCT:
                    # Most pairs are worse than what both lists hold: a bound of both scores says so, before anything else is done.
                    bound = (most if mode == STEPS else dot) * max(left_i * right[j], left[j] * right_i) * SLACK
                    if on_support > 0:
                        bound *= most / (most + on_support)
                    if bound < least[mine] and (not triangle or bound < least[j]):
                        continue
                if mode == MOMENTS:
                    square_i, square_j = sums[2, j], sums[3, j]
                n_j, score = float(counts[j]), np.float32(0)
                if support >= min_support:
                    score = score_of(
                        formula, left_i, right[j], n_i, n_j, n_histories, in_norm, on_support, dot, support, square_i, square_j
                    )
                    offer(entries, supports, sizes, least, mine, item_of[j], score, there[j])
                if triangle and support_back >= min_support:
                    if not symmetric or mode == STEPS:
                        dot = support_back if mode == STEPS else dot
                        score = score_of(
                            formula, left[j], right_i, n_j, n_i, n_histories, in_norm, on_support, dot, support_back, square_j, square_i
                        )
                    offer(entries, supports, sizes, least, j, item_of[i], score, back[j])
        if dense:
            sums[:, :reach] = 0
        else:
            _clear(n, others, sums)


def no_sums(block: Block) -> Sums:
    return Sums(np.zeros(len(block.own) + 1, np.int64), np.empty(0, np.uint32), np.empty((_WIDTHS[block.mode], 0), _KINDS[block.mode]))


def _opened(block: Block, rows: Histories) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """The histories as the kernels read them, and sums of 0."""
    kind = np.int32 if block.mode == STEPS else np.float32
    order = np.argsort(rows.users, kind="stable")
    ones = block.mode == DOT and not len(rows.values)
    values = frozen(np.ones(len(rows.items)) if ones else rows.values if block.mode != COUNT else np.empty(0), kind)
    histories = transpose(order, frozen(rows.offsets, np.int64), frozen(rows.items, np.int32), values, block.catalogue.rank_of)
    return histories, np.zeros((_WIDTHS[block.mode], len(block.catalogue.rank_of)), _KINDS[block.mode])


def _pieces(block: Block, earlier: Sums, rows: Histories) -> Iterator[Sums]:
    """The sums of the block's items, PAIRS_AT_ONCE or a little more at a time; there is a first piece, if of nothing."""
    histories, sums = _opened(block, rows)
    own, k = block.own, 0
    while True:
        k, *found = _fold(own, k, block.mode, block.max_gap, block.triangle, histories, tuple(earlier), sums, PAIRS_AT_ONCE)
        yield Sums(*found)
        if k == len(own):
            return


def fold(block: Block, earlier: Sums, rows: Histories) -> Sums:
    """`earlier` (`no_sums` to begin with) and the pairs of `rows` after them."""
    pieces = list(_pieces(block, earlier, rows))
    lengths = np.concatenate([np.diff(piece.offsets) for piece in pieces])
    others, values = np.concatenate([piece.others for piece in pieces]), np.concatenate([piece.values for piece in pieces], axis=1)
    return Sums(np.concatenate(([0], np.cumsum(lengths))), others, values)


def count(block: Block, earlier: Sums, rows: Histories) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(item, other, support) of every pair of the block, PAIRS_AT_ONCE or a little more at a time."""
    own, item_of, k = block.own, block.catalogue.item_of, 0
    for offsets, others, values in _pieces(block, earlier, rows):
        lengths = np.diff(offsets)
        yield np.repeat(item_of[own[k : k + len(lengths)]], lengths), item_of[others], values[0].astype(np.int64)
        k += len(lengths)


def top_neighbours(block: Block, earlier: Sums, rows: Histories, measure: Measure, *, n: int, min_support: int) -> Neighbours:
    """The n best of each item that this block knows of, best first by (score descending, neighbour ascending).

    Rows without values are of ones. Only scores above 0 and pairs of at least `min_support` count. In the triangle form an item's
    list is complete only when those of all blocks are merged (`lists.merge`).
    """
    if block.mode == DOT and not len(earlier.others) and not len(rows.values):
        block = block._replace(mode=COUNT)  # dot and support are then one number
        earlier = no_sums(block)
    histories, sums = _opened(block, rows)
    own, item_of = block.own, block.catalogue.item_of
    lists = open_lists(len(item_of) if block.triangle else len(own), n)
    factors = {name: getattr(measure, name)[item_of] for name in ("left", "right", "counts")}
    ranked = measure._replace(n_histories=float(measure.n_histories), **factors)
    _select(
        own, block.mode, block.max_gap, block.triangle, histories, tuple(earlier), sums, tuple(ranked), item_of, min_support, tuple(lists)
    )
    return close_lists(lists, item_of if block.triangle else item_of[own])
