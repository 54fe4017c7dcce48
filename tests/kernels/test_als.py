"""Alternating least squares on plain arrays, against the same sums in double precision."""

from __future__ import annotations

import numpy as np
import pytest

from recspark.errors import TrainingError
from recspark.kernels.als import Events, Solver, errors, gather_rows, normal_equations, solve_rows
from recspark.kernels.als_events import build_block
from recspark.kernels.als_items import cg_rows, solve_packed

N, M, D = 50, 40, 3


def _events(random: np.random.Generator) -> Events:
    """Row 0 has no pair, row 1 each of the M others, the rest about a third."""
    seen = random.random((N, M)) < 0.3
    seen[0], seen[1] = False, True
    rows, others = np.nonzero(seen)
    offsets = np.append(0, np.cumsum(np.bincount(rows, minlength=N)))
    weights = random.integers(1, 5, len(rows)).astype(np.float32)
    return Events(offsets, others.astype(np.int32), weights, (2 * weights).astype(np.float32))


def _floats(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.normal(size=shape).astype(np.float32)


def test_a_million_equal_terms_add_up() -> None:
    # In one float32 the sum would be off by a thousandth.
    n = 1_000_003
    f, p, w = np.array([[0.1, -0.7]], np.float32), np.array([[0.3, 0.2]], np.float32), np.float32(0.1)
    weights = np.full(n, w)
    events = Events(np.array([0, n]), np.zeros(n, np.int32), weights, weights)
    product = np.empty((1, 2), np.float32)
    gather_rows(events, f, np.zeros(1, np.float32), p, product, residual=False)
    score = float(f[0].astype(float) @ p[0])
    np.testing.assert_allclose(product[0], n * float(w) * score * f[0], rtol=1e-5)
    # The exact row: n w f f' x + x = n w f, whose score is n w f.f / (1 + n w f.f).
    pull = n * float(w) * (f[0].astype(float) ** 2).sum()
    solvers: tuple[Solver, ...] = ("cg", "cholesky")
    for solver in solvers:
        x = np.zeros((1, 2), np.float32)
        solve_rows(solver, events, f, np.zeros(1, np.float32), np.zeros((0, 0)), np.ones(2), np.ones(1), x, steps=3)
        assert x[0] @ f[0] == pytest.approx(pull / (1 + pull), rel=1e-5)


@pytest.mark.parametrize("solver", ["cg", "cholesky", "nonnegative"])
def test_threads_change_no_bit_of_a_half_step(solver: Solver) -> None:
    random = np.random.default_rng(1)
    events, features, shifts, start = _events(random), _floats(random, M, D), _floats(random, M), abs(_floats(random, N, D))
    found = []
    for n_threads in (1, 3):
        x = start.copy()
        solve_rows(solver, events, features, shifts, features.T @ features, np.ones(D), np.ones(N), x, steps=3, n_threads=n_threads)
        found.append(x)
    np.testing.assert_array_equal(*found)
    assert (found[0] != start).all(axis=1)[1:].any()


def test_threads_change_no_bit_of_sums_and_packed_solutions() -> None:
    random = np.random.default_rng(2)
    events, features, shifts, p = _events(random), _floats(random, M, D), _floats(random, M), _floats(random, N, D)
    found = []
    for n_threads in (1, 3):
        q, x = np.empty((N, D), np.float32), np.zeros((7, D), np.float32)
        gather_rows(events, features, shifts, p, q, residual=True, n_threads=n_threads)
        rows = np.array([0, 1, 9, 8, 7, 30, 49])
        a, b = normal_equations(events, features, shifts, rows, n_threads=n_threads)
        solve_packed(a, b, np.zeros((0, 0)), np.ones(D), np.ones(7), x, n_threads=n_threads)
        found.append((q, a, b, x, errors(events, features, shifts, p, n_threads=n_threads)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    # Row 1 by hand: it has every other.
    f, w = features.astype(float), events.weights[: events.offsets[2]].astype(float)
    expected = np.linalg.solve((f.T * w) @ f + np.eye(D), f.T @ (2 * w - w * shifts))
    np.testing.assert_allclose(found[0][3][1], expected, atol=1e-5)
    assert not found[0][3][0].any()


def test_a_row_without_an_optimum_stays_as_it_is() -> None:
    # Two equal columns and no regularisation that single precision can hold.
    x = np.array([[5, 6]], np.float32)
    solve_packed(np.array([[1, 1, 1]], np.float32), np.ones((1, 2), np.float32), np.zeros((0, 0)), np.ones(2), np.zeros(1), x)
    assert x.tolist() == [[5, 6]]
    events = Events(np.array([0, 1]), np.zeros(1, np.int32), np.ones(1, np.float32), np.ones(1, np.float32))
    solve_rows("cholesky", events, np.ones((1, 2)), np.zeros(1), np.zeros((0, 0)), np.ones(2), np.zeros(1), x, steps=1)
    assert x.tolist() == [[5, 6]]


def test_a_row_that_is_solved_takes_no_further_step() -> None:
    # A = 2: the first row steps to b / 2 and is solved, the second was from the start.
    x, r = np.zeros((2, 1), np.float32), np.array([[4], [0.5]], np.float32)
    p, rr = r.copy(), np.array([16, 0.25], np.float32)
    cg_rows(x, r, p, 2 * p, rr, np.array([1e-3, 0.25], np.float32))
    assert x.tolist() == [[2], [0]]
    assert r.tolist() == [[0], [0.5]]
    assert p.tolist() == [[0], [0]]


@pytest.mark.parametrize("far", [0, 1 << 40])
def test_a_block_is_sorted_whatever_the_indexes(far: int) -> None:
    # User 7 has three events of two items, users 3 and 5 one each; a table over 2 ** 40 users would fill any memory.
    users, items = np.array([5, 7, 3, 7, 7]) + far, np.array([0, 2, 1, 2, 0], np.int32)
    block = build_block(users, items, np.array([1.0, 2, 3, 4, 5]), None, 4)
    assert (block.user_idx - far).tolist() == [7, 3, 5]
    assert block.by_user.offsets.tolist() == [0, 2, 3, 4]
    assert block.by_user.others.tolist() == [0, 2, 1, 0]
    assert block.by_user.weights.tolist() == [5, 6, 3, 1]
    assert block.by_item.offsets.tolist() == [0, 2, 3, 4, 4]
    assert block.by_item.others.tolist() == [0, 2, 1, 0]


@pytest.mark.parametrize(
    ("weights", "target", "sum_of"),
    [([np.nan, 1], 1, "nan"), ([1, np.inf], 1, "inf"), ([1, 1], np.nan, "nan"), ([3e38, 3e38], 1, "6e\\+38"), ([1, 1], 1e39, "2e\\+39")],
)
def test_weights_and_targets_that_no_single_precision_holds_are_refused(weights: list[float], target: float, sum_of: str) -> None:
    # Two events of user 4 and item 2 beside an honest one.
    users, items = np.array([3, 4, 4]), np.array([0, 2, 2], np.int32)
    with pytest.raises(
        TrainingError, match=f"user 4 and item 2 have weights.* add up to {sum_of}: .*; leave events without a finite value"
    ):
        build_block(users, items, np.array([1, *weights]), np.array([1, target, target]), 3)
