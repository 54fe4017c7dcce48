"""Quality: the river's own jobs and metrics on public data, by published protocols, beside published figures."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from recspark.columns import FIT, SERVE, TUNE
from recspark.interactions.horizons import plan_horizons
from recspark.runtime.ledger import Ledger
from recspark.runtime.nightly import House, open_house, run_river
from tests.bench.archives import ARCHIVES
from tests.bench.published import TRIALS, Figure, Trial

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


def machine() -> str:
    """Cores, processor and memory; no names."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} x {model}, {gigabytes:.0f} GiB"


def prepare(name: str, data: Path) -> None:
    """The archive's files as the river reads them, below warehouse/bench; once."""
    folder, write = ARCHIVES[name]
    target = Path("warehouse/bench") / name / "data"
    source = data / folder if (data / folder).is_dir() else data
    if not target.exists():
        partial = target.with_name("data.partial")
        write(source, partial)
        partial.rename(target)


def measured(trial: Trial, assignments: list[str], console: Console) -> tuple[dict[tuple[str, str, int], tuple[float, int]], House, Ledger]:
    """Run the river up to its metrics; (source, metric, k) -> (value, n) at test, or the mean over the folds and the sum of n."""
    config = CONF / trial.config
    with open_house(config, "local", assignments) as house:
        run_river(
            table="metrics", config_file=config, env="local", as_of=None, assignments=assignments, dry_run=False, report=None, console=console
        )
        settings = house.config.settings
        parts = plan_horizons(settings.splits, delivery=1, now=datetime.now(UTC), stored=settings.events.parts)
        horizons = [horizon.name for part, horizon in parts.items() if part not in (FIT, TUNE, SERVE)]
        ledger = Ledger(house.store, run_id="bench")
        metrics = house.store.read("metrics", ledger.versions["metrics"])
        own = metrics.where(F.col("horizon").isin(horizons) & (F.col("baseline") == "") & (F.col("slice") == "all"))
        rows = own.groupBy("model", "metric", "k").agg(F.avg("value").alias("value"), F.sum("n").alias("n")).collect()
        return {(row["model"], row["metric"], row["k"]): (row["value"], row["n"]) for row in rows}, house, ledger
