"""Forecasts against the counted truth, on worlds of other seeds and shapes than the rates are measured on: within a factor of 2."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recspark.candidates.als_blocks import BlockedAls, Recipe, initial_state
from recspark.handover.peers import Peers
from recspark.kernels.als_events import build_block
from recspark.preflight.factors import als_candidates_work, als_work
from recspark.preflight.models import MODELS
from recspark.preflight.similarity import item_knn_work, knn_candidates_work
from recspark.preflight.work import Place
from recspark.runtime.job import find_jobs
from tests.peers import as_peers
from tests.preflight.counted import WORLDS, activity, pairs_of, within

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
}
KNN = {"max_items_per_user": 500, "n_neighbours": 20, "n_blocks": 4}
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
        block = build_block(users, items, np.ones(own.sum()), targets, n_items, n_blocks=n, extra=extra)
        als = BlockedAls(block, n_items, recipe, peers)
        before = peers.n_bytes
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


def test_als_by_hand():
    """2 users have items 0 and 1, a third item 9: 5 pairs, m = 10 places, D = 2, one step, one iteration, two tasks."""
    from recspark.preflight.activity import activity_of

    user = {"kind": "user", "n_rows": 2, "n_pairs": 4, "squares": 8.0, "largest": 2, "n_events": 4, "largest_idx": 1}
    item = {"kind": "item", "n_rows": 2, "n_pairs": 4, "squares": 8.0, "largest": 2, "n_events": 4, "largest_idx": 1}
    one = {"n_rows": 1, "n_pairs": 1, "squares": 1.0, "largest": 1, "n_events": 1}
    rows = [user, item, {**one, "kind": "user", "largest_idx": 2}, {**one, "kind": "item", "largest_idx": 9}]
    knobs = {**ALS, "rank": 2, "solver_steps": 1, "max_iter": 1}
    work = als_work(activity_of(rows), knobs, Place(2))
    assert work.sent_bytes == 2 * 2 * 4 * 10 * 2 + 12 * 2 * 4
    assert work.flops == 2 * 5 * 2 * 4 * 2 + 2 * 6 * 4 * 2 + 4 * (3 + 2 * 10) * 4 + 2 * 5 * 2
    assert als_work(activity_of(rows), {**knobs, "max_iter": 7}, Place(2)).flops == 7 * work.flops


def test_a_catalogue_beyond_item_bytes_is_mllibs():
    found = activity(WORLDS["usual"])
    chosen = {name: als_work(found, {**ALS, "engine": "auto", **knobs}, Place(2)).chosen["engine"] for name, knobs in {
        "fits": {},
        "too many": {"item_bytes": 12 * 500 * 8 - 1},
        "just fit": {"item_bytes": 12 * found.n_places * 8},
        "pmf": {"item_bytes": 1, "model": "pmf"},
        "decaying ratings": {"item_bytes": 1, "model": "explicit", "half_life_days": 3.0},
    }.items()}  # fmt: skip
    assert chosen == {"fits": "blocked", "too many": "mllib", "just fit": "blocked", "pmf": "blocked", "decaying ratings": "blocked"}


@pytest.mark.parametrize("cap", [10, 500])
@pytest.mark.parametrize("name", WORLDS)
def test_item_neighbours(name: str, cap: int):
    """Pairs of items that meet in a capped history; entries sent to each block of items that they touch."""
    pairs = pairs_of(WORLDS[name])
    random = np.random.default_rng(3).random(len(pairs))
    order = np.lexsort((random, pairs[:, 0]))
    place = np.arange(len(pairs)) - np.searchsorted(pairs[order, 0], pairs[order, 0])
    kept = pairs[order[place < cap]]
    lengths = np.bincount(kept[:, 0]).astype(float)
    blocks = np.bincount(np.unique(np.column_stack([kept[:, 0], kept[:, 1] % 4]), axis=0)[:, 0])
    work = item_knn_work(activity(WORLDS[name]), {**KNN, "max_items_per_user": cap}, Place(2))
    assert within(1.1, work.pairs, (lengths**2).sum() / 2)
    rows = item_knn_work(activity(WORLDS[name]), {**KNN, "max_items_per_user": cap, "n_blocks": 1}, Place(2)).shuffle_bytes - 12 * len(kept)
    assert within(1.1, work.shuffle_bytes - rows, 12 * (lengths * blocks).sum())


def test_candidates_by_hand():
    found = activity(WORLDS["few users"])
    items = len(np.unique(WORLDS["few users"].items))
    work = als_candidates_work(found, {"n_candidates": 10, "rank": 16}, Place(2))
    assert (work.pairs, work.flops) == (40 * items, 2 * 40 * items * 16)
    assert work.driver_bytes == 3 * items * (4 * 16 + 12)
    knobs = {"n_candidates": 10, "n_neighbours": 20, "max_history": 30, "max_length": 7}
    work = knn_candidates_work(found, knobs, Place(2))
    assert work.pairs == pytest.approx(40 * 7 * 20, rel=0.05)
    assert work.driver_bytes == 3 * items * 20 * 28


def test_every_model_is_of_a_job_and_of_its_knobs():
    jobs = find_jobs()
    for name, model in MODELS.items():
        told = {path.split(".")[0]: path.split(".")[1] for path in model.told.values()}
        own = set(jobs[name].section.model_fields)
        assert all(knob in jobs[section].section.model_fields for section, knob in told.items())
        assert {*model.levers, *model.instead} <= own | set(model.told)
        assert model.blocks is None or model.blocks in own
    expensive = {name for name in jobs if name.startswith(("vectors_", "neighbours_", "source_candidates_"))}
    assert set(MODELS) == expensive
