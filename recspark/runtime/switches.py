"""Which jobs of the house a configuration switches on."""

from __future__ import annotations

from recspark.errors import ConfigError
from recspark.runtime.config import Config
from recspark.runtime.deliveries import DELIVERED
from recspark.runtime.job import WRITTEN_BY_THE_RIVER, Job

PUBLISHED = ("recommendations", "similar_items")


def _source_of(job: Job, config: Config) -> str | None:
    """The candidate source that the job belongs to, or that its section names."""
    section = config.jobs.get(job.name)
    return job.slice.get("source") or getattr(section, {"predictions": "method"}.get(job.name, "source"), None)


def _is_named(job: Job, jobs: dict[str, Job], config: Config) -> bool:
    """A source's proposals are wanted where `sources` names it; its neighbours also where another section does; predictions by a method."""
    if job.name == "predictions":
        return _source_of(job, config) is not None
    wanted: set[str | None] = {*config.settings.sources}
    if job.writes.name == "neighbours":
        wanted |= {_source_of(other, config) for other in jobs.values() if not other.slice}
    return job.writes.name not in ("source_candidates", "neighbours") or job.slice["source"] in wanted


def _own_writers(job: Job, jobs: dict[str, Job], config: Config) -> list[Job]:
    """The jobs that write what this one reads of its own source: other sources' rows are no substitute."""
    read = {one.table for one in job.inputs if not one.optional}
    source = _source_of(job, config)
    return [other for other in jobs.values() if source and other.writes.name in read and other.slice.get("source") == source]


def _why_off(name: str, lost: dict[str, str], jobs: dict[str, Job], config: Config) -> tuple[str, str]:
    """From a job that is off to what switched it off, in words; and what switches it on."""
    steps = []
    while name in lost:
        table = lost[name]
        steps.append(f"{name} reads {table}")
        writers = [job for job in jobs.values() if job.writes.name == table]
        own = [job for job in _own_writers(jobs[name], jobs, config) if job.writes.name == table]
        name = min((job.name not in lost, not _is_named(job, jobs, config), job.name) for job in own or writers)[2]
    source = jobs[name].source
    if name in config.jobs:
        why, cure = f"{name} is not among `sources`", "name it there"
    elif source is not None and getattr(config.settings, source) is None:
        why, cure = f"{name} has no source", f"configure `{source}`"
    else:
        why, cure = f"`{name}` is null", f"give `{name}` a section ({{}} for the defaults)"
    return ", ".join([*steps, why]), cure


def switched_on(jobs: dict[str, Job], config: Config) -> dict[str, Job]:
    """Jobs whose section is not null, whose source is configured, and whose needs are on.

    Of candidate sources and their neighbours only those that `sources` names, and neighbours that another section names.

    Raises:
        ConfigError: a job without which nothing is read is off, or one whose table is published is on and cannot work.
    """

    on = {name: job for name, job in jobs.items() if name in config.jobs and _is_named(job, jobs, config)}
    lost: dict[str, str] = {}  # job -> the table that it needs and nobody writes
    while True:
        written = {job.writes.name for job in on.values()} | WRITTEN_BY_THE_RIVER
        unwritten = {
            name: [one.table for one in job.inputs if one.table and not one.optional and one.table not in written]
            + [writer.writes.name for writer in _own_writers(job, jobs, config) if writer.name not in on]
            for name, job in on.items()
        }
        lacking = {name: tables[0] for name, tables in unwritten.items() if tables}
        if not lacking:
            break
        lost |= lacking
        on = {name: job for name, job in on.items() if name not in lacking}
    for name in (*DELIVERED, *PUBLISHED):
        if name not in on and (name in DELIVERED or name in lost):
            chain, cure = _why_off(name, lost, jobs, config)
            without = "" if name in DELIVERED else f", or write `{name}: null` where it is not wanted"
            raise ConfigError(f"{name} cannot be made: {chain}; {cure}{without}")
    return on
