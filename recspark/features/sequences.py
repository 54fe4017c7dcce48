"""What next-item models learn from: each user's learnt events in order, in rows of one length."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recspark.columns import MICROSECONDS_A_DAY, PAD_ITEM
from recspark.features.contexts import with_user_features
from recspark.features.histories import EVENT_ORDER, padded, type_codes
from recspark.tables.lineage import LearnRows


def build_sequences(
    interactions: LearnRows,
    user_features: DataFrame,
    *,
    max_length: Annotated[int, Field(ge=2)] = 51,
    max_windows: PositiveInt = 4,
    types: list[str],
) -> DataFrame:
    """Each user's latest learnt events, oldest first, in windows of `max_length` events, padded on the right.

    Window 0 holds the latest events, window 1 those before. Two neighbouring windows share one event, so that every step from an
    event to the next stands in exactly one row. A user of one event has no step, and no row.
    Order, items and event_types as in `build_histories`. `ages` are days from the event to the user's latest learnt one; 0 where
    either has no time. `seen_items` is what a user must not be told to dislike: the item of the latest event, then the
    distinct items of the events before, ascending, of all windows.

    Args:
        max_length: events a row, one more than a causal model reads; longer ones see further back, and training costs up to their square.
        max_windows: rows a user; events before the last of them are not learnt from.
        types: the configuration's event types, in its order.
    """
    step = max_length - 1
    latest = Window.partitionBy("user_idx").orderBy(*[F.col(name).desc() for name in EVENT_ORDER])
    known = interactions.withColumn("place", F.row_number().over(latest)).where(F.col("place") <= max_windows * step + 1)
    event = F.struct(*EVENT_ORDER, type_codes(types).alias("code"), F.unix_micros("event_at").alias("at"))
    users = known.groupBy("user_idx").agg(F.array_sort(F.collect_list(event)).alias("all")).where(F.size("all") > 1)
    rows = users.withColumn("window", F.explode(F.sequence(F.lit(0), F.ceil((F.size("all") - 1) / step).cast("int") - 1)))
    end = F.size("all") - F.col("window") * step
    start = F.greatest(F.lit(0), end - max_length)
    before = F.slice(F.col("all.item_idx"), 1, F.size("all") - 1)
    own = rows.select(
        "user_idx",
        "window",
        F.slice("all", start + 1, end - start).alias("events"),
        F.element_at("all", -1).alias("last"),
        F.concat(F.array(F.element_at("all.item_idx", -1)), F.array_sort(F.array_distinct(before))).alias("seen"),
    )
    age = F.transform("events", lambda one: F.coalesce((F.col("last.at") - one["at"]) / MICROSECONDS_A_DAY, F.lit(0.0)).cast("float"))
    return with_user_features(own, user_features).select(
        (F.col("user_idx") * max_windows + F.col("window")).alias("sequence_idx"),
        "user_idx",
        "window",
        padded(F.col("events.item_idx"), F.lit(PAD_ITEM), max_length).alias("items"),
        padded(F.col("events.code"), F.lit(0), max_length).alias("event_types"),
        padded(age, F.lit(0.0).cast("float"), max_length).alias("ages"),
        F.size("events").alias("length"),
        padded(F.col("seen"), F.lit(PAD_ITEM), max_windows * step + 2).alias("seen_items"),
        "user_numbers",
        "user_categories",
    )
