"""Steps of many rows whose products with a direction are made elsewhere: the items' side of blocked alternating least squares."""

from __future__ import annotations

import numpy as np
from numba import njit

from recspark.kernels.als import in_threads
from recspark.kernels.als_row import aim_up, cg_step, projected_step, solve_cholesky


@njit(cache=True, nogil=True)
def cg_rows(x, r, p, q, rr, enough):  # type: ignore[no-untyped-def]
    """One step of conjugate gradients for each row, in place: q = A p, rr [n] = r . r; a row is solved where that is not above enough [n]."""
    for row in range(rr.size):
        if rr[row] > enough[row]:
            rr[row] = cg_step(x[row], r[row], p[row], q[row], rr[row])
        if not rr[row] > enough[row]:
            p[row] = 0


@njit(cache=True, nogil=True)
def aim_rows(x, r, sums, p):  # type: ignore[no-untyped-def]
    """The projected direction of each row, into p; sums = A 1."""
    for row in range(x.shape[0]):
        aim_up(x[row], r[row], sums[row], p[row])


@njit(cache=True, nogil=True)
def projected_rows(x, r, p, q):  # type: ignore[no-untyped-def]
    """A step of each row along p that keeps it non-negative, in place; q = A p."""
    for row in range(x.shape[0]):
        projected_step(x[row], r[row], p[row], q[row])


@njit(cache=True, nogil=True)
def _solve_packed(first, last, a, b, gram, ridge, scales, x):  # type: ignore[no-untyped-def]
    width = b.shape[1]
    square, line = np.empty((width, width), np.float64), np.empty(width, np.float64)
    for row in range(first, last):
        n = 0
        for j in range(width):
            line[j] = b[row, j]
            for k in range(j + 1):
                square[j, k] = a[row, n] + (gram[j, k] if gram.shape[0] else 0.0)
                n += 1
            square[j, j] += ridge[j] * scales[row]
        solve_cholesky(square, line, x[row])


def solve_packed(
    a: np.ndarray, b: np.ndarray, gram: np.ndarray, ridge: np.ndarray, scales: np.ndarray, x: np.ndarray, *, n_threads: int = 1
) -> None:
    """The rows of x [n x D] become the solutions of (a[i] + gram + scales[i] diag(ridge)) x = b[i], a[i] a packed lower triangle.

    A row that rounding leaves not positive definite stays as it is.
    """
    in_threads(n_threads, np.arange(len(b) + 1), _solve_packed, a, b, gram.astype(np.float32), ridge, scales, x)
