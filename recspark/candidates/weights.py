"""What a user's events say of an item: how much it was used, or how it was rated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.tables.weights import type_weight


def add_up_pairs(weighted: DataFrame) -> DataFrame:
    """user_idx, item_idx, weight (above 0): the sum of each pair's weights, added in ascending order, however the rows lie."""
    ordered = F.array_sort(F.collect_list("weight"))
    total = F.aggregate(ordered, F.lit(0.0), lambda so_far, weight: so_far + weight)
    return weighted.filter("weight > 0").groupBy("user_idx", "item_idx").agg(total.alias("weight"))


def keep_latest_ratings(interactions: DataFrame, weights: Mapping[str, float], also: Sequence[str] = ()) -> DataFrame:
    """user_idx, item_idx, rating (double): the value of each pair's latest event that has one, of the types with a weight above 0.

    `also` names further columns of that event to keep. An event without a value is no rating. "Latest" is by (event_order, event_type, event_key).

    Raises:
        ConfigError: as `type_weight`.
    """
    rated = interactions.filter(type_weight(weights).isNotNull() & F.col("value").isNotNull())
    latest = F.max_by(F.struct(F.col("value").alias("rating"), *also), F.struct("event_order", "event_type", "event_key"))
    return rated.groupBy("user_idx", "item_idx").agg(latest.alias("_latest")).select("user_idx", "item_idx", "_latest.*")
