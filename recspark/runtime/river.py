"""The river: which jobs are stale at which slices, in which order they run, and what is committed when one is done.

A job at a slice is up to date when the ledger holds its fingerprint: the hash of its code, its parameters and the
fingerprints of what it reads. Nothing is compared by time or by a table's latest version.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.errors import GateError
from recspark.handover.files import remove
from recspark.preflight.models import MODELS
from recspark.preflight.verdict import Verdict
from recspark.runtime.accounts import account_of_source, accounts_of, source_errors
from recspark.runtime.config import Config
from recspark.runtime.inputs import Inputs, Scope, digest
from recspark.runtime.job import WRITTEN_BY_THE_RIVER, Job, in_flow_order, needed_jobs
from recspark.runtime.ledger import Entry, Ledger, claim
from recspark.runtime.preflight import ACTIVITY, Preflight
from recspark.runtime.progress import Progress
from recspark.runtime.session import n_slots
from recspark.runtime.store import Store, own_errors
from recspark.runtime.watching import call_watched
from recspark.tables.contract import SHARD, SHARD_ROWS, check_rows, conform, function_name
from recspark.tables.horizon import Horizon
from recspark.tables.lineage import Clock, EarlierRows, Facts, Folder, TaskSlots

GATES = "gates"
RECOMMENDATIONS = "recommendations"
INTAKE = "intake"


@dataclass
class Outcome:
    """What a run did: jobs that ran (with seconds) and jobs that were up to date."""

    ran: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


class River:
    """Runs jobs until the wanted tables are up to date."""

    def __init__(
        self,
        config: Config,
        jobs: Mapping[str, Job],
        store: Store,
        ledger: Ledger,
        inputs: Inputs,
        progress: Progress,
        *,
        now: datetime,
        run_torch: Callable[[Job, Sequence[Mapping[str, Any]], Sequence[str]], list[DataFrame]],
    ) -> None:
        self.config, self.store, self.ledger, self.inputs = config, store, ledger, inputs
        self.jobs = in_flow_order(jobs.values())
        self._by_name = {job.name: job for job in self.jobs}
        self._progress, self._now, self._run_torch = progress, now, run_torch
        self._preflight = Preflight(config, inputs, progress.note)
        self.outcome = Outcome()

    # ---- what is wanted

    def plan(self, targets: Iterable[tuple[str, Scope]]) -> dict[str, list[Scope]]:
        """Every slice of every job that the targets, tables or jobs, need, jobs in flow order. A job is that one slice of its table."""
        wanted: dict[str, dict[str, Scope]] = {}
        for name, scope in targets:
            for job in [self._by_name[name]] if name in self._by_name else self.inputs.writers(name):
                self._demand(job, scope, wanted)
        order = {part.name: position for position, part in enumerate(self._horizons())}
        key = lambda scope: order.get(scope.slice, -1)  # noqa: E731
        return {job.name: sorted(wanted[job.name].values(), key=key) for job in self.jobs if job.name in wanted}

    def _horizons(self) -> list[Horizon]:
        return list(self.inputs.parts.values())

    def _demand(self, job: Job, scope: Scope, wanted: dict[str, dict[str, Scope]]) -> None:
        if scope.slice in wanted.setdefault(job.name, {}):
            return
        wanted[job.name][scope.slice] = scope
        for one in job.inputs:
            if one.table is None or one.table in WRITTEN_BY_THE_RIVER or (one.optional and not self.inputs.is_available(one, scope)):
                continue
            found = self.inputs.scope_of(one, scope)
            if found is None or one.table == job.writes.name:
                continue
            for writer in self.inputs.writers_of(one):
                self._demand(writer, found, wanted)
            for decider in self.inputs.deciders(one, scope.horizon) if scope.horizon else []:
                for writer in self.inputs.writers(decider):
                    self._demand(writer, Scope("horizon", scope.delivery, scope.horizon), wanted)
        if job.name in MODELS:
            for counts in self.inputs.writers(ACTIVITY):
                self._demand(counts, scope, wanted)

    # ---- what is stale

    def fingerprint(self, job: Job, scope: Scope) -> str:
        """Equal for equal work: what the job would read, with which code and which parameters."""
        section = self.config.jobs[job.name].model_dump(mode="json")
        horizon = scope.horizon if scope.kind == "horizon" else None
        cut = [horizon.name, str(horizon.cut), str(horizon.label_until)] if horizon and Horizon in job.injected.values() else []
        return digest([job.name, scope.slice, job.code_hash, section, cut, self._reads(job, scope)])

    def _reads(self, job: Job, scope: Scope) -> dict[str, str]:
        """Each input's fingerprint. A night gone by keeps the attributes that it was computed with, whatever they are now."""
        reads = {one.parameter: self.inputs.fingerprint(one, scope) for one in job.inputs}
        entry = self.ledger.entry(job.name, scope.slice)
        if entry is not None and scope.kind == "horizon" and scope.horizon is not None and scope.horizon.past:
            for one in job.inputs:
                found = self.inputs.scope_of(one, scope)
                if found is not None and found.kind == "once":
                    reads[one.parameter] = entry.inputs.get(one.parameter, reads[one.parameter])
        return reads

    def is_stale(self, job: Job, scope: Scope) -> bool:
        if scope.kind == "delivery":
            return self.ledger.entry(job.name, scope.slice) is None  # a delivery is read once
        entry = self.ledger.entry(job.name, scope.slice)
        if entry is None or entry.fingerprint != self.fingerprint(job, scope):
            return True
        # A live table is read at its head: what a run left there that lost, or was killed, must go.
        return job.writes.merge and self.store.head(job.writes.name) != self.ledger.versions[job.writes.name]

    # ---- running

    def run(self, targets: Iterable[tuple[str, Scope]], *, dry: bool = False) -> Outcome:
        """Bring the targets up to date, a commit a job.

        Raises:
            GateError: a gate failed; the live recommendations stay as they were.
        """
        try:
            return self._run_planned(self.plan(targets), dry)
        finally:
            self.ledger.settle()

    def _run_planned(self, planned: Mapping[str, list[Scope]], dry: bool) -> Outcome:
        waiting = {name: needed & set(planned) for name, needed in needed_jobs(self.jobs).items() if name in planned}
        for name in waiting.keys() & MODELS.keys():  # what they will take is forecast from it; they do not read it
            waiting[name] |= {ACTIVITY} & waiting.keys()
        running: dict[Future[None], str] = {}
        with ThreadPoolExecutor(max_workers=self.config.settings.parallel_jobs, thread_name_prefix="job") as pool:
            while waiting or running:
                for name in [name for name, needed in waiting.items() if not needed][: self.config.settings.parallel_jobs - len(running)]:
                    del waiting[name]
                    running[pool.submit(self._bring_up_to_date, name, planned[name], dry)] = name
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    ended = running.pop(future)
                    future.result()
                    for needed in waiting.values():
                        needed.discard(ended)
        return self.outcome

    def _bring_up_to_date(self, name: str, scopes: list[Scope], dry: bool) -> None:
        job = self._by_name[name]
        if dry and name in self.outcome.ran:
            return  # with the delivery, just before
        if name == RECOMMENDATIONS and not dry:
            self._refuse_unless_gates_passed()
        stale = [scope for scope in scopes if self._is_due(job, scope, dry)]
        if not stale:
            if name not in (*self.outcome.ran, *self.outcome.skipped):  # a run of two deliveries comes by here twice
                self.outcome.skipped.append(name)
                self._progress.skip(name)
            return
        self._progress.start(name, [scope.slice for scope in stale])
        started = time.monotonic()
        with own_errors():
            n_rows = None if dry else self._run(job, stale)
        wrote = "" if n_rows is None else f"{n_rows:,} rows{' changed' if job.writes.merge else ''}"
        seconds = time.monotonic() - started
        self.outcome.ran[name] = self.outcome.ran.get(name, 0.0) + seconds
        self._progress.done(name, wrote, seconds)
        if not dry and (line := account_of_source(job, self.inputs, stale[0].delivery, self.config.settings)):
            self._progress.note(line)

    def _is_due(self, job: Job, scope: Scope, dry: bool) -> bool:
        """Stale; in a dry run also what waits for something that would run."""
        if dry and not needed_jobs(self.jobs)[job.name].isdisjoint(self.outcome.ran):
            return True
        return self.is_stale(job, scope)

    def _run(self, job: Job, scopes: list[Scope]) -> int | None:
        started_at, started = datetime.now(UTC), time.monotonic()
        fingerprints = {scope.slice: self.fingerprint(job, scope) for scope in scopes}
        reads = {scope.slice: self._reads(job, scope) for scope in scopes}
        facts: dict[str, dict[str, Any]] = {scope.slice: {} for scope in scopes}
        verdicts = self._preflight.check(job, scopes)
        frames = self._frames(job, scopes, fingerprints, facts, verdicts)
        with source_errors(job), self.store.writing(job.writes.name):
            if job.writes.merge:
                self._claim(job, scopes)
            written = self.store.write(
                reduce(DataFrame.unionByName, frames),
                job.writes,
                replace=self._replaced(job, scopes),
                base=self.ledger.versions.get(job.writes.name),
                run_id=self.ledger.run_id,
            )
            if self.config.settings.check_rows:
                check_rows(self.store.read(job.writes.name, written.version), job.writes)
            if job.name == INTAKE:
                for line in accounts_of(self.store.read(INTAKE, written.version), scopes, self.ledger):
                    self._progress.note(line)
            self.ledger.record(
                [
                    Entry(
                        job=job.name,
                        slice=scope.slice,
                        fingerprint=fingerprints[scope.slice],
                        outputs={job.writes.name: written.version},
                        inputs=reads[scope.slice],
                        parameters=self.config.jobs[job.name].model_dump_json(),
                        n_rows=written.n_rows if len(scopes) == 1 else None,
                        started_at=started_at,
                        seconds=time.monotonic() - started,
                        status="published" if job.writes.merge else "done",
                        note={
                            "now": self._now.isoformat(),
                            **({"horizon": dataclasses.asdict(scope.horizon)} if scope.horizon else {}),
                            **({"facts": facts[scope.slice]} if facts[scope.slice] else {}),
                            **({"forecast": verdicts[scope.slice].figures} if verdicts else {}),
                        },
                    )
                    for scope in scopes
                ]
            )
        if Folder in job.injected.values() and not job.writes.artefact:
            for fingerprint in fingerprints.values():
                remove(self._folder(job, fingerprint))
        return written.n_rows

    def _claim(self, job: Job, scopes: list[Scope]) -> None:
        """Say that a live table is about to change: of two runs, the one that loses is told before it touches the table."""
        versions = self.ledger.versions
        outputs = {job.writes.name: versions[job.writes.name]} if job.writes.name in versions else {}
        self.ledger.commit([claim(job.name, scope.slice, outputs) for scope in scopes])

    def _frames(
        self,
        job: Job,
        scopes: list[Scope],
        fingerprints: Mapping[str, str],
        facts: Mapping[str, dict[str, Any]],
        verdicts: Mapping[str, Verdict],
    ) -> list[DataFrame]:
        """What the job's function returns at each slice, stamped and held against the contract; what it tells goes to `facts`."""
        folders = [self._folder(job, fingerprints[scope.slice]) for scope in scopes]
        calls = [self._arguments(job, scope, folder, facts[scope.slice]) for scope, folder in zip(scopes, folders, strict=True)]
        for scope, call in zip(scopes, calls, strict=True):
            call |= verdicts[scope.slice].chosen if verdicts else {}
        on_line = self._progress.note if Folder in job.injected.values() else None
        if job.runner == "torch":
            frames = self._run_torch(job, calls, folders)
        else:
            frames = [call_watched(job.function, *one, on_line) for one in zip(calls, folders, [at.slice for at in scopes], strict=True)]
        return [
            conform(self._stamped(frame, job, scope), job.writes, function_name(job.function))
            for frame, scope in zip(frames, scopes, strict=True)
        ]

    def _folder(self, job: Job, fingerprint: str) -> str:
        """Where a job works: a trained model stays there, anything else is gone once the job's rows are committed."""
        return f"{self.store.warehouse}/{f'_{job.name}' if job.writes.artefact else f'_work/{job.name}'}/{fingerprint}"

    def _arguments(self, job: Job, scope: Scope, folder: str, facts: dict[str, Any]) -> dict[str, Any]:
        values = {one.parameter: self.inputs.value(one, scope) for one in job.inputs}
        injected: dict[type, Any] = {
            Horizon: scope.horizon,
            Clock: self._now,
            EarlierRows: lambda: self.inputs.earlier(job, scope),
            Facts: facts.__setitem__,
            Folder: folder,
            TaskSlots: n_slots(self.store.spark),
        }
        return values | {name: injected[kind] for name, kind in job.injected.items()} | self.config.parameters(job)

    def _stamped(self, frame: DataFrame, job: Job, scope: Scope) -> DataFrame:
        stamps = {"delivery": F.lit(scope.delivery).cast("int"), "run_id": F.lit(self.ledger.run_id)}
        if scope.horizon is not None:
            stamps["horizon"] = F.lit(scope.horizon.name)
        if job.writes.handover:
            stamps[SHARD.name] = F.expr(f"{job.writes.key[1]} div {SHARD_ROWS}").cast("int")
        stamps |= {name: F.lit(value) for name, value in job.slice.items()}
        return frame.withColumns({name: value for name, value in stamps.items() if name in job.writes.column_names})

    def _replaced(self, job: Job, scopes: list[Scope]) -> str | None:
        table = job.writes
        if not table.slices:
            return None
        if scopes[0].kind == "delivery":
            first = self.inputs.intake.first_of(scopes[0].delivery)
            whole = first == scopes[0].delivery and not table.permanent
            return None if whole else f"delivery >= {scopes[0].delivery}"
        horizons = ", ".join(f"'{scope.slice}'" for scope in scopes)
        others = [f"{name} = '{value}'" for name, value in job.slice.items()]
        return " AND ".join([f"horizon IN ({horizons})", *others])

    def _refuse_unless_gates_passed(self) -> None:
        horizon = self.inputs.parts["serve"].name
        gates = self.inputs.table(GATES).where(F.col("horizon") == horizon).collect()
        failed = [f"gate {row.gate}: {row.message}" for row in gates if not row.passed]
        if failed or not gates:
            raise GateError("not published, the live recommendations are unchanged: " + "; ".join(failed or ["no gate was asked"]))
