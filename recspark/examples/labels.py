"""What each request's user went on to do."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.tables.lineage import LabelRows


def _label_items(interactions: DataFrame, types: list[str] | None, min_value: float | None) -> DataFrame:
    """One row a user and item: the largest value of its label events, and whether one of them counts as positive."""
    positive = F.lit(True) if types is None else F.col("event_type").isin(types)
    if min_value is not None:
        # An event without a value counts as 1, as everywhere.
        positive = positive & (F.coalesce("value", F.lit(1.0)) >= min_value)
    return interactions.groupBy("user_idx", "item_idx").agg(F.max("value").alias("value"), F.max(positive).alias("positive"))


def _without_seen(labels: DataFrame, seen: DataFrame) -> DataFrame:
    """Drop the items that the request must not be offered and count them. Intersections are hashed: long lists stay cheap."""
    no_items = F.array().cast("array<int>")
    items = F.transform("entries", lambda entry: entry["item_idx"])
    seen_ones = F.array_intersect(items, F.coalesce("seen_items", no_items))
    masked = F.array_union(seen_ones, F.coalesce(F.array_except(items, F.col("allowed")), no_items))
    joined = labels.join(seen.select("request_idx", F.col("items").alias("seen_items"), "allowed"), "request_idx", "left")
    kept = F.filter("entries", lambda entry: ~F.array_contains("masked", entry["item_idx"]))
    return joined.withColumn("masked", masked).select("request_idx", kept.alias("entries"), F.size("masked").alias("n_seen"))


def build_labels(
    interactions: LabelRows, requests: DataFrame, seen: DataFrame, *, types: list[str] | None = None, min_value: float | None = None
) -> DataFrame:
    """The events that the horizon must predict, one entry an item, items ascending; requests without any have no row.

    An item is positive when it has a label event of `types` (None: any type) with value >= `min_value` (None: any
    value; a missing value counts as 1). `values` holds the largest value among all its label events, NaN where none
    has one. Items that `seen` masks, or its allow list leaves out, cannot be recommended: they are left out and counted in `n_seen`; a request whose
    items are all masked keeps its row with empty lists.
    """
    entry = F.struct("item_idx", "value", "positive")
    labels = (
        requests.select("request_idx", "user_idx")
        .join(_label_items(interactions, types, min_value), "user_idx")
        .groupBy("request_idx")
        .agg(F.array_sort(F.collect_list(entry)).alias("entries"))
    )
    return _without_seen(labels, seen).select(
        "request_idx",
        F.transform("entries", lambda entry: entry["item_idx"]).alias("items"),
        F.transform("entries", lambda entry: F.coalesce(entry["value"].cast("float"), F.lit(float("nan")).cast("float"))).alias("values"),
        F.transform("entries", lambda entry: entry["positive"]).alias("positive"),
        "n_seen",
    )
