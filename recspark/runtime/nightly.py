"""One run from the command line to the published tables: configuration, session, deliveries, horizons, river, summary."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.console import Console

from recspark.columns import FIT, SERVE
from recspark.errors import GateError, UsageError
from recspark.handover.files import read_whole, write_whole
from recspark.preflight.models import MODELS
from recspark.runtime import config as configuration
from recspark.runtime.config import Config
from recspark.runtime.deliveries import DELIVERED, Intake
from recspark.runtime.doctor import check_warehouse
from recspark.runtime.inputs import Inputs, Scope
from recspark.runtime.job import TABLES_BY_NAME, Job, find_jobs, in_flow_order, with_needs
from recspark.runtime.ledger import Ledger
from recspark.runtime.parts import give_parts, with_as_of
from recspark.runtime.preflight import ACTIVITY
from recspark.runtime.printout import print_summary
from recspark.runtime.progress import RiverProgress
from recspark.runtime.report import render_report
from recspark.runtime.river import Outcome, River
from recspark.runtime.session import require, start_session
from recspark.runtime.store import Store
from recspark.runtime.summary import build_summary
from recspark.runtime.switches import PUBLISHED, switched_on
from recspark.runtime.torch_jobs import TorchRunner

# Tables with horizons that only the one that is served needs.
SERVED_ONLY = ("champion", "staged_recommendations", "gates")


@dataclass
class House:
    """An opened warehouse: what every command needs."""

    config: Config
    jobs: dict[str, Job]
    spark: SparkSession
    store: Store
    ledger: Ledger


@contextmanager
def open_house(
    config_file: str | Path | None,
    env: str,
    assignments: Sequence[str],
    *,
    as_of: str | None = None,
    table: str | None = None,
    writes: bool = False,
) -> Iterator[House]:
    """Check the configuration as a whole, then start Spark and read what is committed. Stops the session it started.

    `table`: the table or job that is wanted, where one is.
    """
    every_job = find_jobs()
    in_flow_order(every_job.values())
    raw = configuration.load_layers(str(config_file) if config_file else None, env, assignments)
    config = configuration.check(raw, every_job)
    config.settings.splits = with_as_of(config.settings.splits, as_of)
    jobs = switched_on(every_job, config)
    known = {job.writes.name for job in jobs.values()} | jobs.keys()
    if table is not None and table not in known:
        raise UsageError(f"no table or job {table!r} in this configuration; there are: {', '.join(sorted(known))}")
    if writes:
        require(next(check_warehouse(config.settings.warehouse)))
    running = SparkSession.getActiveSession()
    spark = start_session(config.settings.spark)
    try:
        store = Store(spark, absolute(config.settings.warehouse), config.settings.catalog)
        yield House(config, jobs, spark, store, Ledger(store, run_id=_new_run_id()))
    finally:
        if running is None:
            spark.stop()


def absolute(warehouse: str) -> str:
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
    with open_house(config_file, env, assignments, as_of=as_of, table=table, writes=not dry_run) as house:
        settings = house.config.settings
        now = _in_utc(settings.now or datetime.now(UTC))
        intake = Intake(house.store, house.ledger, settings)
        inputs = Inputs(
            house.store, house.ledger, house.jobs, intake, repeats=settings.repeats, published_rows=settings.limits.published_rows
        )
        with _Forecast(console) if dry_run else RiverProgress(console) as progress:
            runner = TorchRunner(house.spark, settings.torch, progress)
            river = River(house.config, house.jobs, house.store, house.ledger, inputs, progress, now=now, run_torch=runner.run)
            progress.expect(_likely(table, house.jobs))
            take_deliveries(river, intake, progress.note, dry=dry_run)
            if dry_run and (settings.splits.needs_times or settings.events.parts) and "interactions" not in house.ledger.versions:
                progress.note(f"delivery {intake.delivery} must be read first: what else would run follows from its events")
                return {"would_run": list(river.outcome.ran), "up_to_date": river.outcome.skipped}
            inputs.parts = give_parts(settings.splits, inputs, house.ledger, now=now, note=progress.note, stored=settings.events.parts)
            for part, horizon in inputs.parts.items():
                progress.note(f"{part}: horizon {horizon.name}")
            refused = ""
            targets = targets_of(table, house, inputs)
            progress.expect(river.plan(targets))
            try:
                river.run(targets, dry=dry_run)
            except GateError as error:
                if table is not None:
                    raise
                refused = str(error)
            outcome = river.outcome
        if dry_run:
            console.print(f"{len(outcome.ran)} jobs would run, {len(outcome.skipped)} are up to date; nothing was written")
            return {"would_run": list(outcome.ran), "up_to_date": outcome.skipped}
        seconds = monotonic() - started
        if table is not None:
            ran = ", ".join(f"{name} ({took:.0f} s)" for name, took in outcome.ran.items())
            console.print(f"ran: {ran or 'nothing, all was up to date'}")
            return {"ran": outcome.ran, "up_to_date": outcome.skipped, "run_id": house.ledger.run_id, "seconds": seconds}
        summary = _conclude(house, inputs, outcome, refused, seconds=seconds, report=report, console=console)
        if refused:
            raise GateError(f"{refused}; the report shows what was measured: {summary['report']}")
        return summary


def _in_utc(at: datetime) -> datetime:
    """UTC without a zone, as the run records its times; a time without a zone is UTC."""
    return at.replace(tzinfo=None) if at.tzinfo is None else at.astimezone(UTC).replace(tzinfo=None)


class _Forecast(RiverProgress):
    """A dry run's lines: what would run, and nothing that looks done."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)

    def start(self, job: str, horizons: Sequence[str] = ()) -> None:
        self.note(f"would run {job}" + (f" at {', '.join(horizons)}" if any(horizons) else ""))

    def done(self, job: str, wrote: str, seconds: float) -> None:
        pass

    def skip(self, job: str) -> None:
        pass


def _likely(table: str | None, jobs: dict[str, Job]) -> set[str]:
    """The jobs that a run will come by, before its horizons are known: so that it counts its steps from the first one on."""
    found = with_needs({*DELIVERED, *((table,) if table else ("metrics", *PUBLISHED))}, jobs.values())
    return found | ({ACTIVITY} & jobs.keys() if found & MODELS.keys() else set())


def take_deliveries(river: River, intake: Intake, note: Callable[[str], None], *, dry: bool) -> None:
    """Finish the delivery that an earlier run left unfinished, then take what is new."""
    while True:
        is_new = intake.discover(commit=not dry)
        note(intake.message)
        unfinished = not intake.is_finished(intake.delivery)
        if unfinished:
            scope = Scope("delivery", intake.delivery)
            river.run([(name, scope) for name in DELIVERED], dry=dry)
        if is_new or not unfinished or dry:
            break
    if not dry:
        intake.refuse_if_nothing_was_kept()


def targets_of(table: str | None, house: House, inputs: Inputs) -> list[tuple[str, Scope]]:
    """What must be up to date in the end: `table`, a table or a job, at the horizons where it is wanted; None: all that is published."""
    serve = inputs.parts[SERVE]
    once = Scope("once", serve.delivery, serve)
    # Every part that something is held out for, but the one that rankers learn from.
    judging = [part for part in inputs.parts if part not in (FIT, SERVE)]
    if table is None:
        measured = [inputs.parts[part] for part in judging if inputs.parts[part].closed]
        wanted = [("metrics", Scope("horizon", horizon.delivery, horizon)) for horizon in measured]
        return [*wanted, *((name, once) for name in PUBLISHED)]
    known = {job.writes.name: job.writes for job in house.jobs.values()} | {job.name: job.writes for job in house.jobs.values()}
    of = known[table]
    if "delivery" in of.column_names:
        return [(table, Scope("delivery", inputs.intake.delivery))]
    if "horizon" not in of.slices:
        return [(table, once)]
    parts = judging if of.name in ("labels", "metrics", "predictions") else list(inputs.parts)
    if of.name == "rankers" or (of.name in ("next_item_models", "sequences") and FIT in inputs.parts):
        parts = [FIT]
    horizons = [inputs.parts[part] for part in parts if part in inputs.parts]
    if of.name in SERVED_ONLY:
        horizons = [serve]
    return [(table, Scope("horizon", horizon.delivery, horizon)) for horizon in horizons]


def _conclude(
    house: House, inputs: Inputs, outcome: Outcome, refused: str, *, seconds: float, report: Path | None, console: Console
) -> dict[str, Any]:
    """Print what a person wants to see, write the report, and return the same as data. An idle run shows the last summary.

    `refused`: why a gate did not let the lists go live, or empty.
    """
    kept = f"{house.store.warehouse}/summary.json"
    summary = _kept_summary(kept, house.ledger.sequence)
    if summary is None:
        runs = [vars(entry) for entry in house.ledger.entries.values() if entry.run_id == house.ledger.run_id]
        parts = {part: horizon.name for part, horizon in inputs.parts.items()}
        summary = build_summary(reader_of(house, inputs), parts, runs, seconds, house.store.warehouse)
        summary["refused"] = refused
        summary["sequence"] = house.ledger.sequence
        write_whole(kept, json.dumps(summary).encode())
    page = str(report) if report else f"{house.store.warehouse}/report.html"
    write_whole(page, render_report(summary).encode())
    summary |= {"run_id": house.ledger.run_id, "seconds": seconds, "ran": outcome.ran, "up_to_date": outcome.skipped, "report": page}
    summary["tables"] = {name: house.store.location(name) for name in house.ledger.versions}
    print_summary(summary, console)
    console.print(f"\ntables: {house.store.location('recommendations')} and {len(summary['tables']) - 1} more beside it")
    console.print(f"report: {page}")
    console.print(f"{len(outcome.ran)} jobs ran, {len(outcome.skipped)} were up to date; {seconds:.0f} s")
    return summary


def _kept_summary(place: str, sequence: int) -> dict[str, Any] | None:
    """The last summary, where it is of the state of now. What is no JSON is none: it is made anew."""
    try:
        summary: dict[str, Any] = json.loads(read_whole(place) or b"{}")
    except ValueError:
        return None
    return summary if summary.get("sequence") == sequence else None


def reader_of(house: House, inputs: Inputs) -> Callable[..., DataFrame | None]:
    """`read(table, part)`: the committed rows of a table, at the horizon of a part where it has horizons; None where there are none."""

    def read(table_name: str, part: str | None = None) -> DataFrame | None:
        if table_name not in house.ledger.versions:
            return None
        frame = inputs.table(table_name)
        if part is None or "horizon" not in TABLES_BY_NAME[table_name].slices:
            return frame
        if part not in inputs.parts:
            return None
        frame = frame.where(F.col("horizon") == inputs.parts[part].name)
        return None if frame.isEmpty() else frame

    return read
