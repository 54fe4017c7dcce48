"""How the user's sources are laid out: the `events`, `items`, `users` and `lists` sections of a configuration, validated without Spark."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Format = Literal["csv", "json", "parquet", "delta"]
Order = Literal["time", "column", "file", "none"]
# What a source may hold its events out for: the labels of a part, or the past of users that models do not learn from.
StoredPart = Literal["fit", "tune", "test", "context"]

EXTENSIONS: dict[str, Format] = {
    "csv": "csv",
    "tsv": "csv",
    "txt": "csv",
    "dat": "csv",
    "data": "csv",
    "json": "json",
    "jsonl": "json",
    "ndjson": "json",
    "parquet": "parquet",
}
COMPRESSIONS = ("gz", "bz2", "zst", "lz4", "snappy", "deflate")
# recspark sets these itself: damaged lines must reach quarantine, and ids must stay the text they are.
OWN_OPTIONS = frozenset({"mode", "columnnameofcorruptrecord", "inferschema", "enforceschema", "schema", "path", "basepath"})
UNITS = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}
# Letters of Spark's datetime patterns.
PATTERN_LETTERS = set("GyDMLdQqEFahKkHmsSVzOxX")


def format_of(path: str) -> Format | None:
    """The format that a file's extension names, compression left aside: `a.csv.gz` is csv."""
    parts = [part.lower() for part in path.rstrip("/").rsplit("/", 1)[-1].split(".")]
    if len(parts) > 1 and parts[-1] in COMPRESSIONS:
        parts.pop()
    return EXTENSIONS.get(parts[-1]) if len(parts) > 1 else None


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class SourceMapping(_Section):
    """Where a source lies and how it is read."""

    path: str | list[str] | None = Field(
        default=None, description="A file, a folder (with its sub-folders), a glob, or a list of them; any URL that Spark reads."
    )
    table: str | None = Field(default=None, description="A catalog name instead of a path: catalog.schema.table.")
    format: Format | None = Field(default=None, description="csv, json (a document a line), parquet or delta; by default by the extension.")
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="Options of Spark's reader. csv: sep, header (default true; without a header the columns are _c0, _c1, ...), quote, "
        "encoding, multiLine (fields with line breaks; such files are not read in parallel).",
    )

    @field_validator("options")
    @classmethod
    def _leave_own_options(cls, options: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
        own = [name for name in options if name.lower() in OWN_OPTIONS]
        if own:
            raise ValueError(f"{', '.join(own)}: recspark sets this itself, so that damaged lines are kept for quarantine; leave it out")
        return options

    @model_validator(mode="after")
    def _settle_format(self) -> SourceMapping:
        if (self.path is None or self.path == []) == (self.table is None):
            raise ValueError("say where the source lies: give either `path` (a file, folder or glob) or `table` (a catalog name), not both")
        if self.table is not None:
            if self.format not in (None, "delta"):
                raise ValueError(f"format {self.format!r} does not go with `table`: a catalog table knows its own format; leave it out")
            self.format = "delta"
        elif self.format is None:
            found = {format_of(path) for path in self.paths}
            if len(found) != 1 or None in found:
                raise ValueError(f"path {self.path!r} does not say which format it has; give `format`: csv, json, parquet or delta")
            self.format = found.pop()
        if self.format == "delta" and len(self.paths) > 1:
            raise ValueError(f"a Delta source is one table, and `path` lists {len(self.paths)}; give one folder")
        return self

    @property
    def paths(self) -> list[str]:
        if self.path is None:
            return []
        return [self.path] if isinstance(self.path, str) else list(self.path)

    @property
    def place(self) -> str:
        """The source's place, for messages."""
        return self.table or ", ".join(self.paths)

    @property
    def roles(self) -> dict[str, str]:
        """Each of our columns -> the source's column that it is read from."""
        mapped: BaseModel = getattr(self, "columns")  # noqa: B009 (declared by each source)
        return {role: name for role, name in mapped.model_dump().items() if name is not None}

    @property
    def kept(self) -> list[str]:
        """The source's columns that are kept as attributes."""
        return list(getattr(self, "attributes", []))


class EventColumns(_Section):
    """Our columns -> theirs."""

    user_id: str = Field(description="Who.")
    item_id: str = Field(description="What.")
    event_type: str | None = Field(default=None, description="What they did; or give `event_type` where all events are of one type.")
    value: str | None = Field(default=None, description="Rating, count or seconds.")
    event_at: str | None = Field(default=None, description="When.")
    event_order: str | None = Field(default=None, description="A whole number that sorts a user's events, where there are no times.")
    part: str | None = Field(default=None, description="What an event is held out for, in words that `parts` translates.")

    @model_validator(mode="after")
    def _keep_ids_apart(self) -> EventColumns:
        if self.user_id == self.item_id:
            raise ValueError(f"user_id and item_id are both read from column {self.user_id!r}; name two columns")
        return self


class TimeFormat(_Section):
    """How the source writes times."""

    format: str = Field(default="iso", description="seconds, milliseconds or microseconds since 1970; iso; or a Spark datetime pattern.")
    zone: str = Field(default="UTC", description="The zone of times that name none: UTC, Europe/Paris, +02:00.")
    earliest: date = Field(
        default=date(1990, 1, 1), description="Earlier times are damage (a missing time written as 0, a wrong unit) and go to quarantine."
    )

    @field_validator("format")
    @classmethod
    def _check_pattern(cls, value: str) -> str:
        if value in UNITS or value == "iso":
            return value
        letters = set(re.findall(r"[A-Za-z]", re.sub(r"'[^']*'", "", value)))
        if not letters or letters - PATTERN_LETTERS:
            strange = ", ".join(sorted(letters - PATTERN_LETTERS)) or "no pattern letter"
            raise ValueError(
                f"{value!r} is neither seconds, milliseconds, microseconds, iso nor a datetime pattern ({strange}); "
                "a pattern is like dd/MM/yyyy HH:mm, with words in '...'"
            )
        if "y" not in letters or not letters & {"M", "L", "D"}:
            raise ValueError(f"the pattern {value!r} lacks a year (yyyy) or a month (MM; mm are minutes)")
        return value

    @field_validator("zone")
    @classmethod
    def _check_zone(cls, value: str) -> str:
        if re.fullmatch(r"[+-]\d\d:\d\d", value) or not available_timezones():
            return value
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"zone {value!r} is unknown; give a name such as Europe/Paris, or an offset such as +02:00") from error
        return value

    @property
    def earliest_at(self) -> datetime:
        return datetime(self.earliest.year, self.earliest.month, self.earliest.day, tzinfo=UTC)


class Bounds(_Section):
    """What values are possible; others go to quarantine."""

    min: float | None = Field(default=None, description="The smallest possible value.")
    max: float | None = Field(default=None, description="The largest possible value.")

    @model_validator(mode="after")
    def _order(self) -> Bounds:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"value_bounds: min {self.min} is above max {self.max}")
        return self


class EventsMapping(SourceMapping):
    """The `events` section: what people did."""

    columns: EventColumns = Field(description="Our columns -> theirs.")
    event_type: str | None = Field(default=None, description="The type of all events, where no column says it.")
    types: dict[str, float] = Field(description="Every known event type and its weight in learning. Other types go to quarantine.")
    aliases: dict[str, str] = Field(default_factory=dict, description="Their name of an event type -> ours.")
    time: TimeFormat = Field(default_factory=lambda: TimeFormat(), description="How times are written.")
    order: Order | None = Field(
        default=None,
        description="What sorts a user's events: time, column (event_order), file (the order of the lines) or none. "
        "By default time where event_at is mapped, else column where event_order is, else none.",
    )
    value_bounds: Bounds = Field(default_factory=lambda: Bounds(), description="The smallest and largest possible value.")
    parts: dict[StoredPart, str | list[str]] = Field(
        default_factory=dict,
        description="splits.kind stored: which events are labels of test, tune or fit, or the past (context) of users that models do not learn "
        "from. Globs of files (test: data/test.csv), or, where columns.part is mapped, of its values. All other events are learnt from.",
    )

    @field_validator("types")
    @classmethod
    def _check_types(cls, types: dict[str, float]) -> dict[str, float]:
        if not types:
            raise ValueError("name at least one event type and its weight, such as {rating: 1}")
        wrong = [f"{name!r}: {weight}" for name, weight in types.items() if not math.isfinite(weight) or not name.strip()]
        if wrong:
            raise ValueError(f"an event type needs a name and a finite weight; got {', '.join(wrong)}")
        return types

    @model_validator(mode="after")
    def _check_events(self) -> EventsMapping:
        known = ", ".join(self.types)
        if self.event_type is not None and self.columns.event_type is not None:
            raise ValueError(
                f"the event type comes from column {self.columns.event_type!r} or is always {self.event_type!r}; keep one of the two"
            )
        if self.constant_type is None and self.columns.event_type is None:
            raise ValueError(f"nothing says which of the types ({known}) an event has: map columns.event_type, or give event_type")
        if self.event_type is not None and self.event_type not in self.types:
            raise ValueError(f"event_type {self.event_type!r} is not among the types ({known}); add it there with its weight")
        strange = sorted(set(self.aliases.values()) - set(self.types))
        if strange:
            raise ValueError(f"aliases lead to {', '.join(strange)}, which is not among the types ({known})")
        if self.order == "time" and self.columns.event_at is None:
            raise ValueError("order: time needs times; map columns.event_at, or choose order: column, file or none")
        if self.order == "column" and self.columns.event_order is None:
            raise ValueError("order: column needs a column; map columns.event_order, or choose order: time, file or none")
        if self.columns.part is not None and not self.parts:
            raise ValueError(
                f"columns.part is {self.columns.part!r}, and parts does not say what its values mean, as in parts: {{test: test}}"
            )
        if self.parts and self.columns.part is None and self.format == "delta":
            raise ValueError(
                "parts names files, and the files of a Delta table are nobody's choice; map columns.part to a column that says it"
            )
        if self.order == "file" and self.format == "delta":
            raise ValueError(
                "order: file does not go with a Delta table, which keeps no order of rows; map columns.event_at or columns.event_order"
            )
        return self

    @property
    def constant_type(self) -> str | None:
        """The type of all events: the one given, or the only one there is."""
        if self.columns.event_type is not None:
            return None
        return self.event_type or (next(iter(self.types)) if len(self.types) == 1 else None)

    @property
    def resolved_order(self) -> Order:
        """What sorts a user's events."""
        if self.order is not None:
            return self.order
        if self.columns.event_at is not None:
            return "time"
        return "column" if self.columns.event_order is not None else "none"


class ItemColumns(_Section):
    """Our columns -> theirs."""

    item_id: str = Field(description="The id that events name.")
    title: str | None = Field(default=None, description="What a person calls it.")
    categories: str | None = Field(default=None, description="A list, or text cut at category_separator.")
    available: str | None = Field(default=None, description="May it be recommended: true/false, 1/0, yes/no. Missing means yes.")


class ItemsMapping(SourceMapping):
    """The `items` section: what can be recommended. Optional."""

    columns: ItemColumns = Field(description="Our columns -> theirs.")
    category_separator: str | None = Field(
        default=None, description='What stands between categories: "|" for Action|Drama. Without it the text is one category.'
    )
    attributes: list[str] = Field(default_factory=list, description="Further columns to keep; they become features.")

    @field_validator("category_separator")
    @classmethod
    def _check_separator(cls, value: str | None) -> str | None:
        if value == "":
            raise ValueError("category_separator is empty; give the character between categories, or leave it out")
        return value


class UserColumns(_Section):
    """Our columns -> theirs."""

    user_id: str = Field(description="The id that events name.")


class UsersMapping(SourceMapping):
    """The `users` section: who is served even without events, and what is known of them. Optional."""

    columns: UserColumns = Field(description="Our columns -> theirs.")
    attributes: list[str] = Field(default_factory=list, description="Columns to keep; they become features.")


class ListColumns(_Section):
    """Our columns -> theirs."""

    user_id: str = Field(description="Whose list.")
    item_id: str = Field(description="What stands in it.")
    kind: str | None = Field(default=None, description="block or allow; or give `kind` where all rows are of one kind.")


class ListsMapping(SourceMapping):
    """The `lists` section: what users block, and what alone they may be offered. Optional."""

    columns: ListColumns = Field(description="Our columns -> theirs.")
    kind: Literal["block", "allow"] | None = Field(default=None, description="The kind of all rows, where no column says it.")

    @model_validator(mode="after")
    def _check_kind(self) -> ListsMapping:
        if (self.kind is None) == (self.columns.kind is None):
            raise ValueError("say what the rows are: either map columns.kind (block or allow), or give `kind` for all of them, not both")
        return self
