"""Which jobs of the house a configuration switches on."""

from __future__ import annotations

from collections.abc import Mapping

from recspark.errors import ConfigError
from recspark.runtime.config import Config
from recspark.runtime.deliveries import DELIVERED
from recspark.runtime.job import WRITTEN_BY_THE_RIVER, Input, Job, writers_of

PUBLISHED = ("recommendations", "similar_items")


def _source_of(job: Job, config: Config) -> str | None:
    """The candidate source that the job belongs to, or that its section names."""
    section = config.jobs.get(job.name)
    return job.slice.get("source") or getattr(section, {"predictions": "method"}.get(job.name, "source"), None)


def _is_named(job: Job, jobs: dict[str, Job], config: Config) -> bool:
    """What a source writes is wanted where `sources` names it, what others read of it also where their section does; predictions by a method."""
    if job.name == "predictions":
        return _source_of(job, config) is not None
    wanted: set[str | None] = {*config.settings.sources}
    if job.writes.name in ("vectors", "neighbours"):
        wanted |= {_source_of(other, config) for other in jobs.values() if not other.slice}
    return job.slice.get("source") in (None, *wanted) or job.writes.name not in ("source_candidates", "vectors", "neighbours")


def _writers(one: Input, job: Job, jobs: Mapping[str, Job], config: Config) -> list[Job]:
    """The jobs that write what the input means: of its source, or the one that the job's section names, where that source writes it."""
    every = writers_of(one, jobs.values())
    own = [writer for writer in every if writer.slice.get("source") == _source_of(job, config)]
    return own or every


def _why_off(name: str, lost: dict[str, Input], jobs: dict[str, Job], config: Config) -> tuple[str, str]:
    """From a job that is off to what switched it off, in words; and what switches it on."""
    steps = []
    while name in lost:
        one = lost[name]
        steps.append(f"{name} reads {one.table}")
        writers = _writers(one, jobs[name], jobs, config)
        name = min((job.name not in lost, not _is_named(job, jobs, config), job.name) for job in writers)[2]
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
    lost: dict[str, Input] = {}  # job -> what it needs and nobody writes
    while True:
        lacking: dict[str, Input] = {}
        for name, job in on.items():
            for one in job.inputs:
                if one.table is None or one.optional or one.table in WRITTEN_BY_THE_RIVER:
                    continue
                if all(writer.name not in on for writer in _writers(one, job, jobs, config)):
                    lacking.setdefault(name, one)
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
