"""Quality: the river's own jobs and metrics on public data, by published protocols, beside published figures."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from recspark.columns import FIT, SERVE, TUNE
from recspark.interactions.horizons import plan_horizons
from recspark.runtime.ledger import Ledger
from recspark.runtime.nightly import open_house, run_river
from tests.bench.archives import ARCHIVES
from tests.bench.published import TRIALS, Trial
from tests.bench.rows import machine

CONF = Path(__file__).parents[2] / "conf" / "bench"


@dataclass(frozen=True)
class Row:
    """A line of the JSON file."""

    data: str
    protocol: str
    model: str
    metric: str
    ours: float
    published: float | None
    met: bool | None
    seed: str
    minutes: float  # of the model's own jobs: fitting, and proposing to every request
    machine: str
    n: int  # requests (or rated pairs) measured
    coverage: float  # ratings: pairs predicted without a fallback; lists: items that any list shows
    reference: str


def prepare(name: str, data: Path) -> None:
    """The archive's files as the river reads them, below warehouse/bench; once."""
    folder, write = ARCHIVES[name]
    target = Path("warehouse/bench") / name / "data"
    source = data / folder if (data / folder).is_dir() else data
    if not target.exists():
        partial = target.with_name("data.partial")
        write(source, partial)
        partial.rename(target)


@dataclass(frozen=True)
class Measured:
    """What one run has measured: (source, metric, k) -> (value, n), and source -> seconds of its own jobs."""

    figures: Mapping[tuple[str, str, int], tuple[float, int]]
    seconds: Mapping[str, float]


def is_of(job: str, source: str) -> bool:
    """Whether the job is the source's own: neighbours_SOURCE and its like, or SOURCE_models."""
    return job.endswith(f"_{source}") or job == f"{source}_models"


def measure(trial: Trial, assignments: list[str], console: Console) -> Measured:
    """Run the river up to its metrics, and read them at test; of folds the mean value, and n of all together."""
    config = CONF / trial.config
    with open_house(config, "local", assignments) as house:
        run_river(
            table="metrics",
            config_file=config,
            env="local",
            as_of=None,
            assignments=assignments,
            dry_run=False,
            report=None,
            console=console,
        )
        settings = house.config.settings
        parts = plan_horizons(settings.splits, delivery=1, now=datetime.now(UTC), stored=settings.events.parts)
        horizons = [horizon.name for part, horizon in parts.items() if part not in (FIT, TUNE, SERVE)]
        ledger = Ledger(house.store, run_id="bench")
        metrics = house.store.read("metrics", ledger.versions["metrics"])
        own = metrics.where(F.col("horizon").isin(horizons) & (F.col("baseline") == "") & (F.col("slice") == "all"))
        rows = own.groupBy("model", "metric", "k").agg(F.avg("value").alias("value"), F.sum("n").alias("n")).collect()
        spent = [(job, entry.seconds) for (job, slice_), entry in ledger.entries.items() if slice_ in horizons]
        return Measured(
            {(row["model"], row["metric"], row["k"]): (row["value"], row["n"]) for row in rows},
            {source: sum(dict(one for one in spent if is_of(one[0], source)).values()) for source in settings.sources},
        )


def rows_of(trial: Trial, console: Console) -> Iterator[Row]:
    """A row a figure: of several seeds the median."""
    seeds = [str(seed) for seed in trial.seeds] or [""]
    runs = [measure(trial, [*trial.assignments, *([f"{trial.seed_of}={seed}"] if seed else [])], console) for seed in seeds]
    for figure in trial.figures:
        values = [run.figures[figure.source, figure.metric, figure.k] for run in runs]
        ours = statistics.median(value for value, _ in values)
        covered = ("rating_coverage", 0) if figure.k == 0 else ("coverage", figure.k)
        yield Row(
            data=trial.data,
            protocol=trial.protocol,
            model=figure.model,
            metric=f"{figure.metric}@{figure.k}" if figure.k else figure.metric,
            ours=ours,
            published=figure.published,
            met=figure.is_met(ours),
            seed=", ".join(seeds),
            minutes=round(statistics.median(run.seconds[figure.source] for run in runs) / 60, 2),
            machine=machine(),
            n=values[0][1],
            coverage=round(runs[0].figures[figure.source, *covered][0], 4),
            reference=figure.reference,
        )


def print_rows(rows: list[Row], console: Console) -> None:
    table = Table(title=f"Ours beside the published figures ({machine()})", title_justify="left")
    for name in ("data", "protocol", "model", "metric", "ours", "published", "met", "n", "coverage", "seeds", "minutes", "from"):
        table.add_column(name, justify="right" if name in ("ours", "published", "n", "coverage", "minutes") else "left")
    marks = {True: "[green]yes[/]", False: "[bold red]no[/]", None: ""}
    for row in rows:
        published = "" if row.published is None else f"{row.published:.4f}"
        figures = (f"{row.ours:.4f}", published, marks[row.met], f"{row.n:,}", f"{row.coverage:.3f}", row.seed, f"{row.minutes:.1f}")
        table.add_row(row.data, row.protocol, row.model, row.metric, *figures, row.reference)
    console.print(table)


def quality(
    name: Annotated[str, typer.Argument(help=f"{', '.join(ARCHIVES)}, or all.")],
    data: Annotated[Path, typer.Option(help="The folder that the archives were unpacked into.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the rows.")] = None,
    only: Annotated[str, typer.Option(help="Only configurations whose name contains this.")] = "",
) -> None:
    """Run conf/bench/NAME*.yaml on public data, and print what is measured beside what is published. Exit code 1 where an aim is missed."""
    if name not in (*ARCHIVES, "all"):
        raise typer.BadParameter(f"{name!r} is none of {', '.join(ARCHIVES)}, all")
    console = Console(width=None if os.isatty(1) else 200)
    rows: list[Row] = []
    for trial in TRIALS:
        if name in (trial.data, "all") and only in trial.config:
            prepare(trial.data, data)
            rows += rows_of(trial, console)
            if json_file:  # after each: a long bench that is stopped has what it measured
                json_file.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print_rows(rows, console)
    if not rows or not all(row.met is not False for row in rows):
        raise typer.Exit(1)
