from __future__ import annotations

import numpy as np
import pytest

from recspark.kernels.topk import order_by_score, top_items_by_neighbours, top_items_of_order
from tests.kernels.masked import World, csr, free_world, lists_of, some_world

NAN = float("nan")


def first(scores, world, n):
    return lists_of(top_items_of_order(*order_by_score(np.arange(len(scores)), np.array(scores)), world.mask(), n))


def test_best_first_ties_by_item_and_never_a_masked_one() -> None:
    # Scores of items 0..4 are 1, 3, 3, 2, 9; item 4 is not available, item 1 was seen by the second row.
    world = free_world(2, 5, [[], [1]])._replace(available=np.array([True, True, True, True, False]))
    assert first([1.0, 3.0, 3.0, 2.0, 9.0], world, 2) == [[(1, 3.0), (2, 3.0)], [(2, 3.0), (3, 2.0)]]


def test_all_masked_and_fewer_than_n() -> None:
    assert first([1.0, 2.0, 3.0], free_world(2, 3, [[0, 1, 2], [2]]), 5) == [[], [(1, 2.0), (0, 1.0)]]


def test_only_what_is_allowed_and_an_empty_allow_list_allows_nothing() -> None:
    world = free_world(3, 4, [[], [3], []])._replace(allow=[[0, 3], [0, 3, 9], []])
    assert first([1.0, 2.0, 3.0, NAN], world, 5) == [[(0, 1.0)], [(0, 1.0)], []]


def test_a_quota_passes_over_what_has_no_room_and_the_list_is_still_full() -> None:
    # Best first 4, 3, 2, 1, 0. 4 and 3 are of category 0; 2 of 0 and 1; 1 of 1; 0 of none. One of each: 4, then 1, then 0.
    world = free_world(1, 5)._replace(categories=[[], [1], [0, 1], [0], [0]], most=1)
    assert first([0.0, 1.0, 2.0, 3.0, 4.0], world, 3) == [[(4, 4.0), (1, 1.0), (0, 0.0)]]


def test_an_item_beyond_the_available_array_is_not_available() -> None:
    found = top_items_of_order(*order_by_score(np.array([0, 7]), np.array([1.0, 2.0])), free_world(1, 1).mask(), 2)
    assert lists_of(found) == [[(0, 1.0)]]


def test_not_a_number_is_never_chosen() -> None:
    assert first([NAN, 2.0, NAN], free_world(1, 3), 3) == [[(1, 2.0)]]


@pytest.mark.parametrize("seed", range(120))
def test_an_order_equals_sorting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_rows, n_items, n = rng.integers(1, 6), rng.integers(1, 13), rng.integers(1, 16)
    world = some_world(rng, n_rows, n_items)
    scores = np.where(rng.random(n_items) < 0.1, NAN, rng.integers(-1, 3, n_items))
    assert first(scores, world, n) == world.best(np.broadcast_to(scores, (n_rows, n_items)), np.arange(n_items), n)


@pytest.mark.parametrize("seed", range(120))
def test_neighbours_equal_the_sorted_dense_sum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_rows, n_items, n = rng.integers(1, 6), rng.integers(1, 13), rng.integers(1, 16)
    similar = rng.integers(0, 3, (n_items, n_items))  # 0: no neighbours
    offsets, others = csr([np.flatnonzero(row).tolist() for row in similar])
    history = [rng.integers(-1, n_items + 1, rng.integers(0, 8)).tolist() for _ in range(n_rows)]
    world = some_world(rng, n_rows, n_items)
    sums = np.array([similar[sorted({item for item in row if 0 <= item < n_items})].sum(axis=0) for row in history], float)
    found = top_items_by_neighbours(*csr(history), offsets, others, similar[similar > 0], world.mask(), n)
    assert lists_of(found) == world.best(np.where(sums > 0, sums, NAN), np.arange(n_items), n)


def test_many_candidates_and_all_ties() -> None:
    # One item leads to 5,000 others, all with one score, of five categories.
    n = 5000
    world = World(np.ones(n, np.bool_), [[], [1, 2, 3]], [None, None], [[item % 5] for item in range(n)], 2)
    arguments = (*csr([[0], [0]]), np.array([0, n - 1, *[n - 1] * (n - 1)]), np.arange(1, n), np.ones(n - 1))
    free, quota = (lists_of(top_items_by_neighbours(*arguments, one.mask(), 20)) for one in (world._replace(most=0), world))
    assert [[item for item, _ in row] for row in free] == [list(range(1, 21)), list(range(4, 24))]
    assert [[item for item, _ in row] for row in quota] == [list(range(1, 11)), list(range(4, 14))]


def test_an_item_that_stands_twice_in_a_history_counts_once() -> None:
    found = top_items_by_neighbours(
        *csr([[0, 0, 1]]), np.array([0, 1, 2, 2]), np.array([2, 2]), np.array([0.5, 0.25]), free_world(1, 3).mask(), 1
    )
    assert lists_of(found) == [[(2, 0.75)]]


def test_guards() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        first([1.0, 1.0], free_world(1, 2), 0)
    with pytest.raises(ValueError, match="beyond the neighbour lists"):
        top_items_by_neighbours(*csr([[0]]), np.array([0, 1]), np.array([5]), np.ones(1), free_world(1, 9).mask(), 1)
