"""What an event weighs when a model learns from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.errors import ConfigError

_MICROSECONDS_A_DAY = 86_400_000_000


def _type_weight(weights: Mapping[str, float]) -> Column:
    """The event type's weight; null where it has none above 0."""
    wrong = {name: weight for name, weight in weights.items() if not (math.isfinite(weight) and weight >= 0)}
    if wrong:
        raise ConfigError(f"event weights {wrong} are below 0 or not finite: a weight is at least 0; 0 leaves the event type out")
    learnt = sorted((name, float(weight)) for name, weight in weights.items() if weight > 0)
    if not learnt:
        raise ConfigError(f"no event type of {sorted(weights)} has a weight above 0: nothing could be learnt; give one of them a weight")
    nothing = F.lit(None).cast("double")
    return reduce(lambda otherwise, pair: F.when(F.col("event_type") == pair[0], F.lit(pair[1])).otherwise(otherwise), learnt, nothing)


def with_weight(interactions: DataFrame, weights: Mapping[str, float], half_life_days: float | None) -> DataFrame:
    """`interactions` with `weight` (double, above 0): weight of the type * value (1 where null) * 0.5 ** (age / half_life_days).

    Age counts from the latest of `interactions`, so that a cut decays by its own time. Events whose type is not in `weights`
    or whose weight is not above 0 (a type's 0, a value of 0 or less) are left out. Where decay is asked for and an event has no
    time, the query fails in words.

    Raises:
        ConfigError: a weight below 0 or not finite, no weight above 0, or a half-life that is not above 0.
    """
    weight = _type_weight(weights) * F.coalesce(F.col("value"), F.lit(1.0))
    if half_life_days is not None:
        if not half_life_days > 0:
            raise ConfigError(f"half_life_days = {half_life_days}: a half-life is above 0 days; leave it out for no decay")
        latest = interactions.agg(F.max("event_at").alias("_latest"))
        age = (F.unix_micros("_latest") - F.unix_micros("event_at")) / F.lit(float(_MICROSECONDS_A_DAY))
        untimed = F.raise_error(F.lit("half_life_days is set, but an event has no event_at: decay needs times; leave half_life_days out"))
        interactions = interactions.crossJoin(latest)
        weight = F.when(F.col("event_at").isNull(), untimed.cast("double")).otherwise(weight * F.pow(F.lit(0.5), age / half_life_days))
    return interactions.withColumn("weight", weight).filter(F.col("weight") > 0).drop("_latest")


def keep_latest_ratings(interactions: DataFrame, weights: Mapping[str, float]) -> DataFrame:
    """user_idx, item_idx, rating (double): the value of each pair's latest event that has one, of the types with a weight above 0.

    An event without a value is no rating. "Latest" is by (event_order, event_type, event_key).

    Raises:
        ConfigError: as `with_weight`.
    """
    rated = interactions.filter(_type_weight(weights).isNotNull() & F.col("value").isNotNull())
    latest = F.max_by("value", F.struct("event_order", "event_type", "event_key"))
    return rated.groupBy("user_idx", "item_idx").agg(latest.alias("rating"))
