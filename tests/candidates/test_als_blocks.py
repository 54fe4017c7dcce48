"""The blocked engine against dense references, for one, two and seven tasks at once."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import nnls

from recspark.candidates.als_blocks import BlockedAls, Recipe, State, initial_state, item_bytes_of
from recspark.errors import TrainingError
from recspark.handover.peers import Peers
from recspark.kernels.als import Solver, solve_rows
from recspark.kernels.als_events import build_block
from tests.candidates.als_reference import half_step, loss, scales
from tests.peers import as_peers

N_USERS, N_ITEMS = 40, 30
RECIPE = Recipe(
    rank=4,
    reg=0.05,
    nu=1.0,
    unobserved=0.2,
    biased=False,
    centred=False,
    bias_reg=0.5,
    init_stddev=0.5,
    solver="cg",
    steps=12,
    max_iter=6,
    tolerance=0.0,
    seed=3,
)
EXPLICIT = {"unobserved": 0.0, "nu": 0.5}
KINDS: dict[str, dict[str, Any]] = {
    "implicit": {},
    "hu": {},
    "explicit": {"biased": True, **EXPLICIT},
    "pmf": EXPLICIT,
    "nonnegative": {"solver": "nonnegative", "steps": 60},
    "cholesky": {"solver": "cholesky"},
    "explicit cholesky": {"solver": "cholesky", "biased": True, **EXPLICIT},
}


def _world(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """w and t [users x items]: user 0 has almost everything, everybody item 0, user 1 and item 1 nothing else, user 2 nothing; item 2 nobody."""
    random = np.random.default_rng(seed)
    seen = random.random((N_USERS, N_ITEMS)) < 0.25
    seen[0], seen[:, 0] = True, True
    seen[1], seen[:, 1], seen[2] = False, False, False
    seen[1, 1], seen[:, 2] = True, False
    return seen * random.integers(1, 5, seen.shape).astype(float), random.normal(0, 1, seen.shape)


def _fit(kind: str, n: int, recipe: Recipe, known: Any = None) -> list[tuple[np.ndarray, State, int, int]]:
    """Of each task: its users, their state, bytes sent, and the users that it ever held."""
    w, t = _world()
    users, items = np.nonzero(w)
    explicit = kind.startswith("explicit") or kind == "pmf"

    def work(peers: Peers) -> tuple[np.ndarray, State, int, int]:
        mine = users % n == peers.rank
        u, i = users[mine], items[mine]
        targets = t[u, i] if explicit else None
        extra = recipe.unobserved if kind == "hu" else 0.0
        # Twice half the weight is the whole: events of one pair are added up.
        twice = [np.concatenate([column, column]) for column in (u, i.astype(np.int32))]
        block = build_block(*twice, np.tile(w[u, i] / 2, 2), None if targets is None else np.tile(targets, 2), N_ITEMS, extra=extra)
        before = peers.n_bytes
        als = BlockedAls(block, N_ITEMS, recipe, peers)
        state = als.run(initial_state(len(block.user_idx), N_ITEMS, recipe, known))
        return block.user_idx, state, peers.n_bytes - before, len(block.user_idx)

    return as_peers(n, work)


def _joined(found: list[tuple[np.ndarray, State, int, int]], width: int) -> np.ndarray:
    whole = np.zeros((N_USERS, width))
    for user_idx, state, *_ in found:
        whole[user_idx] = state.users
    return whole


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_exact_never_rise_and_tasks_change_nothing(kind: str) -> None:
    recipe = replace(RECIPE, **KINDS[kind])
    w, t = _world()
    t = t if kind.startswith("explicit") or kind == "pmf" else np.ones_like(t)
    results = {n: _fit(kind, n, recipe) for n in (1, 2, 7)}
    first = _joined(results[1], recipe.width)
    for n, found in results.items():
        state = found[0][1]
        assert len(state.losses) == recipe.max_iter
        assert all(later <= earlier * (1 + 1e-6) for earlier, later in zip(state.losses, state.losses[1:], strict=False))
        assert state.losses[-1] == pytest.approx(loss(w, t, _joined(found, recipe.width), state.items, recipe, kind == "hu"), rel=1e-5)
        # Which factors are 0 hangs on the last digits of a sum: rounding shows more where they must not be negative.
        np.testing.assert_allclose(_joined(found, recipe.width), first, atol=2e-3 if kind == "nonnegative" else 1e-4)
        assert all((one[1].items == state.items).all() for one in found)
        assert not state.items[2].any()
        # Nobody holds another block's users.
        assert sorted(np.concatenate([one[0] for one in found]).tolist()) == [user for user in range(N_USERS) if user != 2]
        assert max(one[3] for one in found) <= -(-N_USERS // n)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "nonnegative"])
def test_an_exact_fit_is_the_dense_one(kind: str) -> None:
    # As many steps as factors and more: conjugate gradients are exact then.
    recipe = replace(RECIPE, **KINDS[kind])
    w, t = _world()
    t = t if kind.startswith("explicit") or kind == "pmf" else np.ones_like(t)
    x, y = np.zeros((N_USERS, recipe.width)), initial_state(0, N_ITEMS, recipe).items.astype(float) * (w > 0).any(0)[:, None]
    hu = kind == "hu"
    for _ in range(recipe.max_iter):
        x = half_step(w, t, y, recipe, hu)
        y = half_step(w.T, t.T, x, recipe, hu)
    found = _fit(kind, 2, recipe)
    np.testing.assert_allclose(_joined(found, recipe.width), x, atol=1e-4)
    np.testing.assert_allclose(found[0][1].items, y, atol=1e-4)


@pytest.mark.parametrize("solver", ["cg", "nonnegative"])
def test_a_warm_start_forgets_items_that_nobody_has_and_signs_that_may_not_be(solver: Solver) -> None:
    recipe = replace(RECIPE, solver=solver)
    known = np.array([1, 2, N_ITEMS]), np.array([[1, -2, 3, -4], [5, 6, 7, 8], [9, 9, 9, 9]], np.float32)
    first = initial_state(0, N_ITEMS, recipe, known).items
    assert first[1].tolist() == ([1, 0, 3, 0] if solver == "nonnegative" else [1, -2, 3, -4])
    assert first[2].tolist() == [5, 6, 7, 8]
    np.testing.assert_array_equal(first[3:], initial_state(0, N_ITEMS, recipe).items[3:])
    w, t = _world()
    state = _fit("implicit", 2, recipe, known)[0][1]
    assert not state.items[2].any()
    joined = _joined(_fit("implicit", 2, recipe, known), recipe.width)
    assert state.losses[-1] == pytest.approx(loss(w, np.ones_like(t), joined, state.items, recipe), rel=1e-5)


def test_bytes_sent_are_the_documented_formula() -> None:
    for kind, solver, n in (
        ("implicit", "cg", 2),
        ("implicit", "cg", 7),
        ("pmf", "cg", 3),
        ("implicit", "cholesky", 3),
        ("implicit", "nonnegative", 3),
    ):
        recipe = replace(RECIPE, solver=solver, steps=3, **(EXPLICIT if kind == "pmf" else {}))
        m, d, s = N_ITEMS, recipe.width, recipe.steps
        # Each iteration: the loss and two Gram matrices (one in single, one in double precision), from everybody to everybody.
        small = n * (n - 1) * (8 + (12 * d * d if recipe.unobserved else 0))
        large = {"cg": 8 * (s + 1) * m * d, "cholesky": 4 * m * (d * (d + 1) // 2 + 2 * d), "nonnegative": 4 * (2 * s + 3) * m * d}[solver]
        start = 16 * (m + n) * (n - 1)
        assert sum(sent for *_, sent, _ in _fit(kind, n, recipe)) == recipe.max_iter * (large * (n - 1) + small) + start


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("kind", ["implicit", "explicit", "nonnegative"])
def test_arrays_over_items_and_users_are_those_of_the_documented_formula(kind: str, n: int) -> None:
    # Few pairs, so that factors are what counts; user u has items u and u + 10,000.
    m, n_users = 20_000, 6_000
    recipe = replace(RECIPE, **{**KINDS[kind], "rank": 32, "steps": 3, "max_iter": 1})
    users, items = np.tile(np.arange(n_users), 2), np.concatenate([np.arange(n_users), np.arange(n_users) + 10_000]).astype(np.int32)

    def work(peers: Peers) -> int:
        mine = users % n == peers.rank
        block = build_block(users[mine], items[mine], np.ones(mine.sum()), np.ones(mine.sum()) if recipe.biased else None, m)
        state = initial_state(len(block.user_idx), m, recipe)
        BlockedAls(block, m, recipe, peers).run(state)
        return len(block.user_idx)

    as_peers(n, work)  # compiled
    tracemalloc.start()
    try:
        assert sum(as_peers(n, work)) == n_users
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Over all tasks; pairs are few enough for 130 bytes each, as while they are sorted.
    small = 24 * (n * m + n_users) + 130 * len(users) + n * 16 * 8192 * recipe.width
    most = n * item_bytes_of(m, n, recipe) + 4 * recipe.width * n_users * (1 + recipe.biased) + small
    assert 0.6 * most < peak < most


def test_nonnegative_rows_converge_to_the_constrained_optimum() -> None:
    w, _ = _world()
    recipe = replace(RECIPE, solver="nonnegative", steps=3000)
    random = np.random.default_rng(1)
    y = random.random((N_ITEMS, 4)).astype(np.float32)
    users, items = np.nonzero(w)
    block = build_block(users, items.astype(np.int32), w[users, items], None, N_ITEMS)
    lam = scales((w > 0).sum(1), N_ITEMS, recipe)[block.user_idx]
    gram = np.float32(recipe.unobserved) * (y.T @ y)
    x = np.zeros((len(block.user_idx), 4), np.float32)
    arguments = (block.by_user, y, np.zeros(N_ITEMS, np.float32), gram, np.ones(4, np.float32), lam.astype(np.float32), x)
    solve_rows("nonnegative", *arguments, steps=recipe.steps)
    for place, user in enumerate(block.user_idx):
        # |D y x - d|^2 with the rows of every pair: observed ones to 1, all to 0, and the penalty.
        root = np.sqrt(w[user])[:, None] * y
        rows = np.vstack([root, np.sqrt(recipe.unobserved) * y, np.sqrt(lam[place]) * np.eye(4)])
        expected, _ = nnls(rows.astype(float), np.concatenate([np.sqrt(w[user]), np.zeros(N_ITEMS + 4)]))
        np.testing.assert_allclose(x[place], expected, atol=1e-4)


def test_a_flat_loss_ends_the_fit() -> None:
    recipe = replace(RECIPE, max_iter=50, tolerance=0.01)
    losses = _fit("implicit", 2, recipe)[0][1].losses
    assert 2 <= len(losses) < 50
    assert losses[-2] - losses[-1] < 0.01 * losses[-2] <= losses[-3] - losses[-2] if len(losses) > 2 else True


def test_a_loss_that_is_no_number_ends_the_fit() -> None:
    broken = np.array([5]), np.full((1, 4), np.nan, np.float32)
    with pytest.raises(TrainingError, match=r"the loss of ALS is nan after iteration 1: .* raise vectors_als.reg \(0.05\)"):
        _fit("implicit", 2, RECIPE, broken)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("reg", [1e300, 3e37])
def test_regularisation_that_no_single_precision_holds_ends_the_fit_without_a_warning(reg: float) -> None:
    with pytest.raises(TrainingError, match=r"the loss of ALS is (nan|inf) after iteration 1: .*; lower vectors_als.reg \("):
        _fit("implicit", 2, replace(RECIPE, reg=reg))


def test_unobserved_pairs_with_biases_are_refused() -> None:
    for knobs in ({"biased": True}, {"centred": True}):
        with pytest.raises(ValueError, match="unobserved is 0.2, and scores have biases or a mean: .* set unobserved to 0"):
            replace(RECIPE, **knobs)


def test_a_user_with_a_hundred_thousand_events() -> None:
    n = 100_000
    users, items = np.concatenate([np.zeros(n, np.int64), [1, 2]]), np.concatenate([np.arange(n, dtype=np.int32), [7, 8]]).astype(np.int32)
    block = build_block(users, items, np.ones(n + 2), None, n)
    recipe = replace(RECIPE, max_iter=2)
    (state,) = as_peers(1, lambda peers: BlockedAls(block, n, recipe, peers).run(initial_state(3, n, recipe)))
    assert np.isfinite(state.users).all()
    assert state.losses[1] <= state.losses[0]
