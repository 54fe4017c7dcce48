from __future__ import annotations

import numpy as np
import pytest

from recspark.kernels.factors import ITEM_TILE, item_factors, top_items_by_factors
from tests.kernels.masked import World, free_world, lists_of, some_world

NAN, INF = float("nan"), float("inf")


def top(users, items, world, n, ids=None, user_biases=None, item_biases=None):
    users, items = np.array(users, np.float32), np.array(items, np.float32)
    ids = np.arange(len(items)) if ids is None else np.array(ids)
    user_biases = np.zeros(len(users)) if user_biases is None else user_biases
    factors = item_factors(ids, items, np.zeros(len(items)) if item_biases is None else np.array(item_biases))
    return top_items_by_factors(users, np.array(user_biases), factors, world.mask(), n)


def test_not_a_number_is_never_chosen() -> None:
    assert lists_of(top([[1.0]], [[NAN], [2.0], [NAN]], free_world(1, 3), 3)) == [[(1, 2.0)]]
    # Also where the list is full already.
    assert lists_of(top([[1.0]], [[1.0], [NAN], [2.0]], free_world(1, 3), 1)) == [[(2, 2.0)]]


def test_infinite_scores_are_scores() -> None:
    assert lists_of(top([[1.0]], [[1.0], [INF], [-INF], [2.0]], free_world(1, 4), 4)) == [[(1, INF), (3, 2.0), (0, 1.0), (2, -INF)]]


def test_zeros_are_equal_whatever_their_sign() -> None:
    assert lists_of(top([[1.0]], [[0.0], [-0.0], [0.0]], free_world(1, 3), 2)) == [[(0, 0.0), (1, 0.0)]]


def test_biases_are_added_and_ids_need_not_be_dense() -> None:
    # User (1, 2): items 3: (1, 0) + .5, 8: (0, 1) - 2 -> 1.5 and 0, plus the user's 10.
    found = top([[1.0, 2.0]], np.eye(2), free_world(1, 9), 2, ids=[3, 8], user_biases=[10.0], item_biases=[0.5, -2.0])
    assert lists_of(found) == [[(3, 11.5), (8, 10.0)]]


def test_an_item_of_a_short_vector_and_a_large_bias_is_found() -> None:
    # Items come by length of vector: 0 and 1 fill the list before 2 is met, whose bias wins.
    rows = [[5.0], [4.0]] + [[0.0]] * ITEM_TILE
    biases = np.zeros(len(rows))
    biases[-1] = 9.0
    found = top([[1.0]], rows, free_world(1, len(rows)), 2, item_biases=biases)
    assert lists_of(found) == [[(len(rows) - 1, 9.0), (0, 5.0)]]


@pytest.mark.parametrize("seed", range(120))
def test_equal_the_sorted_dense_product(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_users, n_items, rank, n = rng.integers(1, 7), rng.integers(1, 31), rng.integers(1, 4), rng.integers(1, 36)
    # Small whole numbers: exact in single precision, and full of ties.
    users, items = rng.integers(-2, 3, (n_users, rank)), rng.integers(-2, 3, (n_items, rank))
    user_biases, item_biases = rng.integers(-1, 2, n_users), rng.integers(-1, 2, n_items)
    ids = rng.permutation(2 * n_items)[:n_items]
    world = some_world(rng, n_users, 2 * n_items)
    found = top(users, items, world, n, ids, user_biases, item_biases)
    assert lists_of(found) == world.best(users @ items.T + item_biases + user_biases[:, None], ids, n)


@pytest.mark.parametrize("shape", ["uniform", "ties", "a few long vectors"])
def test_several_tiles_equal_the_sorted_dense_product(shape: str) -> None:
    rng = np.random.default_rng(3)
    n_users, n_items = 12, 2 * ITEM_TILE + 5
    users, items = rng.integers(-3, 4, (n_users, 4)), rng.integers(-3, 4, (n_items, 4))
    if shape == "ties":
        items = np.ones_like(items)
    elif shape == "a few long vectors":
        items[rng.choice(n_items, 40, replace=False)] *= 50
    scores = users @ items.T
    categories = [[int(one)] for one in rng.integers(0, 6, n_items)]
    seen = [sorted(rng.choice(n_items, 20, replace=False).tolist()) for _ in range(n_users)]
    seen[5] = list(range(n_items))  # has seen everything
    # Allow lists of less than a tile, and of several.
    lengths = [0 if row % 3 else (30, n_items - 100)[row % 2] for row in range(n_users)]
    allow = [sorted(rng.choice(n_items, length, replace=False).tolist()) if length else None for length in lengths]
    for most in (0, 1, 2):
        world = World(np.arange(n_items) % 7 > 0, seen, allow, categories, most)
        assert lists_of(top(users, items, world, 9)) == world.best(scores, np.arange(n_items), 9)


def test_a_users_scores_do_not_depend_on_who_shares_the_batch() -> None:
    rng = np.random.default_rng(4)
    users, items = rng.normal(size=(700, 33)), rng.normal(size=(301, 33)) * rng.lognormal(size=(301, 1))
    everyone, some = np.arange(700), rng.permutation(700)[:77]
    whole = top(users, items, free_world(700, 301), 10)
    for all_of, few in zip(whole, top(users[some], items, free_world(77, 301), 10), strict=True):
        np.testing.assert_array_equal(all_of[some], few)
    np.testing.assert_array_equal(top(users[some[:1]], items, free_world(1, 301), 10)[1], whole[1][everyone == some[0]])


def test_an_allow_list_of_everything_changes_no_bit() -> None:
    rng = np.random.default_rng(6)
    users, items = rng.normal(size=(40, 33)), rng.normal(size=(ITEM_TILE + 301, 33))
    free = free_world(40, len(items))
    whole = free._replace(allow=[list(range(len(items))) for _ in range(40)])
    for one, other in zip(top(users, items, free, 10), top(users, items, whole, 10), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_that_belongs_is_closed_out() -> None:
    """Vectors along the user's: products are as long as the bound, and differ in the last digits only."""
    rng = np.random.default_rng(5)
    user = rng.normal(size=64).astype(np.float32)
    items = user * rng.uniform(0.999999, 1.000001, (3 * ITEM_TILE, 1)).astype(np.float32)
    items, scores = top(user[None], items, free_world(1, len(items)), 50)
    exact, chosen = user.astype(float) @ user.astype(float), np.sort(scores[0])
    assert chosen[0] > exact * (1 + 0.7e-6)
    assert len(set(items[0].tolist())) == 50


def test_guards() -> None:
    with pytest.raises(ValueError, match="2 factors and items 3"):
        top(np.ones((1, 2)), np.ones((1, 3)), free_world(1, 1), 1)
    with pytest.raises(ValueError, match="at least 1"):
        top(np.ones((1, 2)), np.ones((1, 2)), free_world(1, 1), 0)


def test_nobody_and_nothing() -> None:
    assert top(np.zeros((0, 2)), np.ones((1, 2)), free_world(0, 1), 3)[0].shape == (0, 3)
    assert top(np.ones((1, 2)), np.zeros((0, 2)), free_world(1, 1), 3)[0].tolist() == [[-1, -1, -1]]
