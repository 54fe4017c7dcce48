"""Configuration: layers of YAML, checked as a whole before Spark starts. It never enters the rooms; their knobs do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from yaml import YAMLError

from recspark.errors import ConfigError, UsageError
from recspark.interactions.horizons import SplitSpec
from recspark.interactions.mapping import EventsMapping, ItemsMapping, ListsMapping, UsersMapping
from recspark.runtime.job import Job
from recspark.runtime.misfits import meant, misfits
from recspark.runtime.rules import cross_problems, unfilled
from recspark.tables.lineage import Source

# Models have files of their own: the folder of conf, and setting, that name one, and the job that trains it.
FAMILIES = {"ranker": "rankers", "next_item": "next_item_models"}


class Limits(BaseModel):
    """Figures past which a step refuses instead of failing half-way."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    published_rows: int = Field(20_000_000, description="Rows of an item-sized table that may pass through the driver as arrays.")
    seconds: float | None = Field(None, gt=0, description="Forecast time of an expensive job at a horizon; null: any.")
    shuffle_bytes: float | None = Field(None, gt=0, description="Forecast bytes that it sends between tasks; null: any.")
    task_bytes: float | None = Field(None, gt=0, description="Forecast memory of one of its tasks; null: what the session has for one.")
    driver_bytes: float | None = Field(None, gt=0, description="Forecast bytes through the driver; null: what the driver has.")


class Torch(BaseModel):
    """Where training and scoring processes run."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    n_processes: int = Field(1, ge=1, description="Training processes; each is one rank of the process group.")
    local: bool = Field(True, description="On the driver's machine; false: as Spark barrier tasks on the executors.")
    use_gpu: bool = Field(False, description="One GPU a process (nccl); false: CPUs (gloo).")


class Settings(BaseModel):
    """Everything that is not a job's own section."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    warehouse: str = Field(description="Folder or URL of the tables and of staging files.")
    catalog: str | None = Field(None, description="Catalog schema for the tables (main.recs) instead of paths below the warehouse.")
    events: EventsMapping
    items: ItemsMapping | None = None
    users: UsersMapping | None = None
    lists: ListsMapping | None = None
    splits: SplitSpec
    repeats: Literal["earliest", "latest", "all"] = Field(
        "earliest", description="What to keep of repeated events of one (user, item, type): plays and groceries repeat, ratings do not."
    )
    sources: list[str] = Field(min_length=1, description="Candidate sources, in the order of the slates' features.")
    ranker: str = Field("default", description="The ranker's sections, conf/ranker/NAME.yaml.")
    next_item: str = Field("default", description="The next-item model's sections, conf/next_item/NAME.yaml.")
    now: datetime | None = Field(None, description="Recorded now; events after it are quarantined. Default: the start of the run.")
    spark: dict[str, str] = Field(default_factory=dict, description="Settings of the Spark session.")
    parallel_jobs: int = Field(2, ge=1, description="Jobs that run at once: small data waits for planning and commits, not for cores.")
    check_rows: bool = Field(False, description="Check keys, nulls and ranges of every table after each write: a further pass over it.")
    torch: Torch = Torch()
    limits: Limits = Limits()

    @field_validator("spark", mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        """`--set spark.spark.sql.shuffle.partitions=4` nests where Spark's names have dots."""
        return dict(_dotted(value)) if isinstance(value, Mapping) else value


def _dotted(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{rest}", text) for rest, text in _dotted(value))
        else:
            yield str(key), str(value).lower() if isinstance(value, bool) else str(value)


class Config(BaseModel):
    """The checked configuration: the settings, and each job's parameters by the job's name (absent: the job is off)."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    settings: Settings
    jobs: dict[str, BaseModel]

    def parameters(self, job: Job) -> dict[str, Any]:
        """The keyword arguments of the job's function."""
        return job.arguments(self.jobs[job.name])


def conf_folder() -> Traversable:
    """Where base.yaml lies: the checkout's conf, or that of the wheel, which may be a zip on the path."""
    beside = Path(__file__).parents[2] / "conf"
    return beside if (beside / "base.yaml").exists() else files("recspark_conf")


def load_layers(user_file: str | None, env: str, assignments: Sequence[str]) -> dict[str, Any]:
    """base.yaml, env/ENV.yaml, FAMILY/NAME.yaml, the user's file, then `a.b=c` assignments; interpolations resolved.

    Where the later layers name another model than its family's file does, they say all about it: the file's knobs are not its own.

    Raises:
        ConfigError: a file is missing or is not YAML, an interpolation names nothing.
        UsageError: an assignment has no `=` or is not YAML.
    """
    folder = conf_folder()
    layers = [_read(folder / "base.yaml"), _named(folder / "env", env)]
    if user_file is not None:
        layers.append(_read(Path(user_file)))
    told = OmegaConf.merge({}, *map(_assigned, assignments))
    try:
        models = [_model_file(folder, family, job, layers, told) for family, job in FAMILIES.items()]
        merged = OmegaConf.merge(*layers[:2], *models, *layers[2:], told)
        resolved = OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"the configuration does not resolve: {str(error).splitlines()[0]}") from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _model_file(folder: Traversable, family: str, job: str, layers: Sequence[DictConfig], told: Any) -> DictConfig:
    """The file of `family` that the layers name."""
    file = _named(folder / family, str(OmegaConf.select(OmegaConf.merge(*layers, told), family)))
    model = OmegaConf.select(OmegaConf.merge(*layers[2:], told), f"{job}.model.name")
    if model not in (None, OmegaConf.select(file, f"{job}.model.name")):
        OmegaConf.update(file, f"{job}.model", {}, merge=False)  # its knobs are another model's
    return file


def _assigned(assignment: str) -> DictConfig:
    example = "write it as section.key=value, as in --set vectors_als.rank=128"
    if "=" not in assignment:
        raise UsageError(f"--set {assignment!r} is no assignment: {example}")
    try:
        return OmegaConf.from_dotlist([assignment])
    except (YAMLError, OmegaConfBaseException) as error:
        raise UsageError(f"--set {assignment!r} is not YAML after the =: {' '.join(str(error).split())}; {example}") from error


def _named(folder: Traversable, name: str) -> DictConfig:
    return _read(folder / f"{name}.yaml", choices=sorted(one.name.removesuffix(".yaml") for one in folder.iterdir()))


def _read(file: Traversable, choices: Sequence[str] | None = None) -> DictConfig:
    if not file.is_file():
        hint = f"; there are: {', '.join(choices)}" if choices else "; `recspark init FILES > my.yaml` writes one to start from"
        raise ConfigError(f"no configuration file {file}{hint}")
    try:
        with file.open(encoding="utf-8") as text:
            loaded = OmegaConf.load(text)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be read as a configuration: {error.strerror or error}") from error
    if not isinstance(loaded, DictConfig):
        raise ConfigError(f"{file} is not a mapping of sections")
    return loaded


def check(raw: Mapping[str, Any], jobs: Mapping[str, Job]) -> Config:
    """The configuration as typed sections; a section that is `null` switches its job off.

    Raises:
        ConfigError: every unknown key, missing value, wrong type and setting that does not fit another, all at once.
    """
    problems = list(unfilled(raw))
    general = {key: value for key, value in raw.items() if key in Settings.model_fields}
    unknown = [key for key in raw if key not in Settings.model_fields and key not in jobs]
    problems += [f"{key}: {_no_section(key, jobs)}" for key in unknown]
    problems += [] if "events" in raw else [NO_EVENTS]
    settings = _validated(Settings, general, "", problems, unsaid=set() if "events" in raw else {"events"})
    shared = shared_knobs(settings) if isinstance(settings, Settings) else {}
    sections: dict[str, BaseModel] = {}
    for name, job in jobs.items():
        if raw.get(name, {}) is None or _lacks_source(job, settings):
            continue
        given = {} if name in Settings.model_fields else raw.get(name) or {}  # `splits` is both a setting and a job
        told = {knob: shared[key] for knob in job.section.model_fields for key in (f"{name}.{knob}", knob) if key in shared}
        # Where the settings do not stand, what they would have told is not missing.
        untold = set() if settings else {knob for knob in job.section.model_fields if {f"{name}.{knob}", knob} & _SHARED.keys()}
        unsaid = {knob for knob in untold if knob not in given} | _copied(raw, name) if isinstance(given, Mapping) else set()
        section = _validated(job.section, {**told, **given} if isinstance(given, Mapping) else given, name, problems, unsaid)
        if section is not None:
            sections[name] = section
    if isinstance(settings, Settings):
        problems += cross_problems(settings, sections, jobs)
    if problems or not isinstance(settings, Settings):
        raise ConfigError("the configuration does not fit:\n  " + "\n  ".join(problems))
    return Config(settings=settings, jobs=sections)


def _no_section(key: str, jobs: Collection[str]) -> str:
    names = sorted({*Settings.model_fields, *jobs})
    near = meant(key, names)
    return f"no such section; did you mean {near!r}?" if near else f"no such section; there are {', '.join(names)}"


def _copied(raw: Mapping[str, Any], name: str) -> set[str]:
    """Knobs that base.yaml fills in from another section, by interpolation: what is wrong with them is said there."""
    own, original = raw.get(name), raw.get(_COPIED.get(name, ""))
    if not (isinstance(own, Mapping) and isinstance(original, Mapping)):
        return set()
    return {knob for knob in own if knob in original and own[knob] == original[knob]}


def _lacks_source(job: Job, settings: BaseModel | None) -> bool:
    return any(isinstance(one.marker, Source) and getattr(settings, one.marker.name, None) is None for one in job.inputs)


_COPIED = {"item_features": "feature_stats_item", "user_features": "feature_stats_user"}
NO_EVENTS = (
    "events: missing, which says where your events lie; give a configuration that has it with --config FILE "
    "(`recspark init FILES > mine.yaml` writes one from your data)"
)

# What several jobs are told from one place: by the knob's name, or by `job.knob`. A job's own section still wins.
_SHARED: Mapping[str, Callable[[Settings], Any]] = {
    "weights": lambda settings: settings.events.types,
    "order": lambda settings: settings.events.resolved_order,
    "sources": lambda settings: settings.sources,
    "spec": lambda settings: settings.splits,
    "landed_events.mapping": lambda settings: settings.events,
    "clean_items.mapping": lambda settings: settings.items,
    "clean_users.mapping": lambda settings: settings.users,
    "user_lists.mapping": lambda settings: settings.lists,
    "histories.types": lambda settings: list(settings.events.types),
    "sequences.types": lambda settings: list(settings.events.types),
    "predictions.minimum": lambda settings: settings.events.value_bounds.min,
    "predictions.maximum": lambda settings: settings.events.value_bounds.max,
}


def shared_knobs(settings: Settings) -> dict[str, Any]:
    """What the jobs are told of the settings, by the names of `_SHARED`; what is not set is told to nobody."""
    told = {name: tell(settings) for name, tell in _SHARED.items()}
    return {name: value for name, value in told.items() if value is not None}


def _validated(model: type[BaseModel], values: Any, section: str, problems: list[str], unsaid: Collection[str] = ()) -> BaseModel | None:
    """The section, or None and its `problems`, but for those of the knobs in `unsaid`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems += misfits(section, model, error, unsaid=unsaid)
        return None
