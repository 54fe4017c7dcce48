"""Alternating least squares on plain arrays: one side's rows solved against the other side's fixed factors.

Every row x of a side minimises a quadratic x' A x - 2 b' x over its observed pairs e (weight w, pull = weight * target) with the
other side's features f and offsets o:

    A = sum_e w f f' + gram + diag(ridge),    b = sum_e (pull - w o) f

where `gram` is the weight of the unobserved pairs times the features' Gram matrix, so that they cost rank^2 a row, not a pass
(Hu, Koren and Volinsky, ICDM 2008). A is never formed but by the Cholesky solver: conjugate gradients need A p alone, 2 * rank
multiplications an event (Takacs, Pilaszy and Tikk, RecSys 2011), and begin at the row as it is. Non-negative rows take projected
steps p = max(0, x + r / (A 1)) - x, which a diagonal majoriser of A >= 0 keeps downhill (Lee and Seung, NIPS 2000), as far along p
as the quadratic falls. Sums of one row are made in one order by one thread: threads never change a bit.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.als_row import FAST, add_dense, add_normal_equations, aim_up, cg_step, dot, gather, projected_step, solve_cholesky
from recspark.kernels.frozen import frozen

Solver = Literal["cg", "cholesky", "nonnegative"]

# A residual this small against the row's own is solved.
SOLVED = np.float32(1e-14)


class Events(NamedTuple):
    """Observed pairs by row: those of row i at offsets[i]:offsets[i + 1]."""

    offsets: np.ndarray  # int64 [n_rows + 1]
    others: np.ndarray  # int32: the other side's rows, ascending within a row
    weights: np.ndarray  # float32
    pulls: np.ndarray  # float32: weight * target


@njit(cache=True, nogil=True)
def _solve_cg(first, last, events, features, shifts, gram, ridge, scales, steps, x):  # type: ignore[no-untyped-def]
    offsets, others, weights, pulls = events
    width = x.shape[1]
    r, p, q, own = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    total = np.empty(width, np.float64)
    for row in range(first, last):
        own[:] = ridge * scales[row]
        r[:] = 0
        gather(others, weights, pulls, features, shifts, offsets[row], offsets[row + 1], x[row], r, total, True)
        add_dense(gram, own, x[row], r, np.float32(-1))
        p[:] = r
        rr = dot(r, r)
        enough = rr * SOLVED
        for _ in range(steps):
            if not rr > enough:
                break
            q[:] = 0
            gather(others, weights, pulls, features, shifts, offsets[row], offsets[row + 1], p, q, total, False)
            add_dense(gram, own, p, q, np.float32(1))
            rr = cg_step(x[row], r, p, q, rr)


@njit(cache=True, nogil=True)
def _solve_nonnegative(first, last, events, features, shifts, gram, ridge, scales, steps, x):  # type: ignore[no-untyped-def]
    offsets, others, weights, pulls = events
    width = x.shape[1]
    r, p, q, own = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    total = np.empty(width, np.float64)
    sums, ones = np.empty(width, np.float32), np.ones(width, np.float32)
    for row in range(first, last):
        start, end = offsets[row], offsets[row + 1]
        own[:] = ridge * scales[row]
        r[:], sums[:] = 0, 0
        gather(others, weights, pulls, features, shifts, start, end, x[row], r, total, True)
        add_dense(gram, own, x[row], r, np.float32(-1))
        gather(others, weights, pulls, features, shifts, start, end, ones, sums, total, False)
        add_dense(gram, own, ones, sums, np.float32(1))
        for _ in range(steps):
            aim_up(x[row], r, sums, p)
            q[:] = 0
            gather(others, weights, pulls, features, shifts, start, end, p, q, total, False)
            add_dense(gram, own, p, q, np.float32(1))
            projected_step(x[row], r, p, q)


@njit(cache=True, nogil=True)
def _solve_exactly(first, last, events, features, shifts, gram, ridge, scales, steps, x):  # type: ignore[no-untyped-def]
    offsets, others, weights, pulls = events
    width = x.shape[1]
    a, b = np.empty((width, width), np.float64), np.empty(width, np.float64)
    for row in range(first, last):
        a[:], b[:] = 0, 0
        if gram.shape[0]:
            a[:] = gram
        for k in range(width):
            a[k, k] += ridge[k] * scales[row]
        add_normal_equations(others, weights, pulls, features, shifts, offsets[row], offsets[row + 1], a, b)
        solve_cholesky(a, b, x[row])


@njit(cache=True, nogil=True)
def _gather_rows(first, last, events, features, shifts, p, is_residual, q):  # type: ignore[no-untyped-def]
    offsets, others, weights, pulls = events
    total = np.empty(q.shape[1], np.float64)
    for row in range(first, last):
        q[row] = 0
        gather(others, weights, pulls, features, shifts, offsets[row], offsets[row + 1], p[row], q[row], total, is_residual)


@njit(cache=True, nogil=True)
def _normal_rows(first, last, events, features, shifts, rows, a, b):  # type: ignore[no-untyped-def]
    offsets, others, weights, pulls = events
    width = b.shape[1]
    square = np.empty((width, width), np.float64)
    line = np.empty(width, np.float64)
    for place in range(first, last):
        row = rows[place]
        square[:], line[:] = 0, 0
        add_normal_equations(others, weights, pulls, features, shifts, offsets[row], offsets[row + 1], square, line)
        n = 0
        for j in range(width):
            b[place, j] = line[j]
            for k in range(j + 1):
                a[place, n] = square[j, k]
                n += 1


@njit(cache=True, nogil=True, fastmath=FAST)
def _errors(first, last, events, features, shifts, x, sums):  # type: ignore[no-untyped-def]
    offsets, others, weights, pulls = events
    width = x.shape[1]
    for row in range(first, last):
        total = 0.0
        for event in range(offsets[row], offsets[row + 1]):
            other = others[event]
            score = np.float32(0)
            for k in range(width):
                score += features[other, k] * x[row, k]
            score += shifts[other]
            total += (weights[event] * np.float64(score) - 2.0 * pulls[event]) * score
        sums[row] = total


_SOLVERS: dict[Solver, Callable[..., None]] = {"cg": _solve_cg, "cholesky": _solve_exactly, "nonnegative": _solve_nonnegative}


def in_threads(n_threads: int, offsets: np.ndarray, kernel: Callable[..., None], *arguments: Any) -> None:
    """kernel(first, last, *arguments) over all rows of `offsets`, in pieces of about equally many events, n_threads at once."""
    n_rows = len(offsets) - 1
    if n_threads == 1:
        kernel(0, n_rows, *arguments)
        return
    # A row costs its events and something of its own.
    work = offsets + np.arange(n_rows + 1) * 16
    cuts = np.searchsorted(work, np.linspace(0, work[-1], 8 * n_threads + 1)[1:-1])
    cuts = np.concatenate(([0], cuts, [n_rows]))
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(lambda piece: kernel(cuts[piece], cuts[piece + 1], *arguments), range(len(cuts) - 1)))


def frozen_events(events: Events) -> Events:
    """The arrays as the kernels are compiled for."""
    return Events(*(frozen(column, kind) for column, kind in zip(events, (np.int64, np.int32, np.float32, np.float32), strict=True)))


def solve_rows(
    solver: Solver,
    events: Events,
    features: np.ndarray,
    shifts: np.ndarray,
    gram: np.ndarray,
    ridge: np.ndarray,
    scales: np.ndarray,
    x: np.ndarray,
    *,
    steps: int,
    n_threads: int = 1,
) -> None:
    """Improve the rows of x [n x D] in place: a half-step of alternating least squares.

    Args:
        solver: cg and nonnegative take `steps` steps from x as it is; cholesky solves exactly.
        features, shifts: [m x D] and [m] of the other side.
        gram: [D x D] weight of the unobserved pairs times features' features, or [0 x 0] for none.
        ridge, scales: row i is regularised by scales[i] * ridge, [n] and [D].
    """
    arguments = (tuple(frozen_events(events)), *map(_single, (features, shifts, gram, ridge, scales)))
    in_threads(n_threads, events.offsets, _SOLVERS[solver], *arguments, steps, x)


def gather_rows(
    events: Events, features: np.ndarray, shifts: np.ndarray, p: np.ndarray, q: np.ndarray, *, residual: bool, n_threads: int = 1
) -> None:
    """q[i] = sum_e w (f . p[i]) f over row i's events, or with `residual` sum_e (pull - w (f . p[i] + shift)) f."""
    arguments = (tuple(frozen_events(events)), *map(_single, (features, shifts, p)))
    in_threads(n_threads, events.offsets, _gather_rows, *arguments, residual, q)


def normal_equations(
    events: Events, features: np.ndarray, shifts: np.ndarray, rows: np.ndarray, *, n_threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """For each of `rows` sum_e w f f' as its lower triangle [n x D (D + 1) / 2], and sum_e (pull - w shift) f [n x D], float32."""
    width = features.shape[1]
    a, b = np.empty((len(rows), width * (width + 1) // 2), np.float32), np.empty((len(rows), width), np.float32)
    offsets = np.append(0, np.cumsum(np.diff(events.offsets)[rows]))
    arguments = (tuple(frozen_events(events)), _single(features), _single(shifts), frozen(rows, np.int64), a, b)
    in_threads(n_threads, offsets, _normal_rows, *arguments)
    return a, b


def errors(events: Events, features: np.ndarray, shifts: np.ndarray, x: np.ndarray, *, n_threads: int = 1) -> float:
    """sum_e w s^2 - 2 pull s over all events, s = x . f + shift: the observed pairs' part of the loss, less its constant."""
    sums = np.empty(len(x))
    in_threads(n_threads, events.offsets, _errors, tuple(frozen_events(events)), *map(_single, (features, shifts, x)), sums)
    return float(sums.sum())


def _single(array: np.ndarray) -> np.ndarray:
    return frozen(array, np.float32)
