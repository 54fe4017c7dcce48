"""The end of a run in figures: small aggregates on Spark, one JSON-serialisable dict. The report and the terminal draw it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from pyspark.sql import functions as F

from recspark.columns import FIT, SERVE, TEST, TUNE
from recspark.runtime.shown_users import show_users

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

N_BINS = 60
N_REASONS = 12
# Item counts are grouped by their logarithm: 16 groups for each doubling, some hundred rows whatever the catalogue's size.
GROUPS_PER_DOUBLING = 16
# Upper end of each band of items, as a share of the items that have events, most used first.
BANDS = (("most used 1 %", 0.01), ("next 9 %", 0.1), ("next 40 %", 0.5), ("least used half", 1.0))
NO_EVENTS = "without events"
N_METRICS = 5_000


class Read(Protocol):
    """The frame of a table, at the horizon of a part where one is given; None where there is none."""

    def __call__(self, table_name: str, part: str | None = None) -> DataFrame | None: ...


def _plain(value: Any) -> Any:
    """`value` as JSON knows it: no NaN, no times, no rows."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _rows(frame: DataFrame | None) -> list[dict[str, Any]]:
    return [] if frame is None else [row.asDict(recursive=True) for row in frame.collect()]


def _counts(frame: DataFrame | None, column: str) -> list[dict[str, Any]]:
    """How often each value of `column` stands in `frame`: the most frequent ones, ties by name."""
    if frame is None:
        return []
    return _rows(frame.groupBy(column).agg(F.count(F.lit(1)).alias("n")).orderBy(F.desc("n"), column).limit(N_REASONS))


def _first_part(read: Read, table: str, parts: Sequence[str]) -> tuple[str, list[dict[str, Any]]]:
    """The rows of a small table at the first of `parts` that has any."""
    for part in parts:
        frame = read(table, part)
        rows = _rows(frame.limit(N_METRICS) if frame is not None else None)
        if rows:
            return part, rows
    return "", []


def _account(intake: DataFrame | None) -> dict[str, Any]:
    if intake is None:
        return {}
    columns = ("rows_in", "kept", "quarantined", "duplicates")
    totals = intake.agg(*(F.coalesce(F.sum(c), F.lit(0)).alias(c) for c in columns), F.count(F.lit(1)).alias("deliveries"))
    return _rows(totals)[0]


def _types_and_ends(interactions: DataFrame | None) -> tuple[list[dict[str, Any]], int | None, int | None]:
    """How often each event type of the configuration occurs, and the first and last second (None where the source has no times)."""
    if interactions is None:
        return [], None, None
    second = F.unix_timestamp("event_at")
    aggregates = (F.count(F.lit(1)).alias("n"), F.min(second).alias("first"), F.max(second).alias("last"))
    rows = _rows(interactions.groupBy("event_type").agg(*aggregates).orderBy(F.desc("n"), "event_type"))
    seconds = [row[end] for row in rows for end in ("first", "last") if row[end] is not None]
    types = [{"event_type": row["event_type"], "n": row["n"]} for row in rows]
    return types, min(seconds, default=None), max(seconds, default=None)


def _over_time(interactions: DataFrame, first: int, last: int) -> list[dict[str, Any]]:
    """Events in equal bins from the first second to the last."""
    width = max(1, math.ceil((last - first + 1) / N_BINS))
    place_of = F.floor((F.unix_timestamp("event_at") - first) / width)
    bins = interactions.where("event_at is not null").groupBy(place_of.alias("bin")).agg(F.count(F.lit(1)).alias("n"))
    counts = {int(row["bin"]): int(row["n"]) for row in bins.collect()}

    def at(place: int) -> str:
        return (datetime(1970, 1, 1) + timedelta(seconds=first + place * width)).isoformat()

    return [{"from": at(place), "to": at(place + 1), "n": counts.get(place, 0)} for place in range((last - first) // width + 1)]


def _group(n_events: Column) -> Column:
    return F.floor(F.log2(n_events) * GROUPS_PER_DOUBLING)


def _tail_groups(item_counts: DataFrame) -> list[dict[str, Any]]:
    """Items grouped by the logarithm of their events, most used first."""
    aggregates = (
        F.count(F.lit(1)).alias("n_items"),
        F.sum("n_events").alias("n_events"),
        F.min("n_events").alias("low"),
        F.max("n_events").alias("high"),
    )
    return _rows(item_counts.groupBy(_group(F.col("n_events")).alias("group")).agg(*aggregates).orderBy(F.desc("group")))


def _long_tail(groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The curve of events by popularity rank. Each point is exact: a group's last item has the group's lowest count."""
    n_events = sum(group["n_events"] for group in groups)
    points, rank, events, half = [], 0, 0, None
    for group in groups:
        if rank == 0:
            points.append({"rank": 1, "n_events": group["high"]})
        missing = n_events / 2 - events
        if half is None and group["n_events"] >= missing:
            half = rank + math.ceil(missing / group["n_events"] * group["n_items"])
        rank += group["n_items"]
        events += group["n_events"]
        if rank > 1:
            points.append({"rank": rank, "n_events": group["low"]})
    return {"n_items": rank, "n_events": n_events, "points": points, "n_items_with_half": half or 0}


def _band_of_group(groups: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """The band of each group, by the place of its middle item."""
    n_items, rank, bands = sum(group["n_items"] for group in groups), 0, {}
    for group in groups:
        place = (rank + group["n_items"] / 2) / n_items
        bands[int(group["group"])] = next(name for name, end in BANDS if place <= end)
        rank += group["n_items"]
    return bands


def _published(read: Read, item_counts: DataFrame, groups: Sequence[Mapping[str, Any]], n_catalogue: int) -> dict[str, Any]:
    """What is live: how much of the catalogue it shows, and how popular that is, beside the catalogue and the events."""
    live, item_index = read("recommendations"), read("item_index")
    if live is None or item_index is None:
        return {}
    n_users = live.count()
    one = live.select(F.explode("items").alias("item"))
    shown = one.groupBy(F.col("item.item_id").alias("item_id")).agg(F.count(F.lit(1)).alias("n"))
    known = shown.join(item_index.select("item_id", "item_idx"), "item_id", "left").join(item_counts, "item_idx", "left")
    shown_groups = _rows(
        known.groupBy(_group(F.col("n_events")).alias("group")).agg(F.count(F.lit(1)).alias("items"), F.sum("n").alias("n"))
    )
    bands = _band_of_group(groups)
    names = [name for name, _ in BANDS] + [NO_EVENTS]
    table = {name: {"band": name, "items": 0, "events": 0, "recommendations": 0} for name in names}
    for group in groups:
        table[bands[int(group["group"])]]["items"] += group["n_items"]
        table[bands[int(group["group"])]]["events"] += group["n_events"]
    table[NO_EVENTS]["items"] = max(0, n_catalogue - sum(group["n_items"] for group in groups))
    for group in shown_groups:
        table[NO_EVENTS if group["group"] is None else bands[int(group["group"])]]["recommendations"] += group["n"]
    n_items = sum(group["items"] for group in shown_groups)
    origins = _rows(one.groupBy("item.source", "item.rung").agg(F.count(F.lit(1)).alias("n")))
    return {
        "n_users": n_users,
        "n_recommendations": sum(group["n"] for group in shown_groups),
        "n_items": n_items,
        "n_catalogue": n_catalogue,
        "coverage": n_items / n_catalogue if n_catalogue else None,
        "bands": list(table.values()),
        "sources": _summed(origins, "source"),
        "rungs": _summed(origins, "rung"),
    }


def _summed(rows: Sequence[Mapping[str, Any]], column: str) -> list[dict[str, Any]]:
    """`n` by `column`, largest first."""
    names = {row[column] for row in rows}
    totals = [{column: name, "n": sum(row["n"] for row in rows if row[column] == name)} for name in names]
    return sorted(totals, key=lambda row: (-row["n"], row[column]))


def _training(read: Read) -> dict[str, Any]:
    """What the ranker's card tells of its training."""
    _, rows = _first_part(read, "rankers", (FIT, TUNE, TEST, SERVE))
    if not rows:
        return {}
    card = json.loads(rows[0]["card"])
    wanted = ("model", "parameters", "n_parameters", "seconds", "best_epoch", "metrics")
    return {"curve": card.get("curve", []), **{key: card[key] for key in wanted if key in card}}


def _steps(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The run's jobs, each with the slices that it computed together in `seconds`."""
    steps: dict[str, dict[str, Any]] = {}
    for run in runs:
        step = steps.setdefault(
            run["job"], {"job": run["job"], "slices": [], "n_rows": run["n_rows"], "seconds": 0.0, "status": run["status"]}
        )
        step["slices"] += [run["slice"]] if run["slice"] else []
        step["seconds"] = max(step["seconds"], run["seconds"] or 0.0)
    return list(steps.values())


def build_summary(
    read: Read,
    parts: Mapping[str, str],
    runs: Sequence[Mapping[str, Any]],
    seconds: float,
    warehouse: str,
    max_users: int = 3,
) -> dict[str, Any]:
    """All that a person wants to know at the end of a run; JSON-serialisable, and of a size that does not grow with the data.

    `read(table, part)` gives a table at the horizon of a part (`parts`: part -> horizon), or None; `runs` are this run's rows of
    the table `runs`. Tables that are missing leave their entry empty.
    """
    serving = [part for part in (SERVE, TEST, TUNE) if part in parts]
    measured = [part for part in (TEST, TUNE) if part in parts]
    interactions, item_index, user_index = read("interactions"), read("item_index"), read("user_index")
    n_catalogue = 0 if item_index is None else item_index.count()
    published: dict[str, Any] = {}
    groups: list[dict[str, Any]] = []
    if interactions is not None:
        item_counts = interactions.groupBy("item_idx").agg(F.count(F.lit(1)).alias("n_events"))
        groups = _tail_groups(item_counts)
        published = _published(read, item_counts, groups, n_catalogue)
    tail = _long_tail(groups)
    event_types, first, last = _types_and_ends(interactions)
    metrics_part, metrics = _first_part(read, "metrics", measured)
    _, champion = _first_part(read, "champion", (*serving, FIT))
    _, gates = _first_part(read, "gates", serving)
    flagged = next((frame for part in serving if (frame := read("flagged_users", part)) is not None), None)
    staged = next((frame for part in serving if (frame := read("staged_recommendations", part)) is not None), None)
    summary = {
        "warehouse": warehouse,
        "parts": dict(parts),
        "seconds": seconds,
        "runs": _steps(runs),
        "refused": "",
        "counts": {"users": 0 if user_index is None else user_index.count(), "items": n_catalogue, "events": tail["n_events"]},
        "intake": _account(read("intake")),
        "quarantine": _counts(read("quarantine"), "reason"),
        "flagged": _counts(flagged, "reason"),
        "events_over_time": [] if interactions is None or first is None or last is None else _over_time(interactions, first, last),
        "event_types": event_types,
        "long_tail": tail,
        "metrics": {"part": metrics_part, "horizon": parts.get(metrics_part, ""), "rows": metrics},
        "champion": champion[0] if champion else {},
        "gates": gates,
        "published": published,
        "shortfalls": _counts(staged.where("shortfall != ''") if staged is not None else None, "shortfall"),
        "training": _training(read),
        "users": show_users(read, serving[0], max_users) if serving else [],
    }
    plain: dict[str, Any] = _plain(summary)
    return plain
