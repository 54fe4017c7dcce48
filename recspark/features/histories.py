"""Each request's latest events."""

from __future__ import annotations

from pydantic import PositiveInt
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from recspark.columns import MICROSECONDS_A_DAY, PAD_ITEM
from recspark.errors import ConfigError
from recspark.tables.lineage import HistoryRows

# A user's events in time; the key makes the order total where everything else is equal.
EVENT_ORDER = ("event_order", "item_idx", "event_type", "event_key")


def _events_of_requests(interactions: DataFrame, requests: DataFrame) -> DataFrame:
    """One row a request and event up to its `as_of`; a request without events keeps one row of nulls."""
    events = interactions.select(F.col("user_idx").alias("event_user"), "event_at", *EVENT_ORDER)
    not_later = F.coalesce(F.col("event_at") <= F.col("as_of"), F.lit(True))
    asked = requests.select("request_idx", "user_idx", "as_of")
    return asked.join(events, (F.col("user_idx") == F.col("event_user")) & not_later, "left")


def _keep_latest(events: DataFrame, n: int) -> DataFrame:
    """The last `n` events of each request: cut before anything is gathered, so no list ever holds a whole life."""
    # By user and request: the join has brought a user's rows together already, so this costs no second shuffle.
    window = Window.partitionBy("user_idx", "request_idx").orderBy(*[F.col(name).desc() for name in EVENT_ORDER])
    return events.withColumn("position", F.row_number().over(window)).where(F.col("position") <= n)


def padded(values: Column, filler: Column, max_length: int) -> Column:
    """A list of at most `max_length` values, filled on the right."""
    return F.concat(values, F.array_repeat(filler, F.lit(max_length) - F.size(values)))


def type_codes(types: list[str]) -> Column:
    """1 + the place of the event's type in `types`, 0 for one that is not listed."""
    return F.array_position(F.array(*map(F.lit, types)), F.col("event_type")).cast("int") if types else F.lit(0)


def build_histories(interactions: HistoryRows, requests: DataFrame, *, max_length: PositiveInt = 50, types: list[str]) -> DataFrame:
    """Each request's latest `max_length` events up to its `as_of`, oldest first, padded on the right to `max_length`.

    Order is (event_order, item_idx, event_type). `event_types` holds 1 + the position in `types`, 0 for a type that is
    not listed. `ages` are days from the event to `as_of`; 0 where either has no time. Requests without events have
    length 0.

    Raises:
        ConfigError: `max_length` is less than 1.
    """
    if max_length < 1:
        raise ConfigError(f"histories.max_length is {max_length}: a history holds at least one event; set it to 1 or more")
    age = ((F.unix_micros("as_of") - F.unix_micros("event_at")) / MICROSECONDS_A_DAY).cast("float")
    no_time = F.lit(0.0).cast("float")
    event = F.struct(*EVENT_ORDER, type_codes(types).alias("code"), F.coalesce(age, no_time).alias("age"))
    gathered = (
        _keep_latest(_events_of_requests(interactions, requests), max_length)
        .groupBy("user_idx", "request_idx")
        .agg(F.array_sort(F.collect_list(F.when(F.col("event_user").isNotNull(), event))).alias("events"))
    )

    def field(name: str) -> Column:
        return F.transform("events", lambda entry: entry[name])

    return gathered.select(
        "request_idx",
        padded(field("item_idx"), F.lit(PAD_ITEM), max_length).alias("items"),
        padded(field("code"), F.lit(0), max_length).alias("event_types"),
        padded(field("age"), no_time, max_length).alias("ages"),
        F.size("events").alias("length"),
    )
