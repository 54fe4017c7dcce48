"""What a user's neighbours propose: the items they have, by the sum of their similarities. Plain arrays in and out."""

from __future__ import annotations

import numpy as np
from numba import njit

from recspark.kernels.topk import enters, frozen, is_masked, push, sort_heap


@njit(cache=True)
def _by_users(  # type: ignore[no-untyped-def]
    list_offsets, neighbours, similarities, ids, offsets, items, n_items, allowed, seen_offsets, seen_items, best, scores, sizes
):
    sums, touched_in, touched = np.zeros(n_items, np.float64), np.zeros(n_items, np.int64), np.empty(n_items, np.int32)
    for row in range(sizes.size):
        n_touched = 0
        for entry in range(list_offsets[row], list_offsets[row + 1]):
            place = np.searchsorted(ids, neighbours[entry])
            if place == ids.size or ids[place] != neighbours[entry]:
                continue
            for known in range(offsets[place], offsets[place + 1]):
                item = items[known]
                if touched_in[item] != row + 1:
                    touched_in[item] = row + 1
                    sums[item] = 0.0
                    touched[n_touched] = item
                    n_touched += 1
                sums[item] += similarities[entry]
        for k in range(n_touched):
            item = touched[k]
            score = np.float32(sums[item])
            if enters(best[row], scores[row], sizes[row], score, item) and not is_masked(
                item, allowed, seen_items, seen_offsets[row], seen_offsets[row + 1]
            ):
                sizes[row] = push(best[row], scores[row], sizes[row], score, item)
        sort_heap(best[row], scores[row], sizes[row])


def top_items_by_users(
    list_offsets: np.ndarray,
    neighbours: np.ndarray,
    similarities: np.ndarray,
    ids: np.ndarray,
    offsets: np.ndarray,
    items: np.ndarray,
    allowed: np.ndarray,
    seen_offsets: np.ndarray,
    seen_items: np.ndarray,
    n: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The n items with the largest sum of similarities of those of a row's neighbours who have the item.

    Row r's neighbours and similarities are list_offsets[r]:list_offsets[r + 1]; user ids[u] (ascending) has
    items[offsets[u]:offsets[u + 1]], each once. Neighbours that are not among `ids` count nothing. Only items that a neighbour
    has are proposed. Sums are made in the order of the lists. Returns items padded with -1, and scores with 0.
    """
    n_rows = len(list_offsets) - 1
    best, scores, sizes = np.full((n_rows, n), -1, np.int32), np.zeros((n_rows, n), np.float32), np.zeros(n_rows, np.int64)
    _by_users(
        frozen(list_offsets, np.int64),
        frozen(neighbours, np.int64),
        frozen(similarities, np.float32),
        frozen(ids, np.int64),
        frozen(offsets, np.int64),
        frozen(items, np.int32),
        1 + int(items.max(initial=-1)),
        frozen(allowed, np.bool_),
        frozen(seen_offsets, np.int64),
        frozen(seen_items, np.int32),
        best,
        scores,
        sizes,
    )
    return best, scores
