from __future__ import annotations

from itertools import pairwise

import numpy as np

from recspark.kernels.fusion import fuse_lists


def _fuse(lists: list[list[list[int]]], n: int) -> list[tuple[list[int], list[int], list[float]]]:
    """Rows of sources of items; the score of an item is its number + half the source's place."""
    n_sources = len(lists[0])
    flat = [source for row in lists for source in row]
    items = np.array([item for source in flat for item in source], np.int32)
    scores = np.array([item + (place % n_sources) / 2 for place, source in enumerate(flat) for item in source], np.float32)
    offsets = np.cumsum([0, *map(len, flat)])
    starts, *found = fuse_lists(offsets, items, scores, n_sources=n_sources, n=n, k_rrf=60.0)
    rows = pairwise(starts)
    return [(found[0][a:b].tolist(), *(flat[a * n_sources : b * n_sources].tolist() for flat in found[1:])) for a, b in rows]  # type: ignore[misc]


def test_two_sources_by_hand() -> None:
    # Item 5: 1/61 + 1/62; item 3: 1/61; item 9: 1/62.
    assert _fuse([[[5, 9], [3, 5]]], 10) == [([5, 3, 9], [0, 1, -1, 0, 1, -1], [5.0, 5.5, 0.0, 3.5, 9.0, 0.0])]


def test_equal_sums_stand_by_item_whichever_sources_they_are_from() -> None:
    # Items 1, 2 and 3 hold the positions 0, 1 and 2 of three sources each, in three orders.
    ((items, _, _),) = _fuse([[[3, 2, 1], [2, 1, 3], [1, 3, 2]]], 10)
    assert items == [1, 2, 3]


def test_only_the_n_best_and_rows_without_anything() -> None:
    rows = _fuse([[[], []], [[8, 7, 6], [7]], [[], [4]]], 2)
    assert [items for items, _, _ in rows] == [[], [7, 8], [4]]
    assert [positions for _, positions, _ in rows] == [[], [1, 0, 0, -1], [-1, 0]]
