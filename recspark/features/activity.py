"""How many users and items have how many others: what the cost of a job is forecast from."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.columns import ITEM, USER
from recspark.tables.lineage import LearnRows
from recspark.tables.weights import type_weight

# Buckets an octave: a bucket's largest degree is at most 9 % above its smallest.
_FINENESS = 8


def _bucket(degree: str) -> Column:
    return F.floor(_FINENESS * F.log2(degree)).cast("int")


def build_activity(interactions: LearnRows, *, weights: dict[str, float]) -> DataFrame:
    """A histogram of users and of items by degree, the number of distinct others that they have learnt events with.

    Buckets are logarithmic, and hold exact sums: some hundred rows, however many users and items there are. One shuffle of the
    events, by user.

    Args:
        weights: weight of each event type; 0 leaves it out.

    Raises:
        ConfigError: event weights that nothing can be learnt from.
    """
    learnt = interactions.filter(type_weight(weights).isNotNull()).select("user_idx", F.col("item_idx").cast("bigint"))
    # Laid out by user once: then neither the pairs nor the users need another shuffle, and the items' counts are small.
    pairs = learnt.repartition("user_idx").groupBy("user_idx", "item_idx").agg(F.count(F.lit(1)).alias("n"))

    def degrees(kind: str, index: str) -> DataFrame:
        rows = pairs.groupBy(F.col(index).alias("idx")).agg(F.count(F.lit(1)).alias("degree"), F.sum("n").alias("n"))
        return rows.withColumn("kind", F.lit(kind))

    rows = degrees(USER, "user_idx").unionByName(degrees(ITEM, "item_idx"))
    return rows.groupBy("kind", _bucket("degree").alias("bucket")).agg(
        F.count(F.lit(1)).alias("n_rows"),
        F.sum("degree").alias("n_pairs"),
        F.sum(F.col("degree").cast("double") * F.col("degree")).alias("squares"),
        F.max("degree").alias("largest"),
        F.sum("n").alias("n_events"),
        F.max("n").alias("most_events"),
        F.max("idx").alias("largest_idx"),
    )
