"""recommendations as plain rows, for CSV and parquet files."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def build_export(recommendations: DataFrame) -> DataFrame:
    """One row per (user_id, rank): user_id, rank, item_id, score, source, rung, because (a JSON list of item_ids)."""
    rows = recommendations.select("user_id", F.explode("items").alias("one"))
    names = ("rank", "item_id", "score", "source", "rung")
    return rows.select("user_id", *[f"one.{name}" for name in names], F.to_json("one.because").alias("because"))
