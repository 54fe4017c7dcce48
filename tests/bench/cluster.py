"""A real standalone cluster on this machine: what a second worker brings, and what the driver needs when it is nothing but the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq

from recspark.runtime.cluster import standalone_cluster
from tests.bench import ours, speed
from tests.bench.agree import tables_agree
from tests.bench.data import Size, ml20m
from tests.bench.growth import SCALES
from tests.bench.rows import MIB, Measured, compare
from tests.bench.session import Bench, spark_side
from tests.bench.sides import Side

RANK = 64
ITERATIONS = 5
MEMORY_TARGET = 1.1
_ROOT = Path(__file__).parents[2]
# Below the 2 GiB that a worker of `standalone_cluster` has: the driver's is small, so that what grows would be seen.
_SETTINGS = {
    "spark.driver.memory": "1g",
    "spark.executor.memory": "1500m",
    "spark.executor.cores": "1",
    "spark.executorEnv.PYTHONPATH": str(_ROOT),
}


@contextmanager
def _cluster_side(bench: Bench, n_workers: int) -> Iterator[Side]:
    """A session on `n_workers` workers of one core. Below the side's process are only the driver's: workers are below the cluster's."""
    folder = bench.folder / f"cluster-{n_workers}"
    bench.now(f"cluster of {n_workers}: starting")
    with standalone_cluster(folder / "daemons", n_workers) as url, spark_side(folder, {**_SETTINGS, "spark.master": url}) as (side, _):
        yield side


def _jobs(bench: Bench, size: Size) -> dict[str, Callable[[Side, str | None], Measured]]:
    """By name and key of the table: the job on a side, its table written to a folder where one is named."""
    folder = bench.world(size)

    def als(side: Side, to: str | None) -> Measured:
        return side.measure(ours.als, folder, rank=RANK, iterations=ITERATIONS, to=to, **speed.ALS_SETTINGS)

    def similarity(side: Side, to: str | None) -> Measured:
        return side.measure(ours.cosine, folder, n_neighbours=speed.K, min_support=speed.MIN_SUPPORT, to=to)

    return {f"ALS fit of {ITERATIONS} iterations, rank {RANK}": als, f"item-item cosine, K = {speed.K}": similarity}


def bench_cluster(bench: Bench, size: Size) -> None:
    """Two workers of one core against one worker of one core, in turn: seconds, and whether the tables are the same."""
    with _cluster_side(bench, 1) as one, _cluster_side(bench, 2) as two:
        for warm in (True, False):
            for name, job in _jobs(bench, speed.WARM_UP if warm else size).items():
                paths = [f"{bench.folder}/tables-of-{n}" for n in (2, 1)]
                measured = bench.rounds(
                    f"{name}, two workers against one{' (warm-up)' if warm else ''}",
                    lambda job=job, paths=paths: job(two, paths[0]),
                    lambda job=job, paths=paths: job(one, paths[1]),
                    n=1 if warm else None,
                )
                if not warm:
                    seconds = [[run.result.get("whole", run.seconds) for run in runs] for runs in measured]
                    check = tables_agree(*(pq.read_table(path) for path in paths))
                    bench.add(compare(f"{name}, two workers", *seconds, "one worker", target=1.0, check=check, data=str(size)))


def bench_driver_memory(bench: Bench, scale: float) -> None:
    """The driver's resident memory at the largest size against the smallest, with one worker of one core for each core.

    Resident memory of a JVM is what it has taken from the system, garbage included; its heap is bounded by spark.driver.memory.
    """
    sizes = [ml20m(scale * share) for share in (min(SCALES), max(SCALES))]
    peaks: dict[str, dict[str, list[int]]] = {}
    for size in sizes:
        with _cluster_side(bench, bench.cores) as side:
            for name, job in _jobs(bench, size).items():
                bench.now(f"{name}, {size}: the driver's memory")
                for part, peak in job(side, None).peak.items():
                    peaks.setdefault(name, {}).setdefault(part, []).append(peak)
    for name, parts in peaks.items():
        for part, (small, large) in sorted(parts.items()):
            data = f"{sizes[1]} against {sizes[0]}"
            known = {"unit": "MiB", "target": MEMORY_TARGET, "data": data}
            bench.add(compare(f"{name}: {part.replace('_', ' ')}", [large / MIB], [small / MIB], "at the smallest", **known))  # type: ignore[arg-type]
