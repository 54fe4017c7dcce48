"""`python -m tests.bench`: what scripts/bench runs once the packages are there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

# Before numpy is loaded, here and in the processes started from here: both sides' threads are their own, BLAS adds none.
os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import typer
from rich.console import Console

from tests.bench import cluster, growth, speed, torch_room
from tests.bench.data import ml20m
from tests.bench.quality import quality
from tests.bench.rows import markdown_table, read_json, screen_table, write_json
from tests.bench.session import Bench, open_bench

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown")

Scale = Annotated[float, typer.Option(help="Times the default world of 138,000 users x 26,700 items, 16.4 M pairs; users and pairs scale.")]
Runs = Annotated[int, typer.Option(min=1, help="Runs of each side, in turn; medians count.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the rows to this file.")]
Cores = Annotated[int, typer.Option(min=1, help="local[N] for Spark, N threads for implicit.")]
Memory = Annotated[str, typer.Option(help="Of Spark's JVM.")]
SlateScale = Annotated[float, typer.Option(help="Times a million slates of 100 candidates; at 1 their files take some 3 GB.")]
WithMllib = Annotated[bool, typer.Option("--with-mllib", help="Measure MLlib too, at a size that it bears: slow.")]


def _bench(work: Callable[[Bench], None], cores: int, runs: int, memory: str, json: Path | None) -> None:
    """Runs `work`, shows its rows and writes them, also what was measured before a failure; exit code 1 where a row is not as it should be."""
    console, screen = Console(stderr=True), Console()
    if not screen.is_terminal:
        screen.width = 160
    bench: Bench | None = None
    try:
        with open_bench(cores, runs, memory, console) as bench:
            work(bench)
    finally:
        if bench is not None and bench.rows:
            screen.print(screen_table(bench.rows))
            if json is not None:
                write_json(bench.rows, json)
    if any(row.met is False or row.agrees is False for row in bench.rows):
        raise typer.Exit(1)


@app.callback()
def _main() -> None:
    """Quality on public data beside published figures; speed against implicit and MLlib, on generated worlds, same data and cores.

    Strict ratios set recspark from Parquet files against the peer from arrays in memory. Spark's start-up is told apart; compiling is done
    in a warm-up before anything is timed. Exit code 1 where a target is missed or the outputs do not agree.

        scripts/bench als --json als.json             # default world, rank 64 and 128
        scripts/bench similarity --scale 0.1 --runs 1 # a tenth of the users
        scripts/bench topk --no-mllib
        scripts/bench growth
        scripts/bench loader --scale 1                # a million slates; also train, score
        scripts/bench quality gowalla --data FOLDER   # conf/bench/gowalla.yaml on the unpacked archive
        scripts/bench table als.json                  # the rows as Markdown
    """


@app.command()
def als(
    scale: Scale = 1.0,
    runs: Runs = 3,
    json: Json = None,
    rank: Annotated[list[int] | None, typer.Option(help="Once for each rank.")] = None,
    with_mllib: WithMllib = True,
    mllib_scale: Annotated[float, typer.Option(help="Share of the world that MLlib gets.")] = 0.1,
    cores: Cores = 2,
    memory: Memory = "3g",
) -> None:
    """Seconds of an iteration of implicit ALS, against implicit (conjugate gradients) and MLlib."""
    size = ml20m(scale * mllib_scale) if with_mllib else None
    _bench(lambda bench: speed.bench_als(bench, ml20m(scale), ranks=tuple(rank or (64, 128)), mllib_size=size), cores, runs, memory, json)


@app.command()
def similarity(
    scale: Scale = 1.0,
    runs: Runs = 3,
    json: Json = None,
    users_scale: Annotated[float, typer.Option(help="Share of the world for user-user.")] = 0.3,
    cores: Cores = 2,
    memory: Memory = "3g",
) -> None:
    """Item-item and user-user cosine, K = 100, against implicit's CosineRecommender."""
    _bench(lambda bench: speed.bench_similarity(bench, ml20m(scale), ml20m(scale * users_scale)), cores, runs, memory, json)


@app.command()
def topk(
    scale: Scale = 1.0,
    runs: Runs = 3,
    json: Json = None,
    rank: Annotated[int, typer.Option(help="Factors.")] = 64,
    with_mllib: WithMllib = True,
    cores: Cores = 2,
    memory: Memory = "3g",
) -> None:
    """The 100 best unknown items of every user, against implicit's recommend and MLlib's recommendForAllUsers."""
    _bench(lambda bench: speed.bench_topk(bench, ml20m(scale), rank=rank, with_mllib=with_mllib), cores, runs, memory, json)


@app.command(name="growth")
def growth_(scale: Scale = 1.0, runs: Runs = 3, json: Json = None, cores: Cores = 2, memory: Memory = "3g") -> None:
    """Seconds of all three at a tenth, a third and the whole of the world; and the driver's memory, on a standalone cluster."""

    def work(bench: Bench) -> None:
        growth.bench_growth(bench, scale)
        cluster.bench_driver_memory(bench, scale)

    _bench(work, cores, runs, memory, json)


@app.command(name="cluster")
def cluster_(scale: Scale = 0.5, runs: Runs = 3, json: Json = None) -> None:
    """ALS and similarity on a standalone cluster of this machine: two workers of one core against one, and the same tables."""
    _bench(lambda bench: cluster.bench_cluster(bench, ml20m(scale)), 2, runs, "1g", json)


@app.command()
def loader(scale: SlateScale = 0.03, runs: Runs = 3, json: Json = None, cores: Cores = 2) -> None:
    """Slates from files to the default ranker: against pyarrow alone, against memory, and what training waits."""
    _bench(lambda bench: torch_room.bench_loader(bench, round(scale * 1_000_000)), cores, runs, "1g", json)


@app.command()
def train(scale: SlateScale = 0.03, runs: Runs = 3, json: Json = None, cores: Cores = 2) -> None:
    """Epochs of the default ranker against plain PyTorch from memory, on one process and on two; and updates of a table of 10 M rows."""
    _bench(lambda bench: torch_room.bench_train(bench, round(scale * 1_000_000)), cores, runs, "1g", json)


@app.command()
def score(scale: SlateScale = 1.0, runs: Runs = 1, json: Json = None, cores: Cores = 2) -> None:
    """1 M slates of 100 from files to files of scores: rows a second, and the share of the machine's limit."""
    _bench(lambda bench: torch_room.bench_score(bench, round(scale * 1_000_000)), cores, runs, "1g", json)


app.command()(quality)


@app.command()
def table(files: Annotated[list[Path], typer.Argument(help="What --json wrote.")]) -> None:
    """The rows of some files as a Markdown table."""
    print(markdown_table([row for file in files for row in read_json(file)]))


if __name__ == "__main__":
    app(prog_name="scripts/bench")
