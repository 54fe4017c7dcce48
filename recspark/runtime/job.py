"""A job: a pure function and the table it writes. The signature is the contract; nothing else says what a job reads."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from pkgutil import iter_modules
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, create_model

from recspark.errors import LineageError
from recspark.tables import DELIVERIES, TABLES, Table
from recspark.tables.horizon import Horizon
from recspark.tables.lineage import (
    AsArrays,
    AsPlan,
    At,
    Before,
    Clock,
    EarlierRows,
    Facts,
    Folder,
    New,
    Of,
    Rows,
    Source,
    Spread,
    TaskSlots,
)

TABLES_BY_NAME = {table.name: table for table in TABLES}
Marker = Rows | At | Of | Before | New | Source | AsArrays | AsPlan
INJECTED = (Clock, EarlierRows, Facts, Folder, TaskSlots)  # and the horizon
# Written by the river itself before any job runs: which files a delivery holds.
WRITTEN_BY_THE_RIVER = frozenset({DELIVERIES.name, "runs"})


@dataclass(frozen=True)
class Input:
    """One thing that a job reads: a parameter, the table behind it, and how the table is seen."""

    parameter: str
    table: str | None
    marker: Marker | None
    optional: bool = False
    is_row: bool = False  # a table of one row a slice, given as a dict

    @property
    def part(self) -> str | None:
        """The part whose horizon is read, where it is not the job's own."""
        return self.marker.part if isinstance(self.marker, At | AsPlan) else None


@dataclass(frozen=True)
class Job:
    """A pure function, the table it writes, and (where several jobs write slices of one table) its slice.

    A job's name, its file's name and its section of the configuration are one: the table's name, then the slice's values.
    """

    function: Callable[..., Any]
    writes: Table
    slice: Mapping[str, str] = field(default_factory=dict)
    runner: Literal["spark", "torch"] = "spark"

    @property
    def name(self) -> str:
        return "_".join([self.writes.name, *self.slice.values()])

    @property
    def doc(self) -> str:
        return (inspect.getdoc(self.function) or "").split("\n\n")[0]

    @property
    def scope(self) -> Literal["delivery", "horizon", "once"]:
        """What one call of the function computes: a delivery's rows, a horizon's, or the table as a whole."""
        if "delivery" in self.writes.column_names:
            return "delivery"
        return "horizon" if "horizon" in self.writes.slices else "once"

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.function, eval_str=True)

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """What the function reads, in the order of its parameters."""
        named = [p for p in self._signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        return tuple(_as_input(self, parameter) for parameter in named)

    @property
    def source(self) -> str | None:
        """The source that the function reads: events, items or users; None for jobs that read tables only."""
        return next((one.marker.name for one in self.inputs if isinstance(one.marker, Source)), None)

    @cached_property
    def injected(self) -> Mapping[str, type]:
        """Keyword-only parameters that the runner fills: the horizon, the recorded now, the working folder, earlier rows, slots, facts."""
        found = {name: _injected_kind(p.annotation) for name, p in self._signature.parameters.items() if p.kind is p.KEYWORD_ONLY}
        return {name: kind for name, kind in found.items() if kind is not None}

    @cached_property
    def spread(self) -> Mapping[str, type[BaseModel]]:
        """Keyword-only parameters whose fields stand in the job's section: parameter -> its model."""
        found = {name: p.annotation for name, p in self._signature.parameters.items() if get_origin(p.annotation) is Annotated}
        return {name: get_args(one)[0] for name, one in found.items() if any(isinstance(m, Spread) for m in get_args(one)[1:])}

    @cached_property
    def section(self) -> type[BaseModel]:
        """The model of the job's section of the configuration: its keyword-only parameters. Unknown keys are refused."""
        knobs: dict[str, Any] = {
            name: (p.annotation, ... if p.default is p.empty else p.default)
            for name, p in self._signature.parameters.items()
            if p.kind is p.KEYWORD_ONLY and name not in self.injected and name not in self.spread
        }
        for model in self.spread.values():
            knobs |= {name: (field.annotation, field) for name, field in model.model_fields.items()}
        config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
        return create_model(f"{self.name}_section", __config__=config, **knobs)  # type: ignore[no-any-return]

    def arguments(self, section: BaseModel) -> dict[str, Any]:
        """The keyword arguments of the function, from its checked section."""
        values = {name: getattr(section, name) for name in type(section).model_fields}
        gathered = {name: model(**{knob: values.pop(knob) for knob in model.model_fields}) for name, model in self.spread.items()}
        return values | gathered

    @cached_property
    def code_hash(self) -> str:
        """Hash of the sources that the function is made of: its room, the kernels and the contracts."""
        room = self.function.__module__.split(".")[1]
        return room_hash(room)

    def main(self) -> None:
        """Run this job (and what it needs that is not up to date): `spark-submit jobs/NAME.py --env cluster`."""
        from recspark.runtime.cli import run_job

        # Python puts a script's folder first on the path, where jobs/requests.py would stand in for the package `requests`.
        own = Path(sys.argv[0]).resolve().parent
        sys.path[:] = [place for place in sys.path if Path(place).resolve() != own]
        run_job(self.name)


def _as_input(job: Job, parameter: inspect.Parameter) -> Input:
    annotation, optional = parameter.annotation, False
    markers: tuple[Any, ...] = ()
    if get_origin(annotation) in (Union, UnionType) and NoneType in get_args(annotation):
        optional = True
        annotation = next(a for a in get_args(annotation) if a is not NoneType)
    if get_origin(annotation) is Annotated:
        annotation, *rest = get_args(annotation)
        markers = tuple(rest)
        if get_origin(annotation) in (Union, UnionType) and NoneType in get_args(annotation):
            optional = True
    marker = next((m for m in markers if isinstance(m, Marker)), None)
    if isinstance(marker, AsArrays):
        marker = replace(marker, where=_of_own_slice(marker.where, job))
    if isinstance(marker, Source):
        return Input(parameter.name, None, marker, optional)
    if isinstance(marker, AsArrays | AsPlan | Of) or (isinstance(marker, At | Before | Rows) and marker.table):
        table = marker.table
    elif isinstance(marker, Before):
        table = job.writes.name
    else:
        table = parameter.name
    if table not in TABLES_BY_NAME:
        raise LineageError(
            f"job {job.name!r}: parameter {parameter.name!r} of {job.function.__module__}.{job.function.__name__} names no table; "
            f"a parameter before the * carries a table's name, or says which in its annotation: {', '.join(TABLES_BY_NAME)}"
        )
    is_row = annotation is dict or get_origin(annotation) is dict
    return Input(parameter.name, table, marker, optional, is_row)


def _of_own_slice(where: str | None, job: Job) -> str | None:
    """`where` with the job's own slice in its braces: a source reads what the same source has written before."""
    try:
        return where.format(**job.slice) if where else where
    except KeyError as missing:
        raise LineageError(f"job {job.name!r} reads rows of its own {missing}, and has none: give its Job a slice with it") from missing


def _injected_kind(annotation: Any) -> type | None:
    if annotation is Horizon:
        return Horizon
    if get_origin(annotation) is Annotated:
        return next((type(m) for m in get_args(annotation)[1:] if isinstance(m, INJECTED)), None)
    return None


@cache
def room_hash(room: str) -> str:
    """Hash of every source file of a room and of what rooms stand on; the same in a checkout, a wheel and a zip on the path."""
    package = files("recspark")
    digest = hashlib.sha256()
    for name in ["columns.py", *sorted({room, "kernels", "tables", "handover"})]:
        for path, source in _sources(package / name, name):
            digest.update(path.encode() + b"\0" + source)
    return digest.hexdigest()[:16]


def _sources(place: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    """The Python files at and below `place`, in the order of their names: path within the package, contents."""
    if place.is_dir():
        for inner in sorted(place.iterdir(), key=lambda one: one.name):
            yield from _sources(inner, f"{path}/{inner.name}")
    elif path.endswith(".py"):
        yield path, place.read_bytes()


def find_jobs() -> dict[str, Job]:
    """Every job by name: the modules of the packages behind the entry point group `recspark.jobs`."""
    packages = sorted({point.value for point in entry_points(group="recspark.jobs")}) or ["jobs"]
    jobs: dict[str, Job] = {}
    for package in packages:
        for module_info in iter_modules(importlib.import_module(package).__path__):
            job = importlib.import_module(f"{package}.{module_info.name}").JOB
            if job.name != module_info.name:
                raise LineageError(f"jobs/{module_info.name}.py holds the job {job.name!r}: the file must carry the job's name")
            if job.name in jobs:
                raise LineageError(f"job {job.name!r} stands twice: in two packages of the entry point group recspark.jobs")
            jobs[job.name] = job
    return jobs


def in_flow_order(jobs: Iterable[Job]) -> list[Job]:
    """The jobs, each after those whose tables it reads.

    Raises:
        LineageError: a table (or slice) with two writers, a read without a writer, a cycle.
    """
    jobs = list(jobs)
    needs = needed_jobs(jobs)
    order: list[Job] = []
    done: set[str] = set()
    while len(order) < len(jobs):
        ready = [job for job in jobs if job.name not in done and needs[job.name] <= done]
        if not ready:
            stuck = sorted(set(needs) - done)
            raise LineageError(f"the jobs {', '.join(stuck)} wait for each other: a job may read its own earlier rows only as Previous")
        order += ready
        done |= {job.name for job in ready}
    return order


def needed_jobs(jobs: Iterable[Job]) -> dict[str, set[str]]:
    """Job -> the jobs that write what it reads.

    Raises:
        LineageError: a table (or slice) with two writers, a read without a writer.
    """
    jobs = list(jobs)
    writers: dict[str, list[Job]] = {}
    for job in jobs:
        others = writers.setdefault(job.writes.name, [])
        if any(dict(other.slice) == dict(job.slice) or not other.slice or not job.slice for other in others):
            raise LineageError(f"table {job.writes.name!r} (slice {dict(job.slice)}) is written by {others[0].name!r} and {job.name!r}")
        others.append(job)
    return {job.name: _needed_by(job, writers) for job in jobs}


def _needed_by(job: Job, writers: Mapping[str, list[Job]]) -> set[str]:
    needed: set[str] = set()
    optional = {one.table for one in job.inputs if one.optional}
    for read in tables_read(job):
        if read in WRITTEN_BY_THE_RIVER or (read in optional and read not in writers):
            continue
        if read not in writers:
            raise LineageError(f"job {job.name!r} reads {read!r}, which no job writes")
        needed |= {writer.name for writer in writers[read]}
    return needed


def tables_read(job: Job) -> list[str]:
    """Names of the tables behind the job's inputs, its own earlier rows left out. A view of roles reads the split too."""
    names: list[str] = []
    for one in job.inputs:
        if one.table is None or isinstance(one.marker, Before):
            continue
        names.append(one.table)
        if isinstance(one.marker, Rows):
            names += role_tables(one.marker)
    return list(dict.fromkeys(names))


def role_tables(rows: Rows) -> list[str]:
    """What decides the roles in a view: every role means that nothing decides, and labels are the split's alone."""
    if "hidden" in rows.roles:
        return []
    return ["splits", "flagged_users"] if rows.flags and "label" not in rows.roles else ["splits"]
