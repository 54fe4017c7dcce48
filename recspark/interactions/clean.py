"""Landed rows -> what is kept, what is refused, and the account of both."""

from __future__ import annotations

from typing import Annotated

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.interactions.mapping import Order
from recspark.tables.lineage import Before, NewRows, Previous

FIELDS = ("user_id", "item_id", "event_type", "value", "event_at")


def _defining(order: Order) -> tuple[str, ...]:
    """The fields that make two rows the same event. A column's order is the source's word; a file's order is an accident."""
    return (*FIELDS, "event_order") if order == "column" else FIELDS


def _event_key(fields: tuple[str, ...]) -> Column:
    # The hash passes over nulls: without saying which are null, (null, 5) and (5, null) would be one event.
    return F.xxhash64(*fields, F.col("value").isNull(), F.col("event_at").isNull())


def build_quarantine(landed_events: DataFrame) -> DataFrame:
    """`quarantine`: the landed rows that break a rule, with the rule."""
    refused = landed_events.filter(F.col("problem").isNotNull())
    return refused.select(F.col("problem").alias("reason"), F.coalesce("row", F.lit("{}")).alias("row"), "source_file")


def build_clean_events(landed_events: DataFrame, clean_events: Previous, *, order: Order = "time") -> DataFrame:
    """`clean_events`: sound rows that no earlier delivery brought; of exact repetitions the one that sorts first.

    `order` is what sorts the source's events; where it is a column, two events that differ only there are two events. An event
    that the source holds out is held out also where it stands among the others.
    """
    fields = _defining(order)
    sound = landed_events.filter(F.col("problem").isNull())
    first = [F.min(name).alias(name) for name in ("event_order", "part") if name not in fields]
    distinct = sound.groupBy(*fields).agg(*first)
    keyed = distinct.withColumn("event_key", _event_key(fields))
    fresh = keyed.join(clean_events.select("user_id", "event_key"), ["user_id", "event_key"], "left_anti")
    return fresh.select(*FIELDS, "event_order", "part", "event_key")


def _count_duplicates(landed_events: DataFrame, earlier: DataFrame, fields: tuple[str, ...]) -> DataFrame:
    """Rows beyond the first of each event, and the first too where an earlier delivery brought it. Compares fields, not their hash."""
    events = landed_events.filter(F.col("problem").isNull()).groupBy(*fields).agg(F.count(F.lit(1)).alias("n_rows"))
    known = earlier.select(*(F.col(name).alias(f"known_{name}") for name in fields), F.lit(1).alias("n_known"))
    same = [F.col(name).eqNullSafe(F.col(f"known_{name}")) for name in fields]
    return events.join(known, same, "left").agg(
        F.coalesce(F.sum(F.col("n_rows") - 1 + F.coalesce("n_known", F.lit(0))), F.lit(0)).cast("bigint").alias("duplicates")
    )


def build_intake(
    landed_events: DataFrame,
    clean_events: NewRows,
    quarantine: NewRows,
    earlier: Annotated[DataFrame, Before("clean_events")],
    *,
    order: Order = "time",
) -> DataFrame:
    """`intake`: the account of a delivery, one row, each figure counted by itself; that they add up is the table's check."""
    rows = F.count(F.lit(1)).cast("bigint")
    return (
        landed_events.agg(rows.alias("rows_in"))
        .crossJoin(clean_events.agg(rows.alias("kept")))
        .crossJoin(quarantine.agg(rows.alias("quarantined")))
        .crossJoin(_count_duplicates(landed_events, earlier, _defining(order)))
    )
