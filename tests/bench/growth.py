"""Seconds against events: the mean user and the catalogue stay, the number of users grows."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench import ours, speed
from tests.bench.data import Size, ml20m
from tests.bench.rows import Measured, compare, slope
from tests.bench.session import Bench

# Of the default world: 1.6 M, 5 M and 16.4 M events.
SCALES = (0.1, 0.305, 1.0)
SLOPE_TARGET = 1.1


def bench_growth(bench: Bench, scale: float, *, rank: int = 64) -> None:
    """The slope of log seconds against log events, run by run."""
    sizes = [ml20m(scale * share) for share in SCALES]
    prepared = {size: speed.prepare_topk(bench, size, rank) for size in [speed.WARM_UP, *sizes]}
    folders = {size: folder for size, (folder, _, _) in prepared.items()}
    work: dict[str, Callable[[Size], Measured]] = {
        f"ALS iteration, rank {rank}": lambda size: bench.ours.measure(
            ours.als, folders[size], rank=rank, iterations=3, **speed.ALS_SETTINGS
        ),
        f"item-item cosine, K = {speed.K}": lambda size: bench.ours.measure(
            ours.cosine, folders[size], n_neighbours=speed.K, min_support=speed.MIN_SUPPORT
        ),
        f"top {speed.K} of every user, rank {rank}": lambda size: bench.ours.measure(ours.topk, *prepared[size][1:], k=speed.K),
    }
    for name, call in work.items():
        bench.now(f"{name}: warm-up")
        call(speed.WARM_UP)
        measured = [bench.rounds(f"{name}, {size}", lambda call=call, size=size: call(size))[0] for size in sizes]
        for size, runs in zip(sizes, measured, strict=True):
            bench.add(compare(name, [run.seconds for run in runs], data=str(size), ours_measured=runs))
        span = f"{sizes[0].n_pairs:,} to {sizes[-1].n_pairs:,} pairs"
        slopes = [slope([size.n_pairs for size in sizes], [run.seconds for run in runs]) for runs in zip(*measured, strict=True)]
        bench.add(compare(f"{name}: growth of seconds", slopes, unit="", target=SLOPE_TARGET, data=span))
