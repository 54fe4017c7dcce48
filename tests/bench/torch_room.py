"""The torch room: reading slates, training the default ranker, scoring, against the same work without recspark."""

from __future__ import annotations

from contextlib import closing

from tests.bench import ranking
from tests.bench.rows import Check, Measured, compare
from tests.bench.session import Bench
from tests.bench.sides import Side
from tests.bench.slates import N_SLOTS, write_slates

# recspark's seconds over the peer's: what is aimed at.
DECODE_TARGET, MEMORY_TARGET, PLAIN_TARGET, TWO_TARGET = 1.1, 1 / 0.9, 1.0, 1 / 1.5
WAITING_TARGET = 0.05
PLAIN = "plain PyTorch, DataLoader from memory"
# What fits in memory as tensors beside everything else.
MOST_IN_MEMORY = 100_000
# A table of so many rows, of the default ranker's embedding size.
N_TABLE, TABLE_SIZE, TABLE_STEPS = 10_000_000, 16, 20


def _both(measured: tuple[list[Measured], list[Measured]]) -> dict[str, list[Measured]]:
    return {"ours_measured": measured[0], "peer_measured": measured[1]}


def _seconds(runs: list[Measured]) -> list[float]:
    return [run.seconds for run in runs]


def _side(bench: Bench) -> Side:
    """A process for recspark's side, without Spark."""
    return bench.sides.enter_context(closing(Side()))


def _data(n: int) -> str:
    return f"{n:,} slates of {N_SLOTS}"


def _losses_agree(own: list[Measured], other: list[Measured], tolerance: float = 0.02) -> Check:
    """Of the first epoch: the same model and data in two orders."""
    ours, peer = own[-1].result["loss"], other[-1].result["loss"]
    return Check(abs(ours - peer) <= tolerance * peer, f"loss {ours:.4f} against {peer:.4f}")


def bench_loader(bench: Bench, n: int) -> None:
    """Row groups to arrays; and how long training waits for its batches."""
    own, folder, few = _side(bench), str(bench.folder), min(n, MOST_IN_MEMORY)
    bench.now(f"world: {_data(n)}")
    for size in {n, few}:
        bench.peer.call(write_slates, folder, size)
    for side, how in ((own, "recspark"), (bench.peer, "pyarrow"), (bench.peer, "petastorm")):
        side.call(ranking.decode, folder, few, how)  # imports, and the files into the machine's cache: in no figure
    for how, target in (("pyarrow", DECODE_TARGET), ("petastorm", None)):
        name = {"pyarrow": "pyarrow alone", "petastorm": "Petastorm's batch reader"}[how]
        measured = bench.rounds(
            f"row groups to arrays, against {name}",
            lambda: own.measure(ranking.decode, folder, few, "recspark"),
            lambda how=how: bench.peer.measure(ranking.decode, folder, few, how),
        )
        same = measured[0][-1].result == measured[1][-1].result
        check = Check(same, f"{measured[0][-1].result['rows']:,} rows on both sides" if same else "other rows")
        label = "row groups to arrays, through Petastorm"
        bench.add(compare(label, *map(_seconds, measured), name, target=target, check=check, data=_data(few), **_both(measured)))
    measured = bench.rounds(
        "an epoch from files and from memory",
        lambda: own.measure(ranking.train, folder, few, bench.cores),
        lambda: bench.peer.measure(ranking.train_from_memory, folder, few, bench.cores),
    )
    check = _losses_agree(*measured)
    bench.add(
        compare(
            "an epoch of the default ranker, from files",
            *map(_seconds, measured),
            "the same from memory",
            target=MEMORY_TARGET,
            check=check,
            data=_data(few),
            **_both(measured),
        )
    )
    if n > few:
        measured = bench.rounds("an epoch from files", lambda: own.measure(ranking.train, folder, n, bench.cores))
    waiting = [run.result["waiting"] for run in measured[0]]
    bench.add(compare("share of an epoch spent waiting for batches", waiting, target=WAITING_TARGET, unit="", data=_data(n)))


def bench_train(bench: Bench, n: int) -> None:
    """Examples a second of the default ranker, on all cores and by processes; and a large table's updates."""
    own, folder = _side(bench), str(bench.folder)
    n = min(n, MOST_IN_MEMORY)
    bench.now(f"world: {_data(n)}")
    bench.peer.call(write_slates, folder, n)
    name = "an epoch of the default ranker"
    for threads in sorted({1, bench.cores}):
        measured = bench.rounds(
            f"{name}, {threads} threads",
            lambda threads=threads: own.measure(ranking.train, folder, n, threads),
            lambda threads=threads: bench.peer.measure(ranking.train_plainly, folder, n, threads),
        )
        speeds = [n / run.seconds for run in measured[0]]
        bench.say(f"  {sorted(speeds)[len(speeds) // 2]:,.0f} examples a second")
        label, check = f"{name}, one process, threads: {threads}", _losses_agree(*measured)
        bench.add(compare(label, *map(_seconds, measured), PLAIN, target=PLAIN_TARGET, check=check, data=_data(n), **_both(measured)))
    measured = bench.rounds(
        f"{name}, two processes and one",
        lambda: own.measure(ranking.train_in_processes, folder, n, 2),
        lambda: bench.peer.measure(ranking.train_in_processes, folder, n, 1),
    )
    check = _losses_agree(*measured, tolerance=1e-3)
    label = f"{name}, two processes of one core"
    bench.add(
        compare(
            label, *map(_seconds, measured), "one process of one core", target=TWO_TARGET, check=check, data=_data(n), **_both(measured)
        )
    )
    measured = bench.rounds(
        "a large table",
        lambda: own.measure(ranking.table_steps, N_TABLE, TABLE_SIZE, "rowwise", TABLE_STEPS, bench.cores),
        lambda: bench.peer.measure(ranking.table_steps, N_TABLE, TABLE_SIZE, "dense", TABLE_STEPS, bench.cores),
    )
    table = f"{N_TABLE:,} x {TABLE_SIZE}, 6,400 rows a batch"
    bench.add(
        compare("an update of an embedding table, row by row", *map(_seconds, measured), "dense AdamW", data=table, **_both(measured))
    )


def bench_score(bench: Bench, n: int) -> None:
    """Slates from files to files of scores, against the model alone; how near that is to what the machine can."""
    own, folder = _side(bench), str(bench.folder)
    bench.now(f"world: {_data(n)}")
    bench.peer.call(write_slates, folder, n)
    measured = bench.rounds(
        "scoring",
        lambda: own.measure(ranking.score, folder, n, bench.cores),
        lambda: bench.peer.measure(ranking.forward, folder, n, bench.cores),
    )
    rows = measured[0][-1].result["rows"]
    check = Check(rows == n, f"{rows:,} slates scored")
    best, gflop = bench.peer.call(ranking.peak_gflops, bench.cores), measured[1][-1].result["gflop_a_slate"]
    seconds = sorted(_seconds(measured[0]))[len(measured[0]) // 2]
    limits = {"GFlop/s": (n * gflop / seconds, best), "rows/s": (n * N_SLOTS / seconds, best / gflop * N_SLOTS)}
    name = "scoring slates, from files to files"
    bench.add(
        compare(name, *map(_seconds, measured), "the model alone", check=check, data=_data(n), limits=limits, ours_measured=measured[0])
    )
