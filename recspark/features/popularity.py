"""How much each item is used."""

from __future__ import annotations

from pydantic import PositiveFloat
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.columns import MICROSECONDS_A_DAY
from recspark.tables.lineage import LearnRows
from recspark.tables.weights import ValueAs, with_weight


def _days_between(earlier: str, later: str) -> Column:
    return F.coalesce((F.unix_micros(later) - F.unix_micros(earlier)) / float(MICROSECONDS_A_DAY), F.lit(0.0)).cast("float")


def build_popularity(
    interactions: LearnRows, *, weights: dict[str, float], value_as: ValueAs = "log", half_life_days: PositiveFloat | None = None
) -> DataFrame:
    """Events, users and decayed weight of each item that was learnt from; age is 0 without times.

    score = sum of its events' weights (`with_weight`); events that weigh 0 are counted all the same. The sum is exact in 12
    decimals, hence the same in any order of the rows.

    Args:
        weights: weight of each event type.
        value_as: how an event's value (a rating, a quantity, seconds) enters its weight: ignore, linear, or log (log2(1 + value)).
        half_life_days: after so many days an event weighs half; none for no decay. Needs times.

    Raises:
        ConfigError: event weights that nothing can be learnt from; decay of events without times.
    """
    weighted = with_weight(interactions, weights, value_as=value_as, half_life_days=half_life_days)
    latest = interactions.agg(F.max("event_at").alias("latest_at"))
    items = (
        weighted.crossJoin(latest)
        .groupBy("item_idx")
        .agg(
            F.count(F.lit(1)).alias("n_events"),
            F.count_distinct("user_idx").alias("n_users"),
            F.sum(F.col("weight").cast("decimal(26,12)")).cast("double").alias("score"),
            F.max("event_at").alias("item_latest_at"),
            F.max("latest_at").alias("latest_at"),
        )
    )
    return items.select("item_idx", "n_events", "n_users", "score", _days_between("item_latest_at", "latest_at").alias("age"))
