"""One row to be served for every user of the index."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import PositiveInt
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.errors import ConfigError
from recspark.tables.horizon import Horizon
from recspark.tables.lineage import PastRows


def _timestamp(moment: datetime) -> Column:
    """`moment` as a timestamp; without a zone it is UTC, whatever the zone of the machine."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since_epoch = aware - datetime(1970, 1, 1, tzinfo=UTC)
    micros = (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000 + since_epoch.microseconds
    return F.timestamp_micros(F.lit(micros).cast("bigint"))


def _with_as_of(users: DataFrame, interactions: DataFrame, horizon: Horizon) -> DataFrame:
    if horizon.cut is not None:
        return users.withColumn("as_of", _timestamp(horizon.cut))
    latest = interactions.groupBy("user_idx").agg(F.max("event_at").alias("as_of"))
    return users.join(latest, "user_idx", "left")


def build_requests(user_index: DataFrame, interactions: PastRows, *, horizon: Horizon, k: PositiveInt = 10) -> DataFrame:
    """One request for each user of the index, users without events included; `request_idx` is the user's index.

    `as_of` is the horizon's cut; at a horizon that is not a cut in time, the user's latest event among the given rows, repeats included,
    null where there is none or it has no time. `k` is how many items to recommend.

    Raises:
        ConfigError: `k` is less than 1.
    """
    if k < 1:
        raise ConfigError(f"requests.k is {k}: a request asks for at least one item; set it to 1 or more")
    users = user_index.select("user_idx")
    return _with_as_of(users, interactions, horizon).select(
        F.col("user_idx").alias("request_idx"), "user_idx", "as_of", F.lit(k).cast("int").alias("k")
    )
