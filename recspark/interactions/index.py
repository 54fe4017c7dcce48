"""Their ids -> dense indexes from 0. Append-only: an id keeps its index for ever."""

from __future__ import annotations

from pydantic import PositiveInt
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recspark.tables.lineage import NewRows, Previous

LARGEST_INT = 2**31 - 1


def _numbered(ids: DataFrame, known: DataFrame, key: str, idx: str, n_buckets: int) -> DataFrame:
    """The ids that `known` lacks, numbered on from its last index.

    An id's number is: known ids, plus the new ids of lower hash buckets, plus its place by id in its own bucket. It depends on the ids
    alone, not on partitions: numbering physical partitions gives other answers whenever Spark coalesces them differently.
    """
    fresh = ids.filter(F.col(key).isNotNull()).distinct().join(known.select(key), key, "left_anti")
    bucketed = fresh.withColumn("bucket", F.pmod(F.xxhash64(key), F.lit(n_buckets)))
    counts = bucketed.groupBy("bucket").agg(F.count(F.lit(1)).alias("n"))
    counted = counts.agg(F.sort_array(F.collect_list(F.struct("bucket", "n"))).alias("counts"))
    offsets = counted.selectExpr(
        "inline(transform(counts, c -> struct(c.bucket as bucket, "
        "aggregate(filter(counts, d -> d.bucket < c.bucket), 0L, (total, d) -> total + d.n) as offset)))"
    )
    start = known.agg(F.coalesce(F.max(idx).cast("bigint") + 1, F.lit(0).cast("bigint")).alias("start"))
    place = F.row_number().over(Window.partitionBy("bucket").orderBy(key)) - 1
    numbered = bucketed.withColumn("place", place).join(offsets, "bucket").crossJoin(start)
    return numbered.select(key, (F.col("start") + F.col("offset") + F.col("place")).alias(idx))


def build_user_index(
    clean_events: NewRows, clean_users: DataFrame | None, user_index: Previous, *, n_buckets: PositiveInt = 64
) -> DataFrame:
    """`user_index` of the ids that this delivery brings, by its events or by the users source. `n_buckets`: tasks that number ids."""
    ids = clean_events.select("user_id")
    if clean_users is not None:
        ids = ids.unionByName(clean_users.select("user_id"))
    return _numbered(ids, user_index, "user_id", "user_idx", n_buckets)


def build_item_index(
    clean_events: NewRows, clean_items: DataFrame | None, item_index: Previous, *, n_buckets: PositiveInt = 64
) -> DataFrame:
    """`item_index` of the ids that this delivery brings, by its events or by the items source.

    Beyond 2^31 items the index is null, which the table refuses.
    """
    ids = clean_events.select("item_id")
    if clean_items is not None:
        ids = ids.unionByName(clean_items.select("item_id"))
    numbered = _numbered(ids, item_index, "item_id", "item_idx", n_buckets)
    return numbered.withColumn("item_idx", F.when(F.col("item_idx") <= LARGEST_INT, F.col("item_idx").cast("int")))
