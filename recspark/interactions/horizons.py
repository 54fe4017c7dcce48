"""Where the river is cut: the `splits` section of a configuration, and the horizons that follow from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.columns import FIT, LATEST_FIRST, SERVE, TEST, TUNE
from recspark.errors import SplitError
from recspark.tables.horizon import Horizon

Kind = Literal["time", "last_n", "random", "stored", "users", "folds", "production"]

# Which settings belong to which kind.
SETTINGS: Mapping[Kind, frozenset[str]] = {
    "time": frozenset({"fit", "tune", "test", "share_fit", "share_tune", "share_test", "label_days", "as_of"}),
    "last_n": frozenset({"n_fit", "n_tune", "n_test"}),
    "random": frozenset({"share_fit", "share_tune", "share_test", "seed"}),
    "stored": frozenset({"n_fit", "n_tune", "share_fit", "share_tune", "seed"}),
    "users": frozenset({"share_fit", "share_tune", "share_test", "share_labels", "latest", "seed"}),
    "folds": frozenset({"n_folds", "seed"}),
    "production": frozenset({"as_of", "label_days"}),
}


class SplitSpec(BaseModel):
    """The `splits` section: at which horizons models learn (fit), are chosen (tune), are measured (test) and serve."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    kind: Kind = Field(
        default="time",
        description="time: cuts in time, for experiments. production: cuts that move with as_of. last_n, random: single events are held "
        "out; stored: those that events.parts names; users: some of the events of users that nothing else is learnt from; folds: each event "
        "once, at one of n_folds horizons. All but time and production let other users' futures in, and the report says so.",
    )
    fit: datetime | None = Field(default=None, description="time: rankers learn from the labels that begin here (UTC).")
    tune: datetime | None = Field(default=None, description="time: models are chosen by the labels that begin here.")
    test: datetime | None = Field(default=None, description="time: models are measured by the labels that begin here.")
    share_fit: float = Field(
        default=0.1, ge=0, lt=1, description="time, random, stored: the share of events that are labels of fit; users: of users."
    )
    share_tune: float = Field(default=0.1, ge=0, lt=1, description="Likewise of tune. stored: of those that the source does not hold out.")
    share_test: float = Field(default=0.1, gt=0, lt=1, description="time, random, users: likewise of test.")
    share_labels: float = Field(
        default=0.2, gt=0, lt=1, description="users: the share of a held-out user's events that is to be predicted from the others."
    )
    latest: bool = Field(default=False, description="users: those labels are the latest events; by default they are drawn.")
    n_folds: int = Field(default=5, ge=2, description="folds: horizons, each with its share of the events as labels.")
    label_days: int | None = Field(
        default=None, ge=1, description="time, production: days after a cut that are its labels (production: 7)."
    )
    as_of: datetime | None = Field(
        default=None, description="time, production: the cut that serves; by default after the last event, or now."
    )
    n_fit: int = Field(default=5, ge=0, description="last_n, stored: labels a user at fit; 0 where no ranker is trained.")
    n_tune: int = Field(
        default=5, ge=0, description="last_n, stored: labels a user at tune, after those of fit; 0 where nothing is chosen."
    )
    n_test: int = Field(default=5, ge=1, description="last_n: labels a user at test, the latest.")
    seed: int = Field(default=0, description="random, stored, users, folds: which events or users are drawn.")

    @field_validator("fit", "tune", "test", "as_of")
    @classmethod
    def _in_utc(cls, at: datetime | None) -> datetime | None:
        if at is None:
            return None
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)

    @model_validator(mode="after")
    def _check_settings(self) -> SplitSpec:
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        strange = sorted(given - SETTINGS[self.kind] - {"kind"})
        if strange:
            own = ", ".join(sorted(SETTINGS[self.kind]))
            raise ValueError(f"{', '.join(strange)} has no meaning where kind is {self.kind}; its settings are {own}")
        dates = [name for name in (FIT, TUNE, TEST) if getattr(self, name) is not None]
        shares = sorted(name for name in given if name.startswith("share_"))
        if dates and len(dates) < 3:
            raise ValueError(f"{', '.join(dates)} is given alone: give fit, tune and test, or none of them and let the shares decide")
        if dates and shares:
            raise ValueError(f"both dates and {', '.join(shares)} are given: keep one of the two")
        if self.fit and self.tune and self.test and not self.fit < self.tune < self.test:
            raise ValueError(f"the cuts must follow each other, fit < tune < test; got {self.fit}, {self.tune}, {self.test}")
        if self.share_fit + self.share_tune + self.share_test >= 1:
            raise ValueError("share_fit + share_tune + share_test must stay below 1, or nothing is left to learn from")
        if self.kind == "time" and not (self.share_fit and self.share_tune):
            raise ValueError("share_fit and share_tune must be above 0 where kind is time: each part has a cut of its own")
        if self.kind == "stored" and shares and given & {"n_fit", "n_tune"}:
            raise ValueError(
                f"both {', '.join(sorted(given & {'n_fit', 'n_tune'}))} and {', '.join(shares)} are given: keep one of the two"
            )
        return self

    @property
    def needs_times(self) -> bool:
        """Its cuts are times: `fit_bounds` must be asked first."""
        return self.kind in ("time", "production")

    @property
    def counts_from_last(self) -> bool:
        """It holds out each user's last events, so many a user: something must sort them."""
        return self.kind == "last_n" or (self.kind == "stored" and bool({"n_fit", "n_tune"} & self.model_fields_set))

    @property
    def sizes(self) -> dict[str, float]:
        """How much each part draws: events a user (`counts_from_last`), or a share. What is stored for test is not drawn."""
        unit = "n" if self.counts_from_last else "share"
        return {part: 0 if (self.kind, part) == ("stored", TEST) else getattr(self, f"{unit}_{part}") for part in LATEST_FIRST}

    def parts(self, stored: Collection[str] = ()) -> tuple[str, ...]:
        """The parts that labels are held out for, earliest first; `stored`: those that the source names (events.parts)."""
        if self.kind == "folds":
            return tuple(f"fold_{number}" for number in range(1, self.n_folds + 1))
        if self.kind == "time":
            return (FIT, TUNE, TEST)
        if self.kind == "production":
            return (FIT, TUNE)
        return tuple(part for part in reversed(LATEST_FIRST) if self.sizes[part] or (self.kind == "stored" and part in stored))


@dataclass(frozen=True)
class EventBounds:
    """When events happened: the first and the last (UTC), and how many on each day. Without times: nothing."""

    first_at: datetime | None = None
    last_at: datetime | None = None
    per_day: Mapping[date, int] = field(default_factory=dict)


def fit_bounds(interactions: DataFrame) -> EventBounds:
    """Count the events of each day (UTC): one pass, one row a day to the driver."""
    per_day = (
        interactions.filter(F.col("event_at").isNotNull())
        .groupBy(F.unix_date(F.to_date("event_at")).alias("day"))
        .agg(F.count(F.lit(1)).alias("n"), F.min(F.unix_micros("event_at")).alias("first"), F.max(F.unix_micros("event_at")).alias("last"))
        .collect()
    )
    if not per_day:
        return EventBounds()
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return EventBounds(
        first_at=epoch + timedelta(microseconds=min(row["first"] for row in per_day)),
        last_at=epoch + timedelta(microseconds=max(row["last"] for row in per_day)),
        per_day={epoch.date() + timedelta(days=row["day"]): row["n"] for row in sorted(per_day, key=lambda row: row["day"])},
    )


def require_stored(interactions: DataFrame, parts: Collection[str]) -> None:
    """Each of `parts` has events: one pass over one column.

    Raises:
        SplitError: a glob of events.parts matches nothing, so that a part would have no labels and nobody would be told.
    """
    found = {row["part"] for row in interactions.select("part").distinct().collect()}
    missing = [part for part in parts if part not in found]
    if missing:
        raise SplitError(
            f"events.parts.{missing[0]} matches no event: nothing would be held out for it; give a glob of the files below events.path "
            "(the end of the path is enough), or, with events.columns.part, a value of that column"
        )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _name(cut: datetime) -> str:
    return f"{cut:%Y-%m-%d}" if cut == _midnight(cut.date()) else f"{cut:%Y-%m-%dT%H:%M:%S.%f}".removesuffix(".000000")


def _cuts_by_share(spec: SplitSpec, bounds: EventBounds) -> dict[str, datetime]:
    """The midnights that leave at least the shares of events behind them, latest first."""
    total = sum(bounds.per_day.values())
    wanted = [(TEST, spec.share_test), (TUNE, spec.share_test + spec.share_tune), (FIT, spec.share_test + spec.share_tune + spec.share_fit)]
    cuts: dict[str, datetime] = {}
    behind = 0
    for day in sorted(bounds.per_day, reverse=True):
        behind += bounds.per_day[day]
        # One cut a day at most: a burst must not swallow two of them.
        if len(cuts) < len(wanted) and behind >= wanted[len(cuts)][1] * total:
            cuts[wanted[len(cuts)][0]] = _midnight(day)
    if len(cuts) < len(wanted) or cuts[FIT].date() <= min(bounds.per_day):
        raise SplitError(
            f"the events of {len(bounds.per_day)} days ({min(bounds.per_day)} to {max(bounds.per_day)}) cannot be cut at three midnights "
            f"with something before the first; give splits.fit, tune and test as times, or use splits.kind: last_n"
        )
    return cuts


def _plan_time(spec: SplitSpec, first_at: datetime, last_at: datetime, bounds: EventBounds, delivery: int) -> dict[str, Horizon]:
    given = {part: cut for part, cut in ((FIT, spec.fit), (TUNE, spec.tune), (TEST, spec.test)) if cut}
    cuts = given or _cuts_by_share(spec, bounds)
    serve = spec.as_of or _midnight(last_at.date() + timedelta(days=1))
    span = f"events reach from {first_at:%Y-%m-%d %H:%M:%S} to {last_at:%Y-%m-%d %H:%M:%S}"
    if cuts[FIT] <= first_at:
        raise SplitError(f"no event lies before splits.fit {_name(cuts[FIT])}: {span}; cut later")
    if cuts[TEST] > last_at:
        raise SplitError(f"no event lies after splits.test {_name(cuts[TEST])}: {span}; cut earlier")
    if cuts[TEST] >= serve:
        raise SplitError(f"splits.test {_name(cuts[TEST])} must come before the serving cut {_name(serve)} (splits.as_of)")
    window = timedelta(days=spec.label_days) if spec.label_days else None
    following = {FIT: cuts[TUNE], TUNE: cuts[TEST], TEST: serve}
    horizons = {}
    for part, cut in cuts.items():
        until = min(cut + window, following[part]) if window else following[part]
        horizons[part] = Horizon(_name(cut), delivery, closed=True, cut=cut, label_until=until)
    horizons[SERVE] = Horizon(_name(serve), delivery, closed=False, cut=serve, label_until=serve + window if window else None)
    return {part: horizons[part] for part in (FIT, TUNE, TEST, SERVE)}


def _plan_production(spec: SplitSpec, first_at: datetime, now: datetime, delivery: int) -> dict[str, Horizon]:
    window = timedelta(days=spec.label_days or 7)
    serve = spec.as_of or _midnight(now.date())
    if serve > now:
        raise SplitError(f"splits.as_of {_name(serve)} lies after the run's now, {now:%Y-%m-%d %H:%M:%S}; serve at a moment that has come")
    cuts = {FIT: serve - 2 * window, TUNE: serve - window, SERVE: serve}
    if cuts[FIT] <= first_at:
        raise SplitError(
            f"events begin at {first_at:%Y-%m-%d %H:%M:%S}, and fit learns from those before {_name(cuts[FIT])} (as_of less twice "
            f"label_days, {window.days}); lower splits.label_days, or wait for more events"
        )
    return {
        part: Horizon(_name(cut), delivery, closed=cut + window <= serve, cut=cut, label_until=cut + window) for part, cut in cuts.items()
    }


def plan_horizons(
    spec: SplitSpec, *, delivery: int, now: datetime, bounds: EventBounds | None = None, stored: Collection[str] = ()
) -> dict[str, Horizon]:
    """Part -> horizon, by the split.

    `time`: the cuts given, or midnights that leave the shares of events behind them; labels until the next cut, or for `label_days` if that
    is sooner; serve after the last event. `production`: serve at D (`as_of`), tune at D - W, fit at D - 2W (W: `label_days`), no test.
    The others store roles, as `last_5/fit`, `random_0.1/test`, `serve`: a horizon for each part that holds something out; `folds` has
    `fold_1`, `fold_2` and so on for parts. Times are UTC; `bounds` are those of `fit_bounds`, `stored` the parts of events.parts.

    Raises:
        SplitError: no times where the split needs them; nothing before the first cut or after the last.
    """
    now = now.replace(tzinfo=UTC) if now.tzinfo is None else now.astimezone(UTC)
    if spec.needs_times:
        if bounds is None or bounds.first_at is None or bounds.last_at is None:
            raise SplitError(
                f"splits.kind: {spec.kind} needs times, and no event has one; map events.columns.event_at, or use last_n or random"
            )
        if spec.kind == "production":
            return _plan_production(spec, bounds.first_at, now, delivery)
        return _plan_time(spec, bounds.first_at, bounds.last_at, bounds, delivery)
    figure = {"last_n": f"_{spec.n_test}", "stored": "", "folds": f"_{spec.n_folds}"}.get(spec.kind, f"_{spec.share_test:g}")
    stem = spec.kind.removesuffix("_n") + figure
    horizons = {part: Horizon(f"{stem}/{part}", delivery, closed=True, stored_roles=True) for part in spec.parts(stored)}
    return {**horizons, SERVE: Horizon(SERVE, delivery, closed=False)}
