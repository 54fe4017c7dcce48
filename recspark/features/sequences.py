"""What next-item models learn from: each user's learnt events in order, in rows of one length."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recspark.columns import MICROSECONDS_A_DAY, PAD_ITEM
from recspark.features.histories import EVENT_ORDER, padded, type_codes
from recspark.tables.lineage import LearnRows


def build_sequences(
    interactions: LearnRows,
    *,
    max_length: Annotated[int, Field(ge=2)] = 51,
    max_windows: PositiveInt = 4,
    types: list[str],
) -> DataFrame:
    """Each user's latest learnt events, oldest first, in windows of `max_length` events, padded on the right.

    Window 0 holds the latest events, window 1 those before. Two neighbouring windows share one event, so that every step from an
    event to the next stands in exactly one row. A row of one event has no step, and is left out.
    Order, items and event_types as in `build_histories`. `ages` are days from the event to the user's latest learnt one; 0 where
    either has no time.

    Args:
        max_length: events a row, one more than a causal model reads; longer ones see further back, and training costs up to their square.
        max_windows: rows a user; events before the last of them are not learnt from.
        types: the configuration's event types, in its order.
    """
    step = max_length - 1
    latest = Window.partitionBy("user_idx").orderBy(*[F.col(name).desc() for name in EVENT_ORDER])
    place = F.row_number().over(latest) - 1
    last_at = F.first("event_at").over(latest)
    events = interactions.select("user_idx", "event_at", *EVENT_ORDER, place.alias("place"), last_at.alias("last_at"))
    known = events.filter(F.col("place") <= max_windows * step)
    # An event at a border ends the older window and begins the newer one.
    own = F.expr(f"place div {step}")
    both = F.when((F.col("place") % step == 0) & (F.col("place") > 0), F.array(own - 1, own)).otherwise(F.array(own))
    rows = known.withColumn("window", F.explode(both)).filter(F.col("window") < max_windows)
    age = (F.unix_micros("last_at") - F.unix_micros("event_at")) / MICROSECONDS_A_DAY
    event = F.struct(*EVENT_ORDER, type_codes(types).alias("code"), F.coalesce(age, F.lit(0.0)).cast("float").alias("age"))
    gathered = rows.groupBy("user_idx", "window").agg(F.array_sort(F.collect_list(event)).alias("events"))
    no_time = F.lit(0.0).cast("float")
    return gathered.filter(F.size("events") > 1).select(
        (F.col("user_idx") * max_windows + F.col("window")).alias("sequence_idx"),
        "user_idx",
        F.col("window").cast("int").alias("window"),
        padded(F.col("events.item_idx"), F.lit(PAD_ITEM), max_length).alias("items"),
        padded(F.col("events.code"), F.lit(0), max_length).alias("event_types"),
        padded(F.col("events.age"), no_time, max_length).alias("ages"),
        F.size("events").alias("length"),
    )
