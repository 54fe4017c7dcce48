"""How much each item is used."""

from __future__ import annotations

from itertools import chain

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.errors import ConfigError
from recspark.tables.lineage import LearnRows

_MICROS_A_DAY = 86_400_000_000.0


def _days_before_latest(moment: str) -> Column:
    return F.coalesce((F.unix_micros("latest_at") - F.unix_micros(moment)) / _MICROS_A_DAY, F.lit(0.0))


def _weight(weights: dict[str, float]) -> Column:
    if not weights:
        return F.lit(0.0)
    by_type = F.create_map(*[F.lit(part) for part in chain.from_iterable((name, float(value)) for name, value in weights.items())])
    return F.coalesce(by_type[F.col("event_type")], F.lit(0.0))


def build_popularity(interactions: LearnRows, *, weights: dict[str, float], half_life_days: float | None = None) -> DataFrame:
    """Events, users and decayed weight of each item that was learnt from.

    score = sum over the item's events of weight[event_type] * 2^(-days before the latest learnt event / half_life_days),
    without the second factor where `half_life_days` is None. A type without a weight counts 0. Events without a time
    count undecayed, so in a source without times a half-life changes nothing; their age is 0. The sum is exact in
    12 decimals, hence the same in any order of the rows.

    Raises:
        ConfigError: `half_life_days` is not above 0.
    """
    if half_life_days is not None and half_life_days <= 0:
        raise ConfigError(f"popularity.half_life_days is {half_life_days}: a half-life is longer than 0 days; leave it out for no decay")
    latest = interactions.agg(F.max("event_at").alias("latest_at"))
    weight = _weight(weights)
    if half_life_days is not None:
        weight = weight * F.pow(F.lit(2.0), -_days_before_latest("event_at") / half_life_days)
    items = (
        interactions.crossJoin(latest)
        .groupBy("item_idx")
        .agg(
            F.count(F.lit(1)).alias("n_events"),
            F.count_distinct("user_idx").alias("n_users"),
            F.sum(weight.cast("decimal(26,12)")).cast("double").alias("score"),
            F.max("event_at").alias("item_latest_at"),
            F.max("latest_at").alias("latest_at"),
        )
    )
    return items.select("item_idx", "n_events", "n_users", "score", _days_before_latest("item_latest_at").cast("float").alias("age"))
