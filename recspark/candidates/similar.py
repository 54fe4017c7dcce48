"""Items like an item, under the ids they came with."""

from __future__ import annotations

from pydantic import PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.columns import ITEM


def build_similar_items(
    neighbours: DataFrame, item_index: DataFrame, item_features: DataFrame, *, k: PositiveInt = 20, source: str = "item_knn"
) -> DataFrame:
    """item_id -> its k most similar available items: item_id, rank (from 1), score, support; most similar first.

    Items without an available neighbour have no row.

    Args:
        k: length of the published list.
        source: whose neighbours.
    """
    ids = item_index.select(F.col("item_idx").cast("bigint").alias("idx"), "item_id")
    available = item_features.filter("available").select(F.col("item_idx").cast("bigint").alias("neighbour_idx"))
    others = ids.select(F.col("idx").alias("neighbour_idx"), F.col("item_id").alias("other_id")).join(available, "neighbour_idx")
    found = neighbours.filter((F.col("kind") == ITEM) & (F.col("source") == source)).join(others, "neighbour_idx")
    entries = F.slice(F.sort_array(F.collect_list(F.struct("position", "other_id", "score", "support"))), 1, k)
    lists = found.groupBy("idx").agg(entries.alias("_entries"))
    items = F.transform(
        "_entries",
        lambda entry, place: F.struct(
            entry["other_id"].alias("item_id"),
            (place + 1).alias("rank"),
            entry["score"].alias("score"),
            entry["support"].alias("support"),
        ),
    )
    return lists.join(ids, "idx").select("item_id", items.alias("items"))
