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

from recspark.kernels.topk import frozen

Solver = Literal["cg", "cholesky", "nonnegative"]

# Sums may be reordered for vector instructions; not-a-number is still not-a-number.
_FAST = {"reassoc", "contract", "arcp", "nsz"}
# A residual this small against the row's own is solved.
_SOLVED = np.float32(1e-14)


class Events(NamedTuple):
    """Observed pairs by row: those of row i at offsets[i]:offsets[i + 1]."""

    offsets: np.ndarray  # int64 [n_rows + 1]
    others: np.ndarray  # int32: the other side's rows, ascending within a row
    weights: np.ndarray  # float32
    pulls: np.ndarray  # float32: weight * target


@njit(cache=True, nogil=True, fastmath=_FAST)
def _gather(others, weights, pulls, features, shifts, start, end, p, q, is_residual):  # type: ignore[no-untyped-def]
    """q += sum of c f over the events [start, end): c = w (f . p), or for the residual pull - w (f . p + shift)."""
    width = p.size
    event = start
    while event + 4 <= end:  # four rows at a time hide the latency of each other's sums
        a, b, c, d = others[event], others[event + 1], others[event + 2], others[event + 3]
        sa, sb, sc, sd = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for k in range(width):
            sa += features[a, k] * p[k]
            sb += features[b, k] * p[k]
            sc += features[c, k] * p[k]
            sd += features[d, k] * p[k]
        if is_residual:
            sa = pulls[event] - weights[event] * (sa + shifts[a])
            sb = pulls[event + 1] - weights[event + 1] * (sb + shifts[b])
            sc = pulls[event + 2] - weights[event + 2] * (sc + shifts[c])
            sd = pulls[event + 3] - weights[event + 3] * (sd + shifts[d])
        else:
            sa *= weights[event]
            sb *= weights[event + 1]
            sc *= weights[event + 2]
            sd *= weights[event + 3]
        for k in range(width):
            q[k] += sa * features[a, k] + sb * features[b, k] + sc * features[c, k] + sd * features[d, k]
        event += 4
    for rest in range(event, end):
        a = others[rest]
        sa = np.float32(0)
        for k in range(width):
            sa += features[a, k] * p[k]
        sa = pulls[rest] - weights[rest] * (sa + shifts[a]) if is_residual else weights[rest] * sa
        for k in range(width):
            q[k] += sa * features[a, k]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _add_dense(gram, ridge, p, q, sign):  # type: ignore[no-untyped-def]
    """q += sign * (gram p + ridge p); an empty gram is none."""
    for j in range(gram.shape[0]):
        pj = sign * p[j]
        if pj != 0:
            for k in range(p.size):
                q[k] += pj * gram[j, k]
    for k in range(p.size):
        q[k] += sign * ridge[k] * p[k]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@njit(cache=True, nogil=True, fastmath=_FAST)
def cg_step(x, r, p, q, rr):  # type: ignore[no-untyped-def]
    """One step of conjugate gradients, in place, for one row: q = A p, rr = r . r; the new rr."""
    curvature = _dot(p, q)
    if not curvature > 0:
        return np.float32(0)
    length = rr / curvature
    for k in range(x.size):
        x[k] += length * p[k]
        r[k] -= length * q[k]
    left = _dot(r, r)
    ratio = left / rr
    for k in range(x.size):
        p[k] = r[k] + ratio * p[k]
    return left


@njit(cache=True, nogil=True, fastmath=_FAST)
def aim_up(x, r, sums, p):  # type: ignore[no-untyped-def]
    """The projected direction p = max(0, x + r / sums) - x, where sums = A 1."""
    for k in range(x.size):
        step = r[k] / sums[k] if sums[k] > 0 else np.float32(0)
        p[k] = max(step, -x[k])


@njit(cache=True, nogil=True, fastmath=_FAST)
def projected_step(x, r, p, q):  # type: ignore[no-untyped-def]
    """As far along p as the quadratic falls and x stays non-negative, in place; q = A p."""
    slope, curvature = _dot(r, p), _dot(p, q)
    if not (slope > 0 and curvature > 0):
        return
    length = slope / curvature
    for k in range(x.size):
        if p[k] < 0:
            length = min(length, -x[k] / p[k])
    for k in range(x.size):
        x[k] = max(x[k] + length * p[k], np.float32(0))
        r[k] -= length * q[k]


@njit(cache=True, nogil=True)
def add_normal_equations(others, weights, pulls, features, shifts, start, end, a, b):  # type: ignore[no-untyped-def]
    """Add the events [start, end) to the lower triangle of a [D x D] and to b [D]."""
    width = b.size
    for event in range(start, end):
        f, w = features[others[event]], weights[event]
        pull = pulls[event] - w * shifts[others[event]]
        for j in range(width):
            b[j] += pull * f[j]
            wf = w * f[j]
            for k in range(j + 1):
                a[j, k] += wf * f[k]


@njit(cache=True, nogil=True)
def solve_cholesky(a, b, x):  # type: ignore[no-untyped-def]
    """x = a^-1 b by the lower triangle of a, which is destroyed. False, and x as it was, where a is not positive definite."""
    width = b.size
    for j in range(width):
        pivot = a[j, j]
        for k in range(j):
            pivot -= a[j, k] * a[j, k]
        if not pivot > 0:
            return False
        a[j, j] = np.sqrt(pivot)
        for i in range(j + 1, width):
            entry = a[i, j]
            for k in range(j):
                entry -= a[i, k] * a[j, k]
            a[i, j] = entry / a[j, j]
    for j in range(width):
        for k in range(j):
            b[j] -= a[j, k] * b[k]
        b[j] /= a[j, j]
    for j in range(width - 1, -1, -1):
        for k in range(j + 1, width):
            b[j] -= a[k, j] * b[k]
        b[j] /= a[j, j]
    for j in range(width):
        x[j] = b[j]
    return True


@njit(cache=True, nogil=True)
def _solve_cg(first, last, events, features, shifts, gram, ridge, scales, steps, x):  # type: ignore[no-untyped-def]
    offsets, others, weights, pulls = events
    width = x.shape[1]
    r, p, q, own = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(first, last):
        own[:] = ridge * scales[row]
        r[:] = 0
        _gather(others, weights, pulls, features, shifts, offsets[row], offsets[row + 1], x[row], r, True)
        _add_dense(gram, own, x[row], r, np.float32(-1))
        p[:] = r
        rr = _dot(r, r)
        enough = rr * _SOLVED
        for _ in range(steps):
            if not rr > enough:
                break
            q[:] = 0
            _gather(others, weights, pulls, features, shifts, offsets[row], offsets[row + 1], p, q, False)
            _add_dense(gram, own, p, q, np.float32(1))
            rr = cg_step(x[row], r, p, q, rr)


@njit(cache=True, nogil=True)
def _solve_nonnegative(first, last, events, features, shifts, gram, ridge, scales, steps, x):  # type: ignore[no-untyped-def]
    offsets, others, weights, pulls = events
    width = x.shape[1]
    r, p, q, own = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    sums, ones = np.empty(width, np.float32), np.ones(width, np.float32)
    for row in range(first, last):
        start, end = offsets[row], offsets[row + 1]
        own[:] = ridge * scales[row]
        r[:], sums[:] = 0, 0
        _gather(others, weights, pulls, features, shifts, start, end, x[row], r, True)
        _add_dense(gram, own, x[row], r, np.float32(-1))
        _gather(others, weights, pulls, features, shifts, start, end, ones, sums, False)
        _add_dense(gram, own, ones, sums, np.float32(1))
        for _ in range(steps):
            aim_up(x[row], r, sums, p)
            q[:] = 0
            _gather(others, weights, pulls, features, shifts, start, end, p, q, False)
            _add_dense(gram, own, p, q, np.float32(1))
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
    for row in range(first, last):
        q[row] = 0
        _gather(others, weights, pulls, features, shifts, offsets[row], offsets[row + 1], p[row], q[row], is_residual)


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


@njit(cache=True, nogil=True, fastmath=_FAST)
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


def normal_equations(events: Events, features: np.ndarray, shifts: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of `rows` sum_e w f f' as its lower triangle [n x D (D + 1) / 2], and sum_e (pull - w shift) f [n x D], float32."""
    width = features.shape[1]
    a, b = np.empty((len(rows), width * (width + 1) // 2), np.float32), np.empty((len(rows), width), np.float32)
    _normal_rows(0, len(rows), tuple(frozen_events(events)), _single(features), _single(shifts), frozen(rows, np.int64), a, b)
    return a, b


def errors(events: Events, features: np.ndarray, shifts: np.ndarray, x: np.ndarray, *, n_threads: int = 1) -> float:
    """sum_e w s^2 - 2 pull s over all events, s = x . f + shift: the observed pairs' part of the loss, less its constant."""
    sums = np.empty(len(x))
    in_threads(n_threads, events.offsets, _errors, tuple(frozen_events(events)), *map(_single, (features, shifts, x)), sums)
    return float(sums.sum())


def _single(array: np.ndarray) -> np.ndarray:
    return frozen(array, np.float32)
