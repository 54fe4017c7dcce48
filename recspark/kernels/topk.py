"""The n best items of each row, by (score descending, item index ascending), never a masked one.

All sources of scores (factors, neighbours, a global order) share one mask (kernels.masks) and one selection. Masking happens
before selecting, so a row gets n items whenever n are left. Scores that are not a number are never chosen. Results are
[n_rows x n]: items padded with -1, scores with 0.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recspark.kernels.frozen import frozen
from recspark.kernels.masks import Mask, count_items, is_masked, takes_place
from recspark.kernels.selection import choose, empty_lists


@njit(cache=True)
def choose_sums(sums, touched, n_touched, touched_in, mask, lists, row, rounded):  # type: ignore[no-untyped-def]
    """The row's list, of the first n_touched items of `touched` by their `sums`; `touched_in` says row + 1 of each of them.

    All are by item index, below whose number everything lies; `touched` and `rounded` are written over.
    """
    n_items = sums.size
    for item in mask.seen_items[mask.seen_offsets[row] : mask.seen_offsets[row + 1]]:
        if 0 <= item < n_items:
            sums[item] = np.nan
    if mask.has_allow[row]:
        n_touched = 0
        for item in mask.allow_items[mask.allow_offsets[row] : mask.allow_offsets[row + 1]]:
            if 0 <= item < n_items and touched_in[item] == row + 1:
                touched[n_touched] = item
                n_touched += 1
    for place in range(n_touched):
        item = touched[place]
        is_available = item < mask.available.size and mask.available[item]
        # Rounded before it is compared: equal in the table means equal here.
        rounded[place] = sums[item] + 0.0 if is_available else np.nan
    choose(touched, rounded, n_touched, mask, lists, row)


@njit(cache=True)
def _by_neighbours(history_offsets, history_items, neighbour_offsets, neighbour_items, neighbour_scores, mask, lists):  # type: ignore[no-untyped-def]
    n_items = neighbour_offsets.size - 1
    sums = np.zeros(n_items, np.float64)
    # The last row, counted from 1, that an item was touched in, or that counted it as history.
    touched_in = np.zeros(n_items, np.int64)
    counted_in = np.zeros(n_items, np.int64)
    touched = np.empty(n_items, np.int32)
    rounded = np.empty(n_items, np.float32)
    for row in range(lists.sizes.size):
        n_touched = 0
        for entry in range(history_offsets[row], history_offsets[row + 1]):
            known = history_items[entry]
            if known < 0 or known >= n_items or counted_in[known] == row + 1:
                continue
            counted_in[known] = row + 1
            for place in range(neighbour_offsets[known], neighbour_offsets[known + 1]):
                item = neighbour_items[place]
                if item < 0 or item >= n_items:
                    raise ValueError(
                        "a neighbour's index is beyond the neighbour lists: neighbours must be numbered below their number of lists"
                    )
                if touched_in[item] != row + 1:
                    touched_in[item] = row + 1
                    sums[item] = 0.0
                    touched[n_touched] = item
                    n_touched += 1
                sums[item] += neighbour_scores[place]
        choose_sums(sums, touched, n_touched, touched_in, mask, lists, row, rounded)


@njit(cache=True)
def _of_order(order_items, order_scores, place_of, mask, lists):  # type: ignore[no-untyped-def]
    for row in range(lists.sizes.size):
        if mask.has_allow[row]:
            allow = mask.allow_items[mask.allow_offsets[row] : mask.allow_offsets[row + 1]]
            scores = np.full(allow.size, np.nan, np.float32)
            for place, item in enumerate(allow):
                if 0 <= item < place_of.size and place_of[item] >= 0 and not is_masked(item, mask, row):
                    scores[place] = order_scores[place_of[item]] + np.float32(0.0)
            choose(allow, scores, allow.size, mask, lists, row)
            continue
        size = 0
        for place in range(order_items.size):
            if size == lists.items.shape[1]:
                break
            item, score = order_items[place], order_scores[place]
            if not np.isnan(score) and not is_masked(item, mask, row) and takes_place(item, mask.quota, lists.taken):
                lists.items[row, size], lists.scores[row, size] = item, score
                size += 1
        count_items(lists.items[row, :size], mask.quota, lists.taken, -1)
        lists.sizes[row] = size


def order_by_score(items: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`items` and their scores as float32, best first by (score descending, item ascending); not-a-number last."""
    rounded = np.asarray(scores).astype(np.float32)
    order = np.lexsort((items, -rounded))
    return np.asarray(items)[order].astype(np.int32), rounded[order]


def places_of(items: np.ndarray) -> np.ndarray:
    """[largest item + 1] int64: where each item stands in `items`, by item index; -1 where it does not."""
    places = np.full(int(np.max(items, initial=-1)) + 1, -1, np.int64)
    places[items] = np.arange(len(items))
    return places


def top_items_of_order(order_items: np.ndarray, order_scores: np.ndarray, mask: Mask, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first n items of one global order (as `order_by_score` makes it) that the mask leaves, for each row of the mask.

    Costs n + the row's seen items a row; with an allow list its length.

    Raises:
        ValueError: n < 1.
    """
    lists = empty_lists(len(mask.has_allow), n, mask.quota)
    items = frozen(order_items, np.int32)
    _of_order(items, frozen(order_scores, np.float32), places_of(items), mask, lists)
    return lists.items, lists.scores


def top_items_by_neighbours(
    history_offsets: np.ndarray,
    history_items: np.ndarray,
    neighbour_offsets: np.ndarray,
    neighbour_items: np.ndarray,
    neighbour_scores: np.ndarray,
    mask: Mask,
    n: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The n items with the largest sum of neighbour scores over each row's history.

    `history_*` and `neighbour_*` are compressed rows: the neighbours of item i stand at
    neighbour_offsets[i]:neighbour_offsets[i + 1], and neighbour items are below N = len(neighbour_offsets) - 1. An item that
    stands twice in a history counts once; items without neighbours, and padding, count nothing. Only items with a neighbour
    in the history are proposed. Memory: 32 bytes an item of N.

    Raises:
        ValueError: n < 1, or a neighbour beyond N.
    """
    lists = empty_lists(len(history_offsets) - 1, n, mask.quota)
    _by_neighbours(
        frozen(history_offsets, np.int64),
        frozen(history_items, np.int32),
        frozen(neighbour_offsets, np.int64),
        frozen(neighbour_items, np.int64),
        frozen(neighbour_scores, np.float32),
        mask,
        lists,
    )
    return lists.items, lists.scores
