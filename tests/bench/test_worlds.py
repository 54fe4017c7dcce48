"""The generated worlds have the shape they promise, at any size."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.worlds import World, all_ties, hostile_worlds, ml20m_size, with_user_of_everything, zipf, zipf_chunks


def pairs(world: World) -> np.ndarray:
    return world.users.astype(np.int64) * world.n_items + world.items


def test_as_many_distinct_pairs_as_asked_for_and_every_user_has_one():
    world = zipf(1_000, 500, 40_000)
    assert len(world.users) == len(np.unique(pairs(world))) == 40_000
    assert set(world.users) == set(range(1_000))
    assert world.items.min() >= 0
    assert world.items.max() < 500
    assert len(world.days) == len(world.values) == 40_000


@pytest.mark.parametrize(("n_pairs", "each"), [(12, 4), (3, 1)])
def test_full_and_barest_worlds(n_pairs: int, each: int):
    assert np.bincount(zipf(3, 4, n_pairs).users).tolist() == [each] * 3


@pytest.mark.parametrize("n_pairs", [2, 13])
def test_more_pairs_than_there_are_or_users_without_any_are_refused(n_pairs: int):
    with pytest.raises(ValueError, match=f"{n_pairs} distinct pairs do not fit 3 users x 4 items"):
        zipf(3, 4, n_pairs)


def test_the_seed_decides():
    one, same, other = (zipf(200, 100, 4_000, seed=seed) for seed in (1, 1, 2))
    for name in ("users", "items", "days", "values"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert not np.array_equal(one.items, other.items)


def test_chunks_are_whole_users_in_order():
    chunks = list(zipf_chunks(300, 200, 6_000, chunk=1_000))
    assert len(chunks) == 6
    assert sum(len(part.users) for part in chunks) == 6_000
    assert all(before.users.max() < after.users.min() for before, after in pairwise(chunks))
    assert all((np.diff(part.users) >= 0).all() for part in chunks)


@pytest.mark.parametrize("exponent", [0.7, 1.0])
def test_items_follow_zipfs_law(exponent: float):
    # Users of about 5 items out of 5,000: drawing without repeats bends the law only at its head.
    counts = np.sort(np.bincount(zipf(100_000, 5_000, 500_000, exponent=exponent, offset=0).items))[::-1]
    ranks = np.arange(20, 400)
    slope = np.polyfit(np.log(ranks), np.log(counts[ranks - 1]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.05)


def test_heavy_users_are_drawn_by_the_same_law():
    # Two items of popularity 3 : 1 for users who have one of two: the race and the draws give 3/4 each.
    from tests.worlds import _draw_items

    popularity = np.array([3.0, 1.0])
    by_race = _draw_items(np.random.default_rng(1), np.ones(20_000, np.int64), popularity) % 2
    # With 6 items more that are nearly never drawn one item is no longer a quarter of them.
    by_draws = _draw_items(np.random.default_rng(1), np.ones(20_000, np.int64), np.append(popularity, [1e-9] * 6)) % 8
    assert np.mean(by_race == 0) == pytest.approx(0.75, abs=0.01)
    assert np.mean(by_draws == 0) == pytest.approx(0.75, abs=0.01)


def test_users_are_lognormal():
    counts = np.bincount(zipf(20_000, 100_000, 2_000_000).users)
    assert np.log(counts).std() == pytest.approx(1, abs=0.02)
    assert counts.max() > 20 * np.median(counts)


def test_multiples_keep_the_mean_user_and_the_catalogue():
    whole, tenth, twice = ml20m_size(), ml20m_size(0.1), ml20m_size(2)
    assert whole == {"n_users": 138_000, "n_items": 26_700, "n_pairs": 16_400_000}
    assert {size["n_items"] for size in (tenth, twice)} == {26_700}
    assert {round(size["n_pairs"] / size["n_users"], 2) for size in (tenth, whole, twice)} == {118.84}


def test_hostile_worlds():
    worlds = hostile_worlds(n_events=100_000)
    everyone = worlds["an item of everyone"]
    assert len(set(everyone.users[everyone.items == 0])) == everyone.n_users
    assert len(np.unique(pairs(everyone))) == len(everyone.users)
    everything = worlds["a user of everything"]
    last = everything.items[everything.users == everything.n_users - 1]
    assert (len(last), set(last)) == (100_000, set(range(everything.n_items)))
    sparse = worlds["numbers by the million"]
    assert sparse.users.max() > 2**25
    assert sparse.items.max() > 1_000_000
    empty = worlds["empty users"]
    assert set(empty.users) == set(range(0, empty.n_users, 2))
    for world in worlds.values():
        assert world.users.max() < world.n_users
        assert world.items.max() < world.n_items
        assert len(world.users) == len(world.items) == len(world.days) == len(world.values)


def test_all_ties_are_ties():
    world = all_ties(n_groups=2, n_users=3, n_items=4)
    matrix = np.zeros((6, 8))
    matrix[world.users, world.items] = 1
    norms = np.sqrt(np.diag(matrix.T @ matrix))
    np.testing.assert_allclose(matrix.T @ matrix / np.outer(norms, norms), np.kron(np.eye(2), np.ones((4, 4))))


def test_a_user_of_everything_may_stop_short():
    world = with_user_of_everything(zipf(5, 10, 20), n_events=7)
    assert world.items[world.users == 5].tolist() == list(range(7))
