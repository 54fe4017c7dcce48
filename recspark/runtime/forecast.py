"""`recspark preflight`: what every expensive job of a run would take, as a table, before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from recspark.preflight.models import MODELS
from recspark.preflight.verdict import Verdict, count, duration, refusal_of
from recspark.preflight.work import size
from recspark.runtime.calibration import rates_of
from recspark.runtime.deliveries import DELIVERED, Intake
from recspark.runtime.doctor import check_warehouse
from recspark.runtime.inputs import Inputs
from recspark.runtime.job import with_needs
from recspark.runtime.nightly import open_house, take_deliveries, targets_of
from recspark.runtime.parts import give_parts
from recspark.runtime.preflight import Preflight
from recspark.runtime.progress import RiverProgress
from recspark.runtime.river import River
from recspark.runtime.session import require
from recspark.tables import NEXT_ITEM_MODELS, RANKERS


def forecast(
    *, config_file: str | Path | None, env: str, as_of: str | None, assignments: Sequence[str], calibrate: bool, console: Console
) -> dict[str, Any]:
    """Print what the expensive jobs of a whole run would take at each horizon; return it as data, with whether any is refused.

    Where no event has been read yet, they are read first, as a run would: cleaned, indexed and committed. Nothing else is written.

    Raises:
        SourceError: the events cannot be read as configured.
    """
    with open_house(config_file, env, assignments, as_of=as_of) as house:
        if calibrate:
            rates = rates_of(house.spark, house.store.warehouse, anew=True)
            a_slot = ", ".join(f"{name} {count(rate)}" for name, rate in rates._asdict().items() if name not in ("start", "stage"))
            console.print(
                f"a slot does, a second: {a_slot}; a job takes {duration(rates.start)}, and {duration(rates.stage)} at each horizon, of no rows",
                highlight=False,
                soft_wrap=True,
            )
        settings = house.config.settings
        intake = Intake(house.store, house.ledger, settings)
        inputs = Inputs(
            house.store, house.ledger, house.jobs, intake, repeats=settings.repeats, published_rows=settings.limits.published_rows
        )
        now = settings.now or datetime.now(UTC).replace(tzinfo=None)
        with RiverProgress(console) as progress:
            river = River(house.config, house.jobs, house.store, house.ledger, inputs, progress, now=now, run_torch=lambda *_: [])
            if "interactions" not in house.ledger.versions:
                require(next(check_warehouse(settings.warehouse)))
                progress.note("no event was read yet: they are read first, and stay for the run")
                progress.expect(with_needs(DELIVERED, house.jobs.values()))
                take_deliveries(river, intake, progress.note, dry=False)
        intake.discover(commit=False)
        inputs.parts = give_parts(settings.splits, inputs, house.ledger, now=now, note=progress.note, stored=settings.events.parts)
        planned = river.plan(targets_of(None, house, inputs))
        preflight = Preflight(house.config, inputs)
        judged = {
            name: {scope.slice: preflight.judge(name, scope) for scope in scopes} for name, scopes in planned.items() if name in MODELS
        }
        found = [(horizon, verdict) for verdicts in judged.values() for horizon, verdict in verdicts.items()]
        rows = [
            {"job": verdict.job, "horizon": horizon, **verdict.figures, "refusal": verdict.refusal, "origin": verdict.origin}
            for horizon, verdict in found
        ]
        console.print(_table(found))
        refusals = {name: why for name, verdicts in judged.items() if (why := refusal_of(verdicts))}
        for name, why in refusals.items():
            console.print(f"[bold red]refused[/] {name}: {why}", highlight=False, soft_wrap=True)
        once = "jobs that pass over their rows once"
        for trained, rows_of in ((RANKERS.name, "slates"), (NEXT_ITEM_MODELS.name, "sequences")):
            if trained in planned:
                epochs = getattr(house.config.jobs[trained], "epochs")  # noqa: B009
                once = f"the training of {trained} (up to {epochs} epochs over the {rows_of} at fit; each tells its time), {once}"
        console.print(f"not forecast: {once}", highlight=False, soft_wrap=True)
        limits = preflight.limits
        return {
            "forecasts": rows,
            "refused": bool(refusals),
            "not_forecast": [name for name in planned if name not in MODELS],
            "rates": preflight.rates._asdict(),
            "slots": preflight.place.n_slots,
            "limits": {name: getattr(limits, name) for name in limits._fields if name != "origins"},
        }


def _table(found: Sequence[tuple[str, Verdict]]) -> Table:
    table = Table(title="what the expensive jobs would take")
    table.add_column("job", no_wrap=True)
    for heading in ("horizon", "work"):
        table.add_column(heading)
    for heading in ("flop", "time", "shuffled", "a task", "the driver"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for horizon, verdict in found:
        work = verdict.work
        chosen = ", ".join(f"{name} {value}" for name, value in verdict.chosen.items())
        words = "[bold red]refused[/]" if verdict.refusal else ("fits" + (f": {chosen}" if chosen else ""))
        figures = (
            count(work.flops),
            duration(verdict.seconds),
            *(size(n) for n in (work.shuffle_bytes, work.task_bytes, work.driver_bytes)),
        )
        table.add_row(verdict.job, horizon, f"{count(work.pairs)} {work.unit}", *figures, words)
    origins = dict.fromkeys(verdict.origin for _, verdict in found)
    table.caption = f"events: {', '.join(origins)}"
    return table
