"""When a fit is over: measures by hand, the same users for any number of tasks, and a fit that goes on from its states."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recspark.candidates import als_validation
from recspark.candidates.als_blocks import BlockedAls, State, initial_state
from recspark.candidates.als_states import States
from recspark.candidates.als_validation import Validation, held_events, is_held, n_missed
from recspark.handover.peers import Peers, blocks_of
from recspark.kernels.als_events import build_block
from tests.candidates.test_als_blocks import RECIPE
from tests.peers import as_peers


def test_ties_count_half() -> None:
    descending = np.arange(100, 0, -1).astype(np.float32)
    assert n_missed(descending, descending[[0, 19, 20, 99]]) == 2
    # 100 equal scores: half of the other 99 stand before each, which is found among 20 then as little as the last of many.
    assert n_missed(np.ones(100, np.float32), np.ones(7, np.float32)) == 7
    # 15 are above 11 equal ones: 15 + 5 stand before each; one fewer, and they are found.
    assert n_missed(np.array([2.0] * 15 + [1.0] * 11 + [0.0] * 74), np.array([2.0, 1.0, 1.0, 0.0])) == 3
    assert n_missed(np.array([2.0] * 15 + [1.0] * 10 + [0.0] * 75), np.array([2.0, 1.0, 1.0, 0.0])) == 1
    assert n_missed(np.zeros(20), np.zeros(3)) == 0


def test_collapsed_factors_find_nothing() -> None:
    n_items = 60
    block = build_block(np.array([0, 0, 1]), np.array([3, 4, 5], np.int32), np.ones(3), None, n_items)

    def work(peers: Peers) -> tuple[list[float], list[float]]:
        held = held_events(block, np.array([0, 1]), np.array([7, 8], np.int32), None, peers, 1)
        nothing, perfect = (
            Validation(held, block, RECIPE, peers, ratings=False, patience=1),
            Validation(held, block, RECIPE, peers, ratings=False, patience=1),
        )
        nothing.measure(State(np.zeros((2, 4), np.float32), np.zeros((n_items, 4), np.float32)))
        items = np.zeros((n_items, 4), np.float32)
        items[[7, 8], 0] = 1
        perfect.measure(State(np.ones((2, 4), np.float32), items))
        return nothing.figures, perfect.figures

    assert as_peers(1, work) == [([1.0], [0.0])]


def test_ratings_are_measured_by_their_root_mean_square_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(als_validation, "_EVENTS_AT_ONCE", 2)
    recipe = replace(RECIPE, rank=1, biased=True, unobserved=0.0)
    block = build_block(np.array([10, 10, 20]), np.array([0, 1, 1], np.int32), np.ones(3), np.ones(3), 2)

    def work(peers: Peers) -> list[float]:
        # Of user 30 nothing is learnt. Scores p q + b_u + b_i: user 10 has p 2, b .5; user 20 p 1, b 0; items q 1, 3 and b -1, 1.
        users, items, targets = np.array([20, 30, 10, 10]), np.array([0, 0, 1, 0], np.int32), np.array([1.0, 9.0, 8.0, 1.0])
        held = held_events(block, users, items, targets, peers, 1)
        validation = Validation(held, block, recipe, peers, ratings=True, patience=1)
        validation.measure(State(np.array([[2, 0.5], [1, 0]], np.float32), np.array([[1, -1], [3, 1]], np.float32)))
        return validation.figures

    # Errors: 1 - (1 - 1), 8 - (6 + .5 + 1), 1 - (2 + .5 - 1).
    assert as_peers(1, work) == [[pytest.approx(((1 + 0.25 + 0.25) / 3) ** 0.5)]]


def _world() -> tuple[np.ndarray, np.ndarray]:
    """Pairs of 60 users and 80 items, by chance: what is held out of them cannot be foretold."""
    return np.nonzero(np.random.default_rng(5).random((60, 80)) < 0.3)


def test_any_number_of_tasks_looks_at_the_same_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(als_validation, "_USERS", 20)
    users, items = _world()
    held = is_held(users, items, 0.2, 3)
    assert 0.15 < held.mean() < 0.25

    def work(peers: Peers) -> list[tuple[int, int]]:
        mine = users % peers.n == peers.rank
        learnt, out = mine & ~held, mine & held
        block = build_block(users[learnt], items[learnt].astype(np.int32), np.ones(learnt.sum()), None, 80)
        found = held_events(block, users[out], items[out].astype(np.int32), None, peers, 3)
        return list(zip(block.user_idx[found.places].tolist(), found.items.tolist(), strict=True))

    whole = sorted(as_peers(1, work)[0])
    assert 10 < len({user for user, _ in whole}) < 30
    # Of each of them all that is held out.
    assert whole == [(user, item) for user, item in zip(users[held].tolist(), items[held].tolist(), strict=True) if user in dict(whole)]
    assert sorted(itertools.chain(*as_peers(4, work))) == whole


def _fit(folder: Path, max_iter: int, interval: int) -> list[Any]:
    """Of each of two tasks the losses, the figures, and its own factors, the best; stops after two iterations without a better one."""
    users, items = _world()
    held = is_held(users, items, 0.2, 3)
    recipe = replace(RECIPE, rank=12, reg=1e-4, max_iter=max_iter)

    def work(peers: Peers) -> tuple[list[float], list[float], np.ndarray, np.ndarray]:
        mine = users % 2 == peers.rank
        learnt, out = mine & ~held, mine & held
        block = build_block(users[learnt], items[learnt].astype(np.int32), np.ones(learnt.sum()), None, 80)
        kept = held_events(block, users[out], items[out].astype(np.int32), None, peers, 3)
        validation, bounds = Validation(kept, block, recipe, peers, ratings=False, patience=2), blocks_of(80, 2)
        states, state = States(str(folder), interval, peers, bounds), initial_state(len(block.user_idx), 80, recipe)
        states.resume(state, validation, max_iter)

        def after(state: State) -> None:
            validation.measure(state)
            states.save(state, validation)

        BlockedAls(block, 80, recipe, peers).run(state, after, validation.is_over)
        validation.restore(state)
        return state.losses, validation.figures, state.users, state.items[bounds[peers.rank] : bounds[peers.rank + 1]]

    return as_peers(2, work)


def test_a_fit_that_goes_on_does_not_go_past_its_own_end(tmp_path: Path) -> None:
    expected = _fit(tmp_path / "whole", 40, 1)
    figures = expected[0][1]
    assert 3 <= len(figures) < 40
    assert min(figures) == figures[-3] < min(figures[-2:])
    # Its last state is the one that it stopped at.
    for folder, interval in ((tmp_path / "whole", 1), (tmp_path / "none", 100)):
        for one, other in zip(_fit(folder, 40, interval), expected, strict=True):
            assert one[:2] == other[:2]
            np.testing.assert_array_equal(one[2], other[2])
            np.testing.assert_array_equal(one[3], other[3])
