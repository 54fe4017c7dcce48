"""What the machine can do at most, measured, and what the work amounts to: arithmetic, and bytes to and from the kernel."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from tests.bench.rows import Measured

CG_STEPS = 3  # of implicit, and of the blocked engine's default


class Limits(NamedTuple):
    """Of all cores together."""

    gflops: float
    gigabytes: float  # a second


class Work(NamedTuple):
    """Of one iteration, or one pass."""

    gflop: float
    gigabytes: float


def als_work(n_users: int, n_items: int, n_pairs: int, rank: int, cg_steps: int = CG_STEPS) -> Work:
    """One full iteration by conjugate gradients, both halves: per row a product with the Gram matrix (2 rank^2) a step, per pair and half
    a dot product and an addition (4 rank) a step, the residual being one step more; and both Gram matrices (2 rank^2 a row).

    Bytes: each step reads the other side's vector of every pair (4 rank); far from all of it comes from memory where caches hold rows.
    """
    rows, steps = n_users + n_items, cg_steps + 1
    flop = steps * (rows * 2 * rank**2 + 2 * n_pairs * 4 * rank) + rows * 2 * rank**2
    return Work(flop / 1e9, steps * 2 * n_pairs * 4 * rank / 1e9)


def topk_work(n_users: int, n_items: int, rank: int) -> Work:
    """All products (2 rank each); bytes: every score is written once and read once."""
    return Work(2 * n_users * n_items * rank / 1e9, 8 * n_users * n_items / 1e9)


def reached(work: Work, measured: Sequence[Measured], limits: Limits) -> dict[str, tuple[float, float]]:
    """By unit: what the median run did a second, and the machine's most."""
    seconds = statistics.median(run.seconds for run in measured)
    return {"GFlop/s": (work.gflop / seconds, limits.gflops), "GB/s": (work.gigabytes / seconds, limits.gigabytes)}


def _best_seconds(work: Callable[[int], object], cores: int, repeats: int = 5) -> float:
    """The fastest of some goes of `work(core)` on all cores at once."""
    with ThreadPoolExecutor(cores) as pool:
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            list(pool.map(work, range(cores)))
            seconds.append(time.perf_counter() - began)
    return min(seconds)


def measure(cores: int, side: int = 1536, n_floats: int = 1 << 25) -> Limits:
    """numpy's single precision matrix product, and its copy (a read and a write a byte), one thread a core.

    BLAS must be pinned to one thread (OPENBLAS_NUM_THREADS=1).
    """
    random = np.random.default_rng(1)
    square = random.random((side, side), dtype=np.float32)
    into = [np.empty_like(square) for _ in range(cores)]
    products = _best_seconds(lambda core: np.matmul(square, square, out=into[core]), cores)
    source, target = (np.zeros((cores, n_floats), np.float32) for _ in range(2))
    copies = _best_seconds(lambda core: np.copyto(target[core], source[core]), cores)
    return Limits(cores * 2 * side**3 / products / 1e9, cores * 2 * source[0].nbytes / copies / 1e9)
