"""Seconds and memory against events: the mean user and the catalogue stay, the number of users grows."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench import ours, speed
from tests.bench.data import Size, ml20m
from tests.bench.rows import Measured, Row, compare, slope
from tests.bench.session import Bench

# Of the default world: 1.6 M, 5 M and 16.4 M events.
SCALES = (0.1, 0.305, 1.0)
SLOPE_TARGET = 1.1


def bench_growth(bench: Bench, scale: float, *, rank: int = 64) -> None:
    """The slope of log seconds against log events, and the driver's memory at the largest size against the smallest."""
    sizes = [ml20m(scale * share) for share in SCALES]
    work: dict[str, Callable[[Size], Measured]] = {
        f"ALS iteration, rank {rank}": lambda size: bench.ours.measure(
            ours.als, bench.world(size), rank=rank, iterations=3, **speed.ALS_SETTINGS
        ),
        f"item-item cosine, K = {speed.K}": lambda size: bench.ours.measure(
            ours.item_cosine, bench.world(size), n_neighbours=speed.K, min_support=speed.MIN_SUPPORT
        ),
        f"top {speed.K} of every user, rank {rank}": lambda size: bench.ours.measure(ours.topk, *tables[size], k=speed.K),
    }
    tables = {size: speed.prepare_topk(bench, size, rank)[1:] for size in [speed.WARM_UP, *sizes]}
    for name, call in work.items():
        bench.now(f"{name}: warm-up")
        call(speed.WARM_UP)
        # Small to large: a JVM does not give memory back.
        measured = [bench.rounds(f"{name}, {size}", lambda call=call, size=size: call(size))[0] for size in sizes]
        for size, runs in zip(sizes, measured, strict=True):
            bench.add(compare(name, [run.seconds for run in runs], data=str(size), ours_measured=runs))
        for row in growth_rows(name, [size.n_pairs for size in sizes], measured):
            bench.add(row)


def growth_rows(name: str, n_pairs: list[int], measured: list[list[Measured]]) -> list[Row]:
    """The slope over all sizes, run by run, and the driver's Python at the largest size against the smallest.

    In local mode the driver's JVM is the executor as well, so its size says little of the driver; it stands beside each size.
    """
    span = f"{n_pairs[0]:,} to {n_pairs[-1]:,} pairs"
    slopes = [slope(n_pairs, [run.seconds for run in runs]) for runs in zip(*measured, strict=True)]
    memory = [max(run.peak["driver_python"] for run in runs) for runs in (measured[-1], measured[0])]
    return [
        compare(f"{name}: growth of seconds", slopes, unit="", target=SLOPE_TARGET, data=span),
        compare(
            f"{name}: the driver's Python, largest against smallest",
            [memory[0] / 2**20],
            [memory[1] / 2**20],
            "at the smallest",
            unit="MiB",
            target=SLOPE_TARGET,
            data=span,
        ),
    ]
