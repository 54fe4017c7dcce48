"""What a task slot does a second, measured by the kernels themselves on a small world of the usual shape."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from recspark.handover.peers import Peers
from recspark.kernels.adding import DOT
from recspark.kernels.als import solve_rows
from recspark.kernels.als_events import Block, build_block
from recspark.kernels.cooccurrence import Block as ItemBlock
from recspark.kernels.cooccurrence import by_popularity, no_sums, top_neighbours
from recspark.kernels.ease import invert_upper
from recspark.kernels.factors import item_factors, top_items_by_factors
from recspark.kernels.masks import mask_of
from recspark.kernels.packing import as_histories
from recspark.kernels.similarity import measure_of

# As many items as leave the second cache: a catalogue that fits there would promise twice the speed of one that does not.
_N_USERS, _N_ITEMS, _N_PAIRS, _RANK, _STEPS = 4_000, 20_000, 400_000, 64, 3
_N_LISTS, _N_NEIGHBOURS = 256, 100
_N_DENSE = 768
_SENT = 1 << 24
_GOES = 2


def _best_seconds(work: Callable[[], object]) -> float:
    """Of some goes: the first one compiles, and others may be disturbed."""
    work()
    seconds = []
    for _ in range(_GOES):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _world(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Distinct pairs by user: lognormal users, items by Zipf's law."""
    activity = random.lognormal(0, 1, _N_USERS)
    popularity = (np.arange(1, _N_ITEMS + 1) + 50.0) ** -0.9
    users = random.choice(_N_USERS, _N_PAIRS, p=activity / activity.sum())
    items = random.permutation(_N_ITEMS)[random.choice(_N_ITEMS, _N_PAIRS, p=popularity / popularity.sum())]
    keys = np.unique(users.astype(np.int64) * _N_ITEMS + items)
    return keys // _N_ITEMS, (keys % _N_ITEMS).astype(np.int32)


def _least_squares(block: Block, random: np.random.Generator) -> float:
    """Floating point operations a second of a half-step of conjugate gradients, counted as `factors` does."""
    features = random.standard_normal((_N_ITEMS, _RANK), np.float32)
    n_rows, n_pairs = len(block.user_idx), len(block.by_user.others)
    scales, shifts = np.ones(n_rows, np.float32), np.zeros(_N_ITEMS, np.float32)
    fixed = (features, shifts, features.T @ features, np.ones(_RANK, np.float32), scales)

    def solve() -> None:
        solve_rows("cg", block.by_user, *fixed, np.zeros((n_rows, _RANK), np.float32), steps=_STEPS, n_threads=1)

    return (_STEPS + 1) * _RANK * (4 * n_pairs + 2 * _RANK * n_rows) / _best_seconds(solve)


def _additions(users: np.ndarray, items: np.ndarray, random: np.random.Generator) -> float:
    """Pairs added up a second for the cosine of weights, counted as `similarity` does: half of each history's square."""
    histories = as_histories(users, items, random.random(len(users)), limit=_N_ITEMS, seed=1)
    counts = np.bincount(items, minlength=_N_ITEMS)
    block = ItemBlock(0, 1, by_popularity(counts), True, DOT, 1)
    measure = measure_of("cosine", counts, counts.astype(np.float64), _N_USERS, shrinkage=10.0)
    additions = (np.diff(histories.offsets).astype(np.float64) ** 2).sum() / 2
    return float(additions) / _best_seconds(
        lambda: top_neighbours(block, no_sums(block), histories, measure, n=_N_NEIGHBOURS, min_support=2)
    )


def _inverse(random: np.random.Generator) -> float:
    factors = random.standard_normal((_N_DENSE, 8))
    counts = factors @ factors.T
    return _N_DENSE**3 / _best_seconds(lambda: invert_upper(counts.copy(), 100.0))


def _products(random: np.random.Generator) -> float:
    """Floating point operations a second of scores, with vectors so alike that few are left out."""
    users, vectors = (random.standard_normal((n, _RANK), np.float32) for n in (_N_LISTS, _N_ITEMS))
    items = item_factors(np.arange(_N_ITEMS, dtype=np.int32), vectors, np.zeros(_N_ITEMS, np.float32))
    mask = mask_of(np.ones(_N_ITEMS, bool), (np.zeros(_N_LISTS + 1, np.int64), np.empty(0, np.int32)))
    biases = np.zeros(_N_LISTS, np.float32)
    return 2 * _N_LISTS * _N_ITEMS * _RANK / _best_seconds(lambda: top_items_by_factors(users, biases, items, mask, _N_NEIGHBOURS))


def _sent(peers: Peers) -> float:
    """Bytes a second that a task sends while all others send too; without others, what it copies."""
    part = np.zeros(_SENT // peers.n, np.uint8)
    seconds = _best_seconds(lambda: peers.gather(part))
    return part.nbytes * max(1, peers.n - 1) / seconds


def measure_slot(peers: Peers) -> dict[str, float]:
    """The rates of one slot, while every other of `peers` measures too: they share the memory's bandwidth as in a run."""
    random = np.random.default_rng(1)
    users, items = _world(random)
    block = build_block(users, items, np.ones(len(users)), None, _N_ITEMS)
    return {
        "least_squares": _least_squares(block, random),
        "additions": _additions(users, items, random),
        "products": _products(random),
        "inverse": _inverse(random),
        "sent": _sent(peers),
    }
