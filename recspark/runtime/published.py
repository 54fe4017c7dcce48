"""The live tables, for people: one user's row, a flat export, and the way back to what was live before."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recspark.errors import ConfigError, StoreError
from recspark.recommendations.flat import build_export
from recspark.runtime.ledger import Entry, claim
from recspark.runtime.nightly import House, absolute, open_house
from recspark.tables import RECOMMENDATIONS, RUNS, SIMILAR_ITEMS

N_HISTORY = 10
LIVE = (RECOMMENDATIONS.name, SIMILAR_ITEMS.name)


def _live(house: House, table: str) -> DataFrame:
    if table not in LIVE:
        raise ConfigError(f"{table!r} is not published; there are {' and '.join(LIVE)}")
    if table not in house.ledger.versions:
        raise StoreError(f"nothing is published in {house.store.warehouse} yet; `recspark run` with this configuration publishes")
    return house.store.read(table, house.ledger.versions[table])


def show_user(user_id: str, *, config_file: str | Path | None, env: str, assignments: Sequence[str], console: Console) -> dict[str, Any]:
    """Print one user's latest events and live recommendations; return them as data."""
    with open_house(config_file, env, assignments) as house:
        rows = _live(house, RECOMMENDATIONS.name).where(F.col("user_id") == user_id).collect()
        if not rows:
            raise ConfigError(f"user {user_id!r} has no recommendations: ids are compared as text, exactly as they stand in the source")
        history = _history(house, user_id)
        offered = [item.asDict(recursive=True) for item in rows[0]["items"]]
        titles = _titles(
            house, {row["item_id"] for row in [*history, *offered]} | {because for row in offered for because in row["because"]}
        )
        found = {"user_id": user_id, "history": history, "recommendations": offered, "titles": titles}
    _print(found, console)
    return found


def _history(house: House, user_id: str) -> list[dict[str, Any]]:
    events = house.store.read("clean_events", house.ledger.versions["clean_events"]).where(F.col("user_id") == user_id)
    latest = events.orderBy(F.col("event_order").desc(), "item_id").limit(N_HISTORY)
    return [row.asDict() for row in latest.select("item_id", "event_type", "value", "event_at").collect()]


def _titles(house: House, item_ids: set[str]) -> dict[str, str]:
    if "clean_items" not in house.ledger.versions:
        return {}
    items = house.store.read("clean_items", house.ledger.versions["clean_items"]).where(F.col("item_id").isin(sorted(item_ids)))
    return {row.item_id: row.title for row in items.where("title is not null").select("item_id", "title").collect()}


def _print(found: dict[str, Any], console: Console) -> None:
    def name(item_id: str) -> str:
        return escape(found["titles"].get(item_id, item_id))

    history = Table(title=f"latest events of {escape(found['user_id'])}")
    for heading in ("item", "event", "value", "at"):
        history.add_column(heading)
    for row in found["history"]:
        history.add_row(
            name(row["item_id"]), escape(row["event_type"]), "" if row["value"] is None else f"{row['value']:g}", str(row["event_at"] or "")
        )
    offered = Table(title="live recommendations")
    for heading in ("rank", "recommended", "source", "because", "ordered by"):
        offered.add_column(heading)
    for row in found["recommendations"]:
        because = "; ".join(map(name, row["because"]))
        offered.add_row(str(row["rank"]), name(row["item_id"]), row["source"], because, row["rung"])
    console.print(history)
    console.print(offered)


def export_table(
    table: str, target: str, overwrite: bool, *, config_file: str | Path | None, env: str, assignments: Sequence[str], console: Console
) -> None:
    """Write a live table flat, a row an item of a list, into the folder or URL `target`; its ending says csv or parquet."""
    kind = target.rsplit(".", 1)[-1].lower() if "." in target else ""
    if kind not in ("csv", "parquet"):
        raise ConfigError(f"export to {target}: the ending says the format, and {kind or 'none'!r} is neither csv nor parquet")
    place = absolute(target)
    with open_house(config_file, env, assignments) as house:
        live = _live(house, table)
        flat = build_export(live) if table == RECOMMENDATIONS.name else live.select(*SIMILAR_ITEMS.key, F.explode("items").alias("one"))
        if table == SIMILAR_ITEMS.name:
            flat = flat.select("item_id", "one.rank", F.col("one.item_id").alias("similar_item_id"), "one.score", "one.support")
        write_flat(flat, place, kind, overwrite=overwrite)
        n_rows = live.select(F.sum(F.size("items"))).collect()[0][0] or 0
    console.print(f"{table}: {n_rows:,} rows as {kind} in the folder {target}")


def write_flat(frame: DataFrame, place: str, kind: str, *, overwrite: bool) -> None:
    """Write a flat frame into the folder or URL `place`; texts stand as they are, blanks around them too.

    Raises:
        ConfigError: something is there, and is not to be overwritten.
    """
    writer = frame.write.mode("overwrite" if overwrite else "error")
    try:
        if kind == "csv":
            blanks = {"ignoreLeadingWhiteSpace": False, "ignoreTrailingWhiteSpace": False}
            writer.options(header=True, escape='"', **blanks).csv(place)
        else:
            writer.parquet(place)
    except AnalysisException as error:
        if "PATH_ALREADY_EXISTS" not in str(error):
            raise
        raise ConfigError(f"export to {place}: something is there already; name another place, or replace it with --overwrite") from error


def rollback_recommendations(*, config_file: str | Path | None, env: str, assignments: Sequence[str], console: Console) -> None:
    """Make the recommendations that were published before the live ones live again, and record it as a run."""
    started = time.monotonic()
    with open_house(config_file, env, assignments) as house:
        _live(house, RECOMMENDATIONS.name)
        published = (F.col("job") == RECOMMENDATIONS.name) & (F.col("status") != "claimed")
        rows = house.store.read(RUNS.name).where(published).orderBy("sequence").collect()
        versions = list(dict.fromkeys(row.outputs[RECOMMENDATIONS.name] for row in rows))
        sources = [json.loads(row.note).get("restored") for row in rows]
        live = sources[-1] if sources[-1] is not None else versions[-1]
        earlier = [version for version in versions[: versions.index(live)] if version not in sources]
        if not earlier:
            raise StoreError("there is nothing to go back to: the live recommendations are the first that were published")
        house.ledger.commit([claim(RECOMMENDATIONS.name, "", {RECOMMENDATIONS.name: house.ledger.versions[RECOMMENDATIONS.name]})])
        head = house.store.restore(RECOMMENDATIONS.name, earlier[-1])
        entry = Entry(
            job=RECOMMENDATIONS.name,
            slice="",
            fingerprint=f"rolled back to {earlier[-1]}",
            outputs={RECOMMENDATIONS.name: head},
            inputs={},
            parameters="{}",
            n_rows=None,
            started_at=datetime.now(UTC),
            seconds=time.monotonic() - started,
            status="rolled back",
            note={"restored": earlier[-1]},
        )
        house.ledger.commit([entry])
    console.print(
        f"recommendations are again what version {earlier[-1]} was; the next `recspark run` publishes anew, and until then report.html tells of the run before"
    )
