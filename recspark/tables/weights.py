"""What an event of `interactions` weighs when a model learns from it, at the cut."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce
from typing import Literal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.columns import MICROSECONDS_A_DAY
from recspark.errors import ConfigError

# How an event's value (a rating, a quantity, seconds) enters its weight, so that a value of 1 and a missing one weigh the same:
# ignore: not at all; linear: value; log: log2(1 + value), so that an hour in seconds counts 12 times one second, not 3,600 times.
ValueAs = Literal["ignore", "linear", "log"]


def type_weight(weights: Mapping[str, float]) -> Column:
    """The event type's weight; null where it has none above 0.

    Raises:
        ConfigError: a weight below 0 or not finite, or none above 0.
    """
    wrong = {name: weight for name, weight in weights.items() if not (math.isfinite(weight) and weight >= 0)}
    if wrong:
        raise ConfigError(f"event weights {wrong} are below 0 or not finite: a weight is at least 0; 0 leaves the event type out")
    learnt = sorted((name, float(weight)) for name, weight in weights.items() if weight > 0)
    if not learnt:
        raise ConfigError(f"no event type of {sorted(weights)} has a weight above 0: nothing could be learnt; give one of them a weight")
    nothing = F.lit(None).cast("double")
    return reduce(lambda otherwise, pair: F.when(F.col("event_type") == pair[0], F.lit(pair[1])).otherwise(otherwise), learnt, nothing)


def _strength(value_as: ValueAs) -> Column:
    value = F.greatest(F.coalesce("value", F.lit(1.0)), F.lit(0.0))
    return {"ignore": F.lit(1.0), "linear": value, "log": F.log2(1.0 + value)}[value_as]


def _decay(interactions: DataFrame, half_life_days: float, since: DataFrame) -> Column:
    if not half_life_days > 0:
        raise ConfigError(f"half_life_days is {half_life_days}: a half-life is longer than 0 days; leave it out for no decay")
    times = (F.max(F.unix_micros("event_at")).alias("latest"), F.count_if(F.col("event_at").isNull()).alias("n_untimed"))
    facts = since.agg(*times).collect()[0]
    if facts["n_untimed"]:
        raise ConfigError(
            f"half_life_days is {half_life_days}, but {facts['n_untimed']} events have no event_at: decay needs times; leave half_life_days out"
        )
    age = F.greatest(F.lit(facts["latest"]) - F.unix_micros("event_at"), F.lit(0)) / float(MICROSECONDS_A_DAY)
    return F.pow(F.lit(0.5), age / half_life_days)


def with_weight(
    interactions: DataFrame,
    weights: Mapping[str, float],
    *,
    value_as: ValueAs = "log",
    half_life_days: float | None = None,
    since: DataFrame | None = None,
) -> DataFrame:
    """`interactions` with `weight` (double): weight of the type * strength of the value * 0.5 ** (age / half_life_days).

    0 is an event that is not learnt from: its type has no weight, or its value is 0 or less (unless ignored). Age counts from
    the latest of `since` (None: of `interactions`), so that a cut decays by its own time; finding it runs a job. Later events are new.

    Raises:
        ConfigError: as `type_weight`; a half-life that is not above 0, or events without a time to decay by.
    """
    weight = F.coalesce(type_weight(weights), F.lit(0.0)) * _strength(value_as)
    if half_life_days is not None:
        weight = weight * _decay(interactions, half_life_days, interactions if since is None else since)
    return interactions.withColumn("weight", weight)
