"""Before an expensive job starts: what it will take, from table statistics; what is chosen for it, or why it is refused."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
from pyspark.sql import DataFrame

from recspark.errors import LimitError
from recspark.features.activity import build_activity
from recspark.preflight.activity import Activity, activity_of, behind_sample
from recspark.preflight.models import MODELS
from recspark.preflight.verdict import Limits, Verdict, in_words, judge, refusal_of
from recspark.preflight.work import DRIVER_COPIES, Place, Rates
from recspark.runtime.calibration import rates_of
from recspark.runtime.config import Config
from recspark.runtime.inputs import Inputs, Scope
from recspark.runtime.job import Job
from recspark.runtime.session import n_slots
from recspark.tables import NEIGHBOURS
from recspark.tables.lineage import AsArrays

ACTIVITY = "activity"
# What is looked at where a horizon's activity was not counted yet.
_SAMPLED_FILES = 4
# Spark's own, where nothing is said of an executor's memory beside its heap.
_OVERHEAD_FACTOR, _LEAST_OVERHEAD = 0.1, 384.0 * (1 << 20)
_UNITS = {"": 1 << 20, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def _bytes(text: str) -> float:
    """A size of Spark's settings (3g, 512m, 1024); numbers without a unit are MiB."""
    found = re.fullmatch(r"(\d+)([bkmgt]?)b?", text.strip().lower())
    return float(found[1]) * _UNITS[found[2]] if found else 0.0


def _machine_bytes() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def limits_of(settings: Mapping[str, str], given: Mapping[str, float | None], n_slots: int, machine_bytes: float) -> Limits:
    """The limits of conf, and where memory has none what the session has.

    A task of local mode has its share of the machine beside the driver's heap; one of a cluster, of what its executor was given
    beside the heap, which Python cannot use: the overhead (by default a tenth of the heap, 384 MiB at least) and pyspark.memory.
    What the driver collects must fit into its heap, and below spark.driver.maxResultSize; in all it takes that several times.
    """
    heap = _bytes(settings.get("spark.driver.memory", "1g"))
    results = _bytes(settings.get("spark.driver.maxResultSize", "1g"))
    collected, setting = min((heap, "spark.driver.memory"), (results or heap, "spark.driver.maxResultSize"))
    if settings.get("spark.master", "local").startswith("local"):
        task, task_origin = max(machine_bytes - heap, 0) / n_slots, "this machine's memory beside spark.driver.memory, over its slots"
    else:
        factor = float(settings.get("spark.executor.memoryOverheadFactor", _OVERHEAD_FACTOR))
        overhead = max(_LEAST_OVERHEAD, factor * _bytes(settings.get("spark.executor.memory", "1g")))
        if "spark.executor.memoryOverhead" in settings:
            overhead = _bytes(settings["spark.executor.memoryOverhead"])
        python = overhead + _bytes(settings.get("spark.executor.pyspark.memory", "0"))
        at_once = max(1, int(settings.get("spark.executor.cores", "1")) // int(settings.get("spark.task.cpus", "1")))
        task, task_origin = python / at_once, "spark.executor.memoryOverhead and spark.executor.pyspark.memory, over an executor's tasks"
    told = {
        "task_bytes": (task, task_origin),
        "driver_bytes": (DRIVER_COPIES * collected, f"what {setting} lets the driver collect, {DRIVER_COPIES} times"),
    }
    values = {name: told[name][0] if given[name] is None and name in told else given[name] for name in given}
    return Limits(**values, origins={name: origin for name, (_, origin) in told.items() if given[name] is None})


def is_published(job: Job, jobs: Mapping[str, Job]) -> bool:
    """Whether one of `jobs` is given the job's lists of neighbours as arrays, as proposals are made; other tables are not asked for."""
    if job.writes.name != NEIGHBOURS.name:
        return True
    read = (one for reader in jobs.values() for one in reader.inputs if isinstance(one.marker, AsArrays))
    return any(one.table == NEIGHBOURS.name and one.source == job.slice["source"] for one in read)


class Preflight:
    """Forecasts the expensive jobs of a run."""

    def __init__(self, config: Config, inputs: Inputs, note: Callable[[str], None] = lambda text: None) -> None:
        self._config, self._inputs, self._note = config, inputs, note
        self._spark = inputs.store.spark
        self._rows: dict[int, dict[str, list[dict[str, Any]]]] = {}
        self._estimates: dict[int, Activity] = {}
        self._lock = threading.Lock()  # jobs start in several threads

    @cached_property
    def rates(self) -> Rates:
        """As measured; but that a job starts no faster than any has in this warehouse, whose tables it opens and commits."""
        rates = rates_of(self._spark, self._inputs.store.warehouse)
        took = [
            entry.seconds for (job, _), entry in list(self._inputs.ledger.entries.items()) if job in self._inputs.jobs and entry.seconds
        ]
        return rates._replace(start=max(rates.start, min(took, default=0.0)))

    @cached_property
    def _settings(self) -> dict[str, str]:
        names = ("master", "driver.memory", "driver.maxResultSize", "executor.memory", "executor.memoryOverhead", "executor.cores")
        more = ("executor.memoryOverheadFactor", "executor.pyspark.memory", "task.cpus")
        found = {f"spark.{name}": self._spark.conf.get(f"spark.{name}", "") for name in (*names, *more)}
        return {name: value for name, value in found.items() if value}

    @cached_property
    def place(self) -> Place:
        return Place(n_slots(self._spark), int(self._settings.get("spark.task.cpus", "1")))

    @cached_property
    def limits(self) -> Limits:
        limits = self._config.settings.limits
        given = {name: getattr(limits, name) for name in ("seconds", "shuffle_bytes", "task_bytes", "driver_bytes", "published_rows")}
        return limits_of(self._settings, given, self.place.n_slots, _machine_bytes())

    def knobs(self, job: str) -> dict[str, Any]:
        """The job's parameters, and those of others that its work depends on."""
        told = {knob: path.split(".", 1) for knob, path in MODELS[job].told.items()}
        others = {knob: attrgetter(name)(self._config.jobs[section]) for knob, (section, name) in told.items()}
        return {**others, **dict(self._config.jobs[job])}

    def judge(self, job: str, scope: Scope) -> Verdict:
        """What the job will take at `scope`."""
        activity = self._activity(scope)
        limits = self.limits if is_published(self._inputs.jobs[job], self._inputs.jobs) else self.limits._replace(published_rows=None)
        return judge(job, MODELS[job], activity, self.knobs(job), self.place, self.rates, limits)

    def check(self, job: Job, scopes: Sequence[Scope]) -> dict[str, Verdict]:
        """Say what an expensive job will take at `scopes`, in a line; a verdict a slice, none for any other job.

        Raises:
            LimitError: it is over a limit; the message has the figures and the settings to change.
        """
        if job.name not in MODELS:
            return {}
        with self._lock:
            verdicts = {scope.slice: self.judge(job.name, scope) for scope in scopes}
        self._note(in_words(list(verdicts.values())))
        if refused := refusal_of(verdicts):
            raise LimitError(f"{job.name} was not started: {refused}")
        return verdicts

    # ---- statistics

    def _activity(self, scope: Scope) -> Activity:
        if self._inputs.ledger.entry(ACTIVITY, scope.slice) is None:
            if scope.delivery not in self._estimates:
                self._estimates[scope.delivery] = self._estimated(scope)
            return self._estimates[scope.delivery]
        requests = self._inputs.ledger.entry("requests", scope.slice)
        return activity_of(self._counted()[scope.slice], (requests and requests.n_rows) or self._n_rows("user_index"))

    def _counted(self) -> dict[str, list[dict[str, Any]]]:
        """The table `activity` by horizon, collected once a version."""
        version = self._inputs.ledger.versions[ACTIVITY]
        if version not in self._rows:
            found: dict[str, list[dict[str, Any]]] = {}
            for row in self._inputs.table(ACTIVITY).collect():
                found.setdefault(row.horizon, []).append(row.asDict())
            self._rows = {version: found}
        return self._rows[version]

    def _n_rows(self, table: str) -> float:
        """Rows of a table that grows by deliveries, as the ledger has them."""
        return float(sum(entry.n_rows or 0 for (job, _), entry in self._inputs.ledger.entries.items() if job == table))

    def _estimated(self, scope: Scope) -> Activity:
        """From some files of `interactions`, without a pass over it."""
        interactions = self._inputs.slice("interactions", Scope("delivery", scope.delivery))
        files = sorted(interactions.inputFiles())
        chosen = np.random.default_rng(0).choice(files, min(_SAMPLED_FILES, len(files)), replace=False).tolist()
        sample: DataFrame = self._spark.read.schema(interactions.schema).parquet(*chosen)
        counted = build_activity(sample, weights=self._config.settings.events.types)
        rows = [row.asDict() for row in counted.collect()]
        share = max(sample.count() / max(interactions.count(), 1), 1e-9)
        n_users, n_items = (self._n_rows(table) for table in ("user_index", "item_index"))
        origin = f"estimated from {len(chosen)} of the {len(files)} files of interactions"
        return behind_sample(activity_of(rows), share=share, n_users=n_users, n_items=n_items, origin=origin)
