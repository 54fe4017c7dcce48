"""Items like an item, under the ids they came with."""

from __future__ import annotations

from pydantic import PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.columns import ITEM
from recspark.tables.lineage import Tell


def build_similar_items(
    neighbours: DataFrame,
    item_index: DataFrame,
    item_features: DataFrame,
    *,
    k: PositiveInt = 20,
    source: str = "item_knn",
    tell: Tell,
) -> DataFrame:
    """item_id -> the first k available ones of its neighbours: item_id, rank (from 1), score, support; most similar first.

    Neighbours were cut at the source's n_neighbours when unavailable items still stood among them. Where so many of them are
    unavailable that fewer than k are left, the list is shorter, though items beyond the cut might have filled it; how many lists
    that are is told, and a larger n_neighbours makes them fewer. Items without an available neighbour have no row.

    Args:
        k: length of the published list.
        source: whose neighbours.
        tell: is told how many items have fewer than k for want of available neighbours (short_lists).
    """
    ids = item_index.select(F.col("item_idx").cast("bigint").alias("idx"), "item_id")
    available = item_features.filter("available").select(F.col("item_idx").cast("bigint").alias("neighbour_idx"))
    others = ids.select(F.col("idx").alias("neighbour_idx"), F.col("item_id").alias("other_id")).join(available, "neighbour_idx")
    own = neighbours.filter((F.col("kind") == ITEM) & (F.col("source") == source))
    kept = own.join(available.withColumn("kept", F.lit(1)), "neighbour_idx", "left").groupBy("idx")
    lengths = kept.agg(F.count(F.lit(1)).alias("n"), F.count("kept").alias("n_kept"))
    tell("short_lists", lengths.filter((F.col("n_kept") < k) & (F.col("n_kept") < F.col("n"))).count())
    found = own.join(others, "neighbour_idx")
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
