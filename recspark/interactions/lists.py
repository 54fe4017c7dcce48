"""The lists source -> what users block, and what alone they may be offered, with our indexes."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.interactions.fields import source_column
from recspark.interactions.land import catalogue_id, sound_rows
from recspark.interactions.mapping import ListsMapping
from recspark.tables.lineage import ListsSource

KINDS = ("block", "allow")


def _entries(lists: DataFrame, mapping: ListsMapping) -> DataFrame:
    """user_id, item_id, kind of every row that has all three."""
    kind = F.lit(mapping.kind) if mapping.columns.kind is None else source_column(mapping.columns.kind)
    entries = sound_rows(lists).select(
        catalogue_id(lists, mapping.columns.user_id).alias("user_id"),
        catalogue_id(lists, mapping.columns.item_id).alias("item_id"),
        kind.alias("kind"),
    )
    return entries.filter(F.col("user_id").isNotNull() & F.col("item_id").isNotNull() & F.col("kind").isin(*KINDS))


def land_lists(lists: ListsSource, user_index: DataFrame, item_index: DataFrame, *, mapping: ListsMapping) -> DataFrame:
    """`user_lists`: one row a user, item and kind; ids that are not in the indexes keep their row, and have no index.

    Damaged lines, rows without an id (or with one that is not UTF-8) and rows of another kind than block or allow are left
    out; `count_lists` accounts for them.
    """
    entries = _entries(lists, mapping).distinct()
    return (
        entries.join(user_index.select("user_id", "user_idx"), "user_id", "left")
        .join(item_index.select("item_id", "item_idx"), "item_id", "left")
        .select("user_id", "item_id", "kind", "user_idx", "item_idx")
    )


def count_lists(lists: DataFrame, user_lists: DataFrame, *, mapping: ListsMapping) -> DataFrame:
    """The account of a lists source, one row: rows_in = kept + refused + repeated; `unknown` of the kept name an id without an index."""
    unknown = F.col("user_idx").isNull() | F.col("item_idx").isNull()
    kept = user_lists.agg(F.count(F.lit(1)).alias("kept"), F.count_if(unknown).alias("unknown"))
    whole = lists.agg(F.count(F.lit(1)).alias("rows_in")).crossJoin(_entries(lists, mapping).agg(F.count(F.lit(1)).alias("sound")))
    return whole.crossJoin(kept).select(
        "rows_in",
        "kept",
        (F.col("rows_in") - F.col("sound")).alias("refused"),
        (F.col("sound") - F.col("kept")).alias("repeated"),
        "unknown",
    )
