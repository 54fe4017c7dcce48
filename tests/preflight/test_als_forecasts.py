"""Forecasts of ALS against the counted truth: what is sent, and what a task holds."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from recspark.candidates.als_blocks import BlockedAls, Recipe, initial_state
from recspark.handover.peers import Peers
from recspark.kernels.als_events import build_block
from recspark.preflight.factors import als_work
from recspark.preflight.work import Place
from tests.peers import as_peers
from tests.preflight.counted import WORLDS, activity, pairs_of, within
from tests.worlds import zipf

ALS: dict[str, Any] = {
    "engine": "blocked",
    "model": "implicit",
    "rank": 8,
    "max_iter": 2,
    "alpha0": 0.1,
    "unobserved": "all_pairs",
    "nonnegative": False,
    "solver": "cg",
    "solver_steps": 3,
    "half_life_days": None,
    "item_bytes": 1e9,
    "validation_share": 0.0,
    "checkpoint_interval": 5,
}
KINDS: dict[str, dict[str, Any]] = {
    "implicit": {},
    "explicit": {"model": "explicit"},
    "missing pairs": {"unobserved": "missing_pairs", "rank": 5},
    "nonnegative": {"nonnegative": True, "rank": 5},
    "cholesky": {"solver": "cholesky"},
}


def _recipe(knobs: dict[str, Any]) -> Recipe:
    explicit = knobs["model"] == "explicit"
    return Recipe(
        rank=knobs["rank"],
        reg=0.05,
        nu=1.0,
        unobserved=0.0 if explicit else knobs["alpha0"],
        biased=explicit,
        centred=explicit,
        bias_reg=1.0,
        init_stddev=0.1,
        solver="nonnegative" if knobs["nonnegative"] else knobs["solver"],
        steps=knobs["solver_steps"],
        max_iter=knobs["max_iter"],
        tolerance=0.0,
        seed=1,
    )


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WORLDS)
def test_als_in_blocks(name: str, kind: str, n: int):
    """What the tasks send, by their own count; what the busiest holds of pairs, of factors, and of arrays over all items."""
    world, knobs = WORLDS[name], {**ALS, **KINDS[kind]}
    recipe = _recipe(knobs)
    n_items = int(world.items.max()) + 1

    def fit(peers: Peers) -> tuple[int, int]:
        own = world.users % n == peers.rank
        targets = world.values[own] if knobs["model"] == "explicit" else None
        extra = knobs["alpha0"] if knobs["unobserved"] == "missing_pairs" else 0.0
        users, items = world.users[own].astype(np.int64), world.items[own].astype(np.int32)
        block = build_block(users, items, np.ones(own.sum()), targets, n_items, extra=extra)
        before = peers.n_bytes
        als = BlockedAls(block, n_items, recipe, peers)
        state = als.run(initial_state(len(block.user_idx), n_items, recipe))
        # The same array twice is held once.
        sides = {id(array): array.nbytes for events in (block.by_user, block.by_item) for array in events}
        return peers.n_bytes - before, sum(sides.values()) + block.user_idx.nbytes + state.users.nbytes + 3 * state.items.nbytes

    found = as_peers(n, fit)
    work = als_work(activity(world), knobs, Place(n))
    assert work.pairs == len(pairs_of(world))
    assert (work.iterations, dict(work.chosen)) == (2, {"engine": "blocked"})
    if n > 1:
        assert within(1.1, work.sent_bytes, sum(sent for sent, _ in found))
    else:
        assert work.sent_bytes == sum(sent for sent, _ in found) == 0
    # As much as is held, or what building it takes; never less.
    assert max(held for _, held in found) < 2 * work.task_bytes


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("kind", ["implicit", "nonnegative", "cholesky"])
def test_memory_of_many_factors(kind: str, n: int):
    """300 factors of 40 items: Gram matrices are what is held. Python counts all tasks together, who need not peak at once, and not
    what the kernels take of themselves: 8 D^2 a task with Cholesky."""
    world, knobs = zipf(60, 40, 400, seed=11), {**ALS, **KINDS[kind], "rank": 300, "checkpoint_interval": None}
    recipe, n_items = _recipe(knobs), int(world.items.max()) + 1

    def fit(peers: Peers) -> int:
        own = world.users % n == peers.rank
        block = build_block(world.users[own].astype(np.int64), world.items[own].astype(np.int32), np.ones(own.sum()), None, n_items)
        BlockedAls(block, n_items, recipe, peers).run(initial_state(len(block.user_idx), n_items, recipe))
        return 0

    as_peers(n, fit)  # compiled before memory is counted
    tracemalloc.start()
    as_peers(n, fit)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    forecast = n * (als_work(activity(world), knobs, Place(n)).task_bytes - (kind == "cholesky") * 8 * 300**2)
    assert peak <= 1.02 * forecast
    assert within(1.5, forecast, peak)


def test_factors_that_no_task_can_hold_are_seen_before():
    """Of two tasks: 8 x 5 + 4 bytes for each pair of 100,000 factors are 440 GB; only explicit ratings sum no Gram matrices."""
    few = activity(WORLDS["few items"])
    for engine in ("blocked", "mllib"):
        assert als_work(few, {**ALS, "engine": engine, "rank": 100_000}, Place(2)).task_bytes > (4.4e11 if engine == "blocked" else 1e11)
    assert within(1.1, als_work(few, {**ALS, "rank": 100_000, "model": "explicit"}, Place(2)).task_bytes, 8e10)


def test_als_by_hand():
    """2 users have items 0 and 1, a third item 9: 5 pairs, m = 10 places, D = 2, one step, one iteration, two tasks."""
    from recspark.preflight.activity import activity_of

    user = {"kind": "user", "n_rows": 2, "n_pairs": 4, "squares": 8.0, "largest": 2, "n_events": 4, "most_events": 2, "largest_idx": 1}
    item = {"kind": "item", "n_rows": 2, "n_pairs": 4, "squares": 8.0, "largest": 2, "n_events": 4, "most_events": 2, "largest_idx": 1}
    one = {"n_rows": 1, "n_pairs": 1, "squares": 1.0, "largest": 1, "n_events": 1, "most_events": 1}
    rows = [user, item, {**one, "kind": "user", "largest_idx": 2}, {**one, "kind": "item", "largest_idx": 9}]
    knobs = {**ALS, "rank": 2, "solver_steps": 1, "max_iter": 1}
    work = als_work(activity_of(rows), knobs, Place(2))
    assert work.sent_bytes == 2 * 2 * 4 * 10 * 2 + 2 * (12 * 4 + 8) + 16 * 10
    assert work.flops == 2 * 5 * 2 * 4 * 2 + 2 * 6 * 4 * 2 + 4 * (3 + 2 * 10) * 4 + 2 * 5 * 2
    assert als_work(activity_of(rows), {**knobs, "max_iter": 7}, Place(2)).flops == 7 * work.flops


def test_a_catalogue_beyond_item_bytes_is_mllibs():
    found = activity(WORLDS["usual"])
    chosen = {name: als_work(found, {**ALS, "engine": "auto", **knobs}, Place(2)).chosen["engine"] for name, knobs in {
        "fits": {},
        "too many": {"item_bytes": 18 * found.n_places * 8 - 1},
        "just fit": {"item_bytes": 18 * found.n_places * 8},
        "pmf": {"item_bytes": 1, "model": "pmf"},
        "decaying ratings": {"item_bytes": 1, "model": "explicit", "half_life_days": 3.0},
    }.items()}  # fmt: skip
    assert chosen == {"fits": "blocked", "too many": "mllib", "just fit": "blocked", "pmf": "blocked", "decaying ratings": "blocked"}
