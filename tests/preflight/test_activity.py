"""Histograms of degrees say what sums over all users and items are, after caps and behind samples, too."""

from __future__ import annotations

import numpy as np
import pytest

from recspark.preflight.activity import activity_of, behind_sample
from tests.preflight.counted import WORLDS, activity, activity_rows, pairs_of, within
from tests.worlds import World


@pytest.mark.parametrize("name", WORLDS)
def test_sums_are_exact(name: str):
    found, pairs = activity(WORLDS[name]), pairs_of(WORLDS[name])
    users = np.bincount(pairs[:, 0])
    assert (found.users.rows, found.users.pairs, found.n_events) == (np.count_nonzero(users), len(pairs), len(WORLDS[name].users))
    assert (found.users.square, found.users.most) == ((users.astype(float) ** 2).sum(), users.max())
    assert found.users.busiest == found.users.capped(2).busiest == np.bincount(WORLDS[name].users).max()
    assert (found.items.rows, found.n_places) == (len(np.unique(pairs[:, 1])), pairs[:, 1].max() + 1)


@pytest.mark.parametrize("cap", [1, 3, 17, 40, 10_000])
@pytest.mark.parametrize("name", WORLDS)
def test_capped_sums_are_within_some_per_cent(name: str, cap: int):
    users = np.minimum(np.bincount(pairs_of(WORLDS[name])[:, 0]), cap).astype(float)
    capped = activity(WORLDS[name]).users.capped(cap)
    assert capped.pairs == pytest.approx(users.sum(), rel=0.02)
    assert capped.square == pytest.approx((users**2).sum(), rel=0.04)
    assert capped.most == users.max()


@pytest.mark.parametrize("n_blocks", [1, 4, 64])
@pytest.mark.parametrize("name", WORLDS)
def test_copies_to_blocks_of_items(name: str, n_blocks: int):
    """Each history goes once, whole, to each block (item modulo n_blocks) that it touches."""
    pairs = pairs_of(WORLDS[name])
    touched = np.bincount(np.unique(np.column_stack([pairs[:, 0], pairs[:, 1] % n_blocks]), axis=0)[:, 0])
    truth = float((touched * np.bincount(pairs[:, 0])).sum())
    assert activity(WORLDS[name]).users.copied(n_blocks, len(np.unique(pairs[:, 1]))) == pytest.approx(truth, rel=0.05)


def distinct(world: World) -> World:
    return _sampled(world, np.unique(world.users * np.int64(world.n_items) + world.items, return_index=True)[1])


def _sampled(world: World, keep: np.ndarray) -> World:
    return World(world.users[keep], world.items[keep], world.days[keep], world.values[keep], world.n_users, world.n_items)


@pytest.mark.parametrize("layout", ["some events of all users", "some users whole"])
@pytest.mark.parametrize("name", ["usual", "few users", "few items"])
def test_behind_a_sample_of_files(name: str, layout: str):
    """A fifth of the files: of a log that lies as it came, or by users."""
    world, random = distinct(WORLDS[name]), np.random.default_rng(5)
    by = random.permutation(len(world.users)) if layout == "some events of all users" else world.users
    n_users, n_items = (len(np.unique(column)) for column in (world.users, world.items))
    keep = np.flatnonzero(by % 5 == 0)
    found = behind_sample(
        activity_of(activity_rows(_sampled(world, keep))), share=len(keep) / len(by), n_users=n_users, n_items=n_items, origin="sampled"
    )
    truth = activity(world)
    assert found.origin == "sampled"
    for side in ("users", "items"):
        for figure in ("rows", "pairs", "square"):
            assert within(2, getattr(getattr(found, side), figure), getattr(getattr(truth, side), figure)), (side, figure)
    assert found.n_events == pytest.approx(truth.n_events)


def test_nothing_is_nothing():
    found = activity_of([])
    assert (found.users.rows, found.users.square, found.n_places, found.users.most, found.n_requests) == (0, 0, 0, 0, 0)
    assert found.users.capped(3).pairs == found.users.copied(4, 0) == 0
