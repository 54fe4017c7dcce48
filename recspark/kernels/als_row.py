"""One row of alternating least squares: products, steps and exact solutions. The formulas are kernels.als's."""

from __future__ import annotations

import numpy as np
from numba import njit

# Sums may be reordered for vector instructions; not-a-number is still not-a-number.
FAST = {"reassoc", "contract", "arcp", "nsz"}
# Events that are added up in single precision.
_FEW = 512


@njit(cache=True, nogil=True, fastmath=FAST)
def gather(others, weights, pulls, features, shifts, start, end, p, q, total, is_residual):  # type: ignore[no-untyped-def]
    """q += sum of c f over the events [start, end): c = w (f . p), or for the residual pull - w (f . p + shift).

    In single precision up to _FEW events, whose sums are added up in double, in `total` [D], which need not be 0: a million equal
    terms would lose three digits.
    """
    width = p.size
    first = start
    while True:
        last = min(first + _FEW, end)
        event = first
        while event + 4 <= last:  # four rows at a time hide the latency of each other's sums
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
        for rest in range(event, last):
            a = others[rest]
            sa = np.float32(0)
            for k in range(width):
                sa += features[a, k] * p[k]
            sa = pulls[rest] - weights[rest] * (sa + shifts[a]) if is_residual else weights[rest] * sa
            for k in range(width):
                q[k] += sa * features[a, k]
        if last == end:
            break
        for k in range(width):
            total[k] = q[k] if first == start else total[k] + q[k]
            q[k] = 0
        first = last
    if first > start:
        for k in range(width):
            q[k] += total[k]


@njit(cache=True, nogil=True, fastmath=FAST)
def add_dense(gram, ridge, p, q, sign):  # type: ignore[no-untyped-def]
    """q += sign * (gram p + ridge p); an empty gram is none."""
    for j in range(gram.shape[0]):
        pj = sign * p[j]
        if pj != 0:
            for k in range(p.size):
                q[k] += pj * gram[j, k]
    for k in range(p.size):
        q[k] += sign * ridge[k] * p[k]


@njit(cache=True, nogil=True, fastmath=FAST)
def dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@njit(cache=True, nogil=True, fastmath=FAST)
def cg_step(x, r, p, q, rr):  # type: ignore[no-untyped-def]
    """One step of conjugate gradients, in place, for one row: q = A p, rr = r . r; the new rr."""
    curvature = dot(p, q)
    if not curvature > 0:
        return np.float32(0)
    length = rr / curvature
    for k in range(x.size):
        x[k] += length * p[k]
        r[k] -= length * q[k]
    left = dot(r, r)
    ratio = left / rr
    for k in range(x.size):
        p[k] = r[k] + ratio * p[k]
    return left


@njit(cache=True, nogil=True, fastmath=FAST)
def aim_up(x, r, sums, p):  # type: ignore[no-untyped-def]
    """The projected direction p = max(0, x + r / sums) - x, where sums = A 1."""
    for k in range(x.size):
        step = r[k] / sums[k] if sums[k] > 0 else np.float32(0)
        p[k] = max(step, -x[k])


@njit(cache=True, nogil=True, fastmath=FAST)
def projected_step(x, r, p, q):  # type: ignore[no-untyped-def]
    """As far along p as the quadratic falls and x stays non-negative, in place; q = A p."""
    slope, curvature = dot(r, p), dot(p, q)
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
    """x = a^-1 b by the lower triangle of a, which is destroyed; x as it was where rounding leaves a not positive definite."""
    width = b.size
    for j in range(width):
        pivot = a[j, j]
        for k in range(j):
            pivot -= a[j, k] * a[j, k]
        if not pivot > 0:
            return
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
