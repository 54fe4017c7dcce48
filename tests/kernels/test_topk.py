from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.kernels.topk import ITEM_TILE, USER_TILE, order_by_score, top_items_by_factors, top_items_by_neighbours, top_items_of_order


def _reference(scores: np.ndarray, ids: np.ndarray, allowed: np.ndarray, seen: list[list[int]], n: int) -> list[list[tuple[int, float]]]:
    """Sort everything, then leave out what is masked."""
    lists = []
    for row, masked in zip(scores, seen, strict=True):
        order = sorted((-score, item) for score, item in zip(row, ids, strict=True) if not np.isnan(score))
        left = [(int(i), float(-s)) for s, i in order if i < len(allowed) and allowed[i] and i not in masked]
        lists.append(left[:n])
    return lists


def _lists(found: tuple[np.ndarray, np.ndarray]) -> list[list[tuple[int, float]]]:
    items, scores = found
    for row, row_scores in zip(items, scores, strict=True):
        filled = row >= 0
        assert not np.any(np.diff(filled.astype(int)) > 0), "padding stands last"
        assert np.all(row_scores[~filled] == 0)
    return [[(int(i), float(s)) for i, s in zip(*pair, strict=True) if i >= 0] for pair in zip(items, scores, strict=True)]


def _csr(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.cumsum([0, *map(len, rows)]), np.array([item for row in rows for item in row], np.int32)


def test_best_first_ties_by_item_and_never_a_masked_one() -> None:
    # Scores of items 0..4 are 1, 3, 3, 2, 9; item 4 is not allowed, item 1 was seen by the second row.
    order = order_by_score(np.arange(5), np.array([1.0, 3.0, 3.0, 2.0, 9.0]))
    offsets, seen = _csr([[], [1]])
    allowed = np.array([True, True, True, True, False])
    assert _lists(top_items_of_order(*order, allowed, offsets, seen, 2)) == [[(1, 3.0), (2, 3.0)], [(2, 3.0), (3, 2.0)]]


def test_all_masked_and_fewer_than_n() -> None:
    order = order_by_score(np.arange(3), np.array([1.0, 2.0, 3.0]))
    offsets, seen = _csr([[0, 1, 2], [2]])
    assert _lists(top_items_of_order(*order, np.ones(3, bool), offsets, seen, 5)) == [[], [(1, 2.0), (0, 1.0)]]


def test_an_item_beyond_the_allowed_array_is_not_allowed() -> None:
    order = order_by_score(np.array([0, 7]), np.array([1.0, 2.0]))
    assert _lists(top_items_of_order(*order, np.ones(1, bool), *_csr([[]]), 2)) == [[(0, 1.0)]]


def test_not_a_number_is_never_chosen() -> None:
    nan = float("nan")
    order = order_by_score(np.arange(3), np.array([nan, 2.0, nan]))
    assert _lists(top_items_of_order(*order, np.ones(3, bool), *_csr([[]]), 3)) == [[(1, 2.0)]]
    found = top_items_by_factors(
        np.ones((1, 1)), np.zeros(1), np.arange(3), np.array([[nan], [2.0], [nan]]), np.zeros(3), np.ones(3, bool), *_csr([[]]), 3
    )
    assert _lists(found) == [[(1, 2.0)]]
    # Also where the list is full already.
    found = top_items_by_factors(
        np.ones((1, 1)), np.zeros(1), np.arange(3), np.array([[1.0], [nan], [2.0]]), np.zeros(3), np.ones(3, bool), *_csr([[]]), 1
    )
    assert _lists(found) == [[(2, 2.0)]]


def test_biases_are_added_and_ids_need_not_be_dense() -> None:
    # User (1, 2): items 3: (1, 0) + .5, 8: (0, 1) - 2 -> 1.5 and 0, plus the user's 10.
    found = top_items_by_factors(
        np.array([[1.0, 2.0]]), np.array([10.0]), np.array([3, 8]), np.eye(2), np.array([0.5, -2.0]), np.ones(9, bool), *_csr([[]]), 2
    )
    assert _lists(found) == [[(3, 11.5), (8, 10.0)]]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_factors_equal_the_sorted_dense_product(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n_users, n_items, rank, n = (data.draw(st.integers(*bounds)) for bounds in ((1, 6), (1, 30), (1, 3), (1, 35)))
    # Small whole numbers: exact in single precision, and full of ties.
    users, items = rng.integers(-2, 3, (n_users, rank)), rng.integers(-2, 3, (n_items, rank))
    user_bias, item_bias = rng.integers(-1, 2, n_users), rng.integers(-1, 2, n_items)
    ids = np.sort(rng.choice(2 * n_items, n_items, replace=False))
    allowed = rng.random(2 * n_items) < rng.choice([0.0, 0.5, 1.0])
    seen = [sorted(rng.choice(2 * n_items, rng.integers(0, 2 * n_items + 1), replace=False).tolist()) for _ in range(n_users)]
    expected = _reference(users @ items.T + item_bias + user_bias[:, None], ids, allowed, seen, n)
    found = top_items_by_factors(users, user_bias, ids, items, item_bias, allowed, *_csr(seen), n)
    assert _lists(found) == expected


def test_factors_over_several_tiles_equal_the_sorted_dense_product() -> None:
    rng = np.random.default_rng(3)
    n_users, n_items = USER_TILE + 3, ITEM_TILE + 5
    users, items = rng.integers(-3, 4, (n_users, 4)), rng.integers(-3, 4, (n_items, 4))
    seen = [sorted(rng.choice(n_items, 20, replace=False).tolist()) for _ in range(n_users)]
    found = top_items_by_factors(
        users, np.zeros(n_users), np.arange(n_items), items, np.zeros(n_items), np.ones(n_items, bool), *_csr(seen), 7
    )
    scores = users @ items.T
    for row, masked in enumerate(seen):
        scores[row, masked] = -1000
    order = np.lexsort((np.broadcast_to(np.arange(n_items), scores.shape), -scores))[:, :7]
    np.testing.assert_array_equal(found[0], order)


def test_a_users_scores_do_not_depend_on_who_shares_the_batch() -> None:
    rng = np.random.default_rng(4)
    users, items = rng.normal(size=(700, 33)), rng.normal(size=(301, 33))

    def top(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        offsets = np.zeros(len(rows) + 1, np.int64)
        return top_items_by_factors(
            users[rows], np.zeros(len(rows)), np.arange(301), items, np.zeros(301), np.ones(301, bool), offsets, np.empty(0, np.int32), 10
        )

    everyone, some = np.arange(700), rng.permutation(700)[:77]
    for all_of, few in zip(top(everyone), top(some), strict=True):
        np.testing.assert_array_equal(all_of[some], few)
    np.testing.assert_array_equal(top(some[:1])[1], top(everyone)[1][some[:1]])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_neighbours_equal_the_sorted_dense_sum(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n_rows, n_items, n = (data.draw(st.integers(*bounds)) for bounds in ((1, 5), (1, 12), (1, 15)))
    similar = rng.integers(0, 3, (n_items, n_items))  # 0: no neighbours
    offsets, others = _csr([np.flatnonzero(row).tolist() for row in similar])
    history = [rng.integers(-1, n_items + 1, rng.integers(0, 8)).tolist() for _ in range(n_rows)]
    allowed = rng.random(n_items) < rng.choice([0.0, 0.5, 1.0])
    seen = [sorted(rng.choice(n_items, rng.integers(0, n_items + 1), replace=False).tolist()) for _ in range(n_rows)]
    expected = []
    for row, masked in zip(history, seen, strict=True):
        sums = similar[sorted({item for item in row if 0 <= item < n_items})].sum(axis=0).astype(float)
        expected += _reference(np.where(sums > 0, sums, np.nan)[None], np.arange(n_items), allowed, [masked], n)
    found = top_items_by_neighbours(*_csr(history), offsets, others, similar[similar > 0], allowed, *_csr(seen), n)
    assert _lists(found) == expected


def test_an_item_that_stands_twice_in_a_history_counts_once() -> None:
    found = top_items_by_neighbours(
        *_csr([[0, 0, 1]]), np.array([0, 1, 2, 2]), np.array([2, 2]), np.array([0.5, 0.25]), np.ones(3, bool), *_csr([[]]), 1
    )
    assert _lists(found) == [[(2, 0.75)]]


def test_guards() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        top_items_of_order(np.arange(2), np.ones(2), np.ones(2, bool), *_csr([[]]), 0)
    with pytest.raises(ValueError, match="2 factors and items 3"):
        top_items_by_factors(np.ones((1, 2)), np.zeros(1), np.arange(1), np.ones((1, 3)), np.zeros(1), np.ones(1, bool), *_csr([[]]), 1)
    with pytest.raises(ValueError, match="beyond the neighbour lists"):
        top_items_by_neighbours(*_csr([[0]]), np.array([0, 1]), np.array([5]), np.ones(1), np.ones(9, bool), *_csr([[]]), 1)


def test_nobody_and_nothing() -> None:
    none, one, free = np.zeros((0, 2)), np.ones((1, 2)), np.ones(1, bool)
    items, _ = top_items_by_factors(none, np.zeros(0), np.arange(1), one, np.zeros(1), free, *_csr([]), 3)
    assert items.shape == (0, 3)
    items, _ = top_items_by_factors(one, np.zeros(1), np.zeros(0), none, np.zeros(0), free, *_csr([[]]), 3)
    assert items.tolist() == [[-1, -1, -1]]
