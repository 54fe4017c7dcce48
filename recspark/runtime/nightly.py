"""One run from the command line to the published tables: configuration, session, deliveries, horizons, river, summary."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.console import Console

from recspark.columns import FIT, SERVE, TEST, TUNE
from recspark.errors import ConfigError, StoreError
from recspark.runtime import config as configuration
from recspark.runtime.config import Config
from recspark.runtime.deliveries import Intake
from recspark.runtime.inputs import Inputs, Scope
from recspark.runtime.job import Job, find_jobs, in_flow_order
from recspark.runtime.ledger import Entry, Ledger
from recspark.runtime.parts import give_parts
from recspark.runtime.progress import RiverProgress
from recspark.runtime.river import River
from recspark.runtime.session import start_session
from recspark.runtime.store import Store
from recspark.runtime.torch_jobs import TorchRunner
from recspark.tables import TABLES

DELIVERED = ("interactions", "quarantine", "intake")
PUBLISHED = ("recommendations", "similar_items")


@dataclass
class House:
    """An opened warehouse: what every command needs."""

    config: Config
    jobs: dict[str, Job]
    spark: SparkSession
    store: Store
    ledger: Ledger


@contextmanager
def open_house(config_file: str | Path | None, env: str, assignments: Sequence[str]) -> Iterator[House]:
    """Check the configuration as a whole, then start Spark and read what is committed. Stops the session it started."""
    every_job = find_jobs()
    in_flow_order(every_job.values())
    raw = configuration.load_layers(str(config_file) if config_file else None, env, assignments)
    config = configuration.check(raw, every_job)
    jobs = _switched_on(every_job, config)
    running = SparkSession.getActiveSession()
    spark = start_session({key: str(value) for key, value in config.settings.spark.items()})
    try:
        store = Store(spark, _absolute(config.settings.warehouse), config.settings.catalog)
        yield House(config, jobs, spark, store, Ledger(store, run_id=_new_run_id()))
    finally:
        if running is None:
            spark.stop()


def _switched_on(jobs: dict[str, Job], config: Config) -> dict[str, Job]:
    """Jobs whose section is not null, whose source is configured, and (candidate sources) that `sources` names."""
    settings = config.settings

    def is_on(job: Job) -> bool:
        if job.name not in config.jobs:
            return False
        if job.writes.name == "source_candidates":
            return job.slice["source"] in settings.sources
        missing = [name for name in ("items", "users") if getattr(settings, name) is None]
        return not any(getattr(one.marker, "name", None) in missing for one in job.inputs if one.table is None)

    return {name: job for name, job in jobs.items() if is_on(job)}


def _absolute(warehouse: str) -> str:
    return warehouse if "://" in warehouse or warehouse.startswith(("dbfs:", "/")) else str(Path(warehouse).absolute())


def _new_run_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


def run_river(
    *,
    table: str | None,
    config_file: str | Path | None,
    env: str,
    as_of: str | None,
    assignments: Sequence[str],
    dry_run: bool,
    report: Path | None,
    console: Console,
) -> dict[str, Any]:
    """Bring `table` (a table or a job; None: all that is published) up to date; print, write the report, return the summary.

    Raises:
        RecsparkError: whatever is wrong that the reader can mend; GateError when a gate refused to publish.
    """
    started = monotonic()
    with open_house(config_file, env, assignments) as house:
        settings = house.config.settings
        now = (settings.now or datetime.now(UTC)).replace(tzinfo=None)
        intake = Intake(house.store, house.ledger, settings)
        inputs = Inputs(
            house.store, house.ledger, house.jobs, intake, repeats=settings.repeats, published_rows=settings.limits.published_rows
        )
        with RiverProgress(total=len(house.jobs), console=console) as progress:
            runner = TorchRunner(house.spark, house.store, settings.torch, progress)
            river = River(house.config, house.jobs, house.store, house.ledger, inputs, progress, now=now, run_torch=runner.run)
            _take_deliveries(river, intake, house.ledger, progress.note, dry=dry_run)
            inputs.parts = give_parts(settings.split, inputs, intake, house.ledger, as_of=as_of, now=now)
            for part, horizon in inputs.parts.items():
                progress.note(f"{part}: horizon {horizon.name}")
            outcome = river.run(_targets(table, house, inputs), dry=dry_run)
        if dry_run:
            console.print(f"would run: {', '.join(outcome.ran) or 'nothing, all is up to date'}")
            return {"would_run": list(outcome.ran), "up_to_date": outcome.skipped}
        return _conclude(house, inputs, outcome, seconds=monotonic() - started, report=report, console=console, whole=table is None)


def _take_deliveries(river: River, intake: Intake, ledger: Ledger, note: Any, *, dry: bool) -> None:
    """Finish the delivery that an earlier run left unfinished, then take what is new."""
    while True:
        is_new = intake.discover()
        note(intake.message)
        scope = Scope("delivery", intake.delivery)
        unfinished = any(ledger.entry(name, scope.slice) is None for name in DELIVERED)
        if unfinished:
            river.run([(name, scope) for name in DELIVERED], dry=dry)
        if is_new or not unfinished or dry:
            return


def _targets(table: str | None, house: House, inputs: Inputs) -> list[tuple[str, Scope]]:
    serve = inputs.parts[SERVE]
    once = Scope("once", serve.delivery, serve)
    if table is None:
        measured = [inputs.parts[part] for part in (TUNE, TEST) if part in inputs.parts and inputs.parts[part].closed]
        wanted = [("metrics", Scope("horizon", horizon.delivery, horizon)) for horizon in measured]
        return [*wanted, *((name, once) for name in PUBLISHED)]
    known = {job.writes.name: job.writes for job in house.jobs.values()} | {job.name: job.writes for job in house.jobs.values()}
    if table not in known:
        raise ConfigError(f"no table or job {table!r} in this configuration; there are: {', '.join(sorted(known))}")
    of = known[table]
    if "delivery" in of.column_names:
        return [(of.name, Scope("delivery", inputs.intake.delivery))]
    if "horizon" not in of.slices:
        return [(of.name, once)]
    parts = [FIT] if of.name == "rankers" else [TUNE, TEST] if of.name in ("labels", "metrics", "predictions") else list(inputs.parts)
    horizons = [inputs.parts[part] for part in parts if part in inputs.parts]
    if of.name == "champion":
        horizons = [serve]
    return [(of.name, Scope("horizon", horizon.delivery, horizon)) for horizon in horizons]
