"""What a user's neighbours propose: the items they have, by the sum of their similarities. Plain arrays in and out."""

from __future__ import annotations

import numpy as np
from numba import njit

from recspark.kernels.frozen import frozen
from recspark.kernels.masks import Mask
from recspark.kernels.selection import empty_lists
from recspark.kernels.topk import choose_sums


@njit(cache=True)
def _by_users(list_offsets, neighbours, similarities, ids, offsets, items, n_items, mask, lists):  # type: ignore[no-untyped-def]
    sums, touched_in, touched = np.zeros(n_items, np.float64), np.zeros(n_items, np.int64), np.empty(n_items, np.int32)
    rounded = np.empty(n_items, np.float32)
    for row in range(lists.sizes.size):
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
        choose_sums(sums, touched, n_touched, touched_in, mask, lists, row, rounded)


def top_items_by_users(
    list_offsets: np.ndarray,
    neighbours: np.ndarray,
    similarities: np.ndarray,
    ids: np.ndarray,
    offsets: np.ndarray,
    items: np.ndarray,
    mask: Mask,
    n: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The n items with the largest sum of similarities of those of a row's neighbours who have the item.

    Row r's neighbours and similarities are list_offsets[r]:list_offsets[r + 1]; user ids[u] (ascending) has
    items[offsets[u]:offsets[u + 1]], each once. Neighbours that are not among `ids` count nothing. Only items that a neighbour
    has are proposed. Sums are made in the order of the lists. Returns items padded with -1, and scores with 0.
    """
    lists = empty_lists(len(list_offsets) - 1, n, mask.quota)
    _by_users(
        frozen(list_offsets, np.int64),
        frozen(neighbours, np.int64),
        frozen(similarities, np.float32),
        frozen(ids, np.int64),
        frozen(offsets, np.int64),
        frozen(items, np.int32),
        1 + int(items.max(initial=-1)),
        mask,
        lists,
    )
    return lists.items, lists.scores
