"""The n best items of each row, by (score descending, item index ascending), never a masked one.

All three sources of scores (factors, neighbours, a global order) share one mask and one selection. A mask is two things:
`allowed`, by item index (an item beyond its end is not allowed), and each row's seen items, ascending, as the slice
`seen_items[seen_offsets[row]:seen_offsets[row + 1]]`. Masking happens before selecting, so a row gets n items whenever n
are left. Scores that are not a number are never chosen. Results are [n_rows x n]: items padded with -1, scores with 0.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recspark.columns import PAD_ITEM

# Every product is computed as a full tile of users, the last one padded with zeros: BLAS may sum in another order for
# another shape, and a user's scores must not depend on who shares the batch. A power of two leaves no odd edge.
USER_TILE = 256
# 256 x 4,096 scores are 4 MB: they stay in the cache between the product and the selection.
ITEM_TILE = 4096


@njit(cache=True)
def _is_worse(score: float, item: int, other_score: float, other_item: int) -> bool:
    return score < other_score or (score == other_score and item > other_item)


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
def is_masked(item: int, allowed: np.ndarray, seen_items: np.ndarray, low: int, high: int) -> bool:
    """`item` is not allowed (or no item), or stands in the ascending `seen_items[low:high]`."""
    return item < 0 or item >= allowed.size or not allowed[item] or contains(seen_items, low, high, item)


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


@njit(cache=True)
def _offer_tile(products, user_biases, item_ids, item_biases, allowed, seen_offsets, seen_items, items, scores, sizes):  # type: ignore[no-untyped-def]
    for row in range(user_biases.size):
        heap_items, heap_scores, size = items[row], scores[row], sizes[row]
        low, high = seen_offsets[row], seen_offsets[row + 1]
        for column in range(item_ids.size):
            score = products[row, column] + item_biases[column] + user_biases[row]
            item = item_ids[column]
            # Most scores are too low: the mask is asked last.
            if enters(heap_items, heap_scores, size, score, item) and not is_masked(item, allowed, seen_items, low, high):
                size = push(heap_items, heap_scores, size, score, item)
        sizes[row] = size


@njit(cache=True)
def _sort_rows(items, scores, sizes):  # type: ignore[no-untyped-def]
    for row in range(sizes.size):
        sort_heap(items[row], scores[row], sizes[row])


@njit(cache=True)
def _by_neighbours(  # type: ignore[no-untyped-def]
    history_offsets,
    history_items,
    neighbour_offsets,
    neighbour_items,
    neighbour_scores,
    allowed,
    seen_offsets,
    seen_items,
    items,
    scores,
    sizes,
):
    n_items = neighbour_offsets.size - 1
    sums = np.zeros(n_items, np.float64)
    # The last row, counted from 1, that an item was touched in, or that counted it as history.
    touched_in = np.zeros(n_items, np.int64)
    counted_in = np.zeros(n_items, np.int64)
    touched = np.empty(n_items, np.int32)
    for row in range(sizes.size):
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
        low, high = seen_offsets[row], seen_offsets[row + 1]
        for place in range(n_touched):
            item = touched[place]
            # Rounded before it is compared: equal in the table means equal here.
            score = np.float32(sums[item])
            if enters(items[row], scores[row], sizes[row], score, item) and not is_masked(item, allowed, seen_items, low, high):
                sizes[row] = push(items[row], scores[row], sizes[row], score, item)
        sort_heap(items[row], scores[row], sizes[row])


@njit(cache=True)
def _of_order(order_items, order_scores, allowed, seen_offsets, seen_items, items, scores, sizes):  # type: ignore[no-untyped-def]
    for row in range(sizes.size):
        size = 0
        for place in range(order_items.size):
            if size == items.shape[1]:
                break
            item, score = order_items[place], order_scores[place]
            if not np.isnan(score) and not is_masked(item, allowed, seen_items, seen_offsets[row], seen_offsets[row + 1]):
                items[row, size], scores[row, size] = item, score
                size += 1
        sizes[row] = size


def frozen(array: np.ndarray, dtype: type) -> np.ndarray:
    """A read-only, contiguous view (a copy only where the type differs): numba then compiles each kernel for one signature."""
    view: np.ndarray = np.ascontiguousarray(np.asarray(array), dtype=dtype).view()
    view.flags.writeable = False
    return view


def _empty_lists(n_rows: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if n < 1:
        raise ValueError(f"n = {n}: the number of items to choose must be at least 1")
    return np.full((n_rows, n), PAD_ITEM, np.int32), np.zeros((n_rows, n), np.float32), np.zeros(n_rows, np.int64)


def order_by_score(items: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`items` and their scores as float32, best first by (score descending, item ascending); not-a-number last."""
    rounded = np.asarray(scores).astype(np.float32)
    order = np.lexsort((items, -rounded))
    return np.asarray(items)[order].astype(np.int32), rounded[order]


def top_items_of_order(
    order_items: np.ndarray, order_scores: np.ndarray, allowed: np.ndarray, seen_offsets: np.ndarray, seen_items: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first n items of one global order (as `order_by_score` makes it) that are not masked, for each row of `seen_offsets`.

    Costs n + the row's seen items a row.

    Raises:
        ValueError: n < 1.
    """
    items, scores, sizes = _empty_lists(len(seen_offsets) - 1, n)
    _of_order(
        frozen(order_items, np.int32),
        frozen(order_scores, np.float32),
        frozen(allowed, np.bool_),
        frozen(seen_offsets, np.int64),
        frozen(seen_items, np.int32),
        items,
        scores,
        sizes,
    )
    return items, scores


def top_items_by_neighbours(
    history_offsets: np.ndarray,
    history_items: np.ndarray,
    neighbour_offsets: np.ndarray,
    neighbour_items: np.ndarray,
    neighbour_scores: np.ndarray,
    allowed: np.ndarray,
    seen_offsets: np.ndarray,
    seen_items: np.ndarray,
    n: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The n items with the largest sum of neighbour scores over each row's history.

    `history_*` and `neighbour_*` are compressed rows: the neighbours of item i stand at
    neighbour_offsets[i]:neighbour_offsets[i + 1], and neighbour items are below N = len(neighbour_offsets) - 1. An item that
    stands twice in a history counts once; items without neighbours, and padding, count nothing. Only items with a neighbour
    in the history are proposed. Memory: 28 bytes an item of N.

    Raises:
        ValueError: n < 1, or a neighbour beyond N.
    """
    items, scores, sizes = _empty_lists(len(history_offsets) - 1, n)
    _by_neighbours(
        frozen(history_offsets, np.int64),
        frozen(history_items, np.int32),
        frozen(neighbour_offsets, np.int64),
        frozen(neighbour_items, np.int64),
        frozen(neighbour_scores, np.float32),
        frozen(allowed, np.bool_),
        frozen(seen_offsets, np.int64),
        frozen(seen_items, np.int32),
        items,
        scores,
        sizes,
    )
    return items, scores


def top_items_by_factors(
    user_vectors: np.ndarray,
    user_biases: np.ndarray,
    item_ids: np.ndarray,
    item_vectors: np.ndarray,
    item_biases: np.ndarray,
    allowed: np.ndarray,
    seen_offsets: np.ndarray,
    seen_items: np.ndarray,
    n: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The n items with the largest user_vectors [B x R] . item_vectors [N x R] + item_biases [N] + user_biases [B], a row a user.

    `item_ids` [N] names the item indexes of the item rows; `allowed` is by item index. Products are made tile by tile
    (single precision), so memory is USER_TILE x ITEM_TILE scores, whatever B and N are.

    Raises:
        ValueError: n < 1, or users and items differ in the number of factors.
    """
    items, scores, sizes = _empty_lists(len(user_vectors), n)
    user_vectors, item_vectors = frozen(user_vectors, np.float32), frozen(item_vectors, np.float32)
    if len(user_vectors) == 0 or len(item_vectors) == 0:
        return items, scores
    if user_vectors.shape[1] != item_vectors.shape[1]:
        raise ValueError(f"users have {user_vectors.shape[1]} factors and items {item_vectors.shape[1]}: both must come from one fit")
    user_biases, item_biases = frozen(user_biases, np.float32), frozen(item_biases, np.float32)
    item_ids, allowed = frozen(item_ids, np.int64), frozen(allowed, np.bool_)
    seen_offsets, seen_items = frozen(seen_offsets, np.int64), frozen(seen_items, np.int32)
    tile = np.zeros((USER_TILE, user_vectors.shape[1]), np.float32)
    buffer = np.empty(USER_TILE * ITEM_TILE, np.float32)
    for start in range(0, len(user_vectors), USER_TILE):
        rows = slice(start, min(start + USER_TILE, len(user_vectors)))
        tile[: rows.stop - start] = user_vectors[rows]
        tile[rows.stop - start :] = 0
        for first in range(0, len(item_vectors), ITEM_TILE):
            columns = slice(first, min(first + ITEM_TILE, len(item_vectors)))
            products = buffer[: USER_TILE * (columns.stop - first)].reshape(USER_TILE, -1)
            np.matmul(tile, item_vectors[columns].T, out=products)
            _offer_tile(
                products,
                user_biases[rows],
                item_ids[columns],
                item_biases[columns],
                allowed,
                seen_offsets[start : rows.stop + 1],
                seen_items,
                items[rows],
                scores[rows],
                sizes[rows],
            )
    _sort_rows(items, scores, sizes)
    return items, scores
