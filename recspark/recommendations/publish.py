"""staged_recommendations, gates -> recommendations: what goes live."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def build_recommendations(staged_recommendations: DataFrame, gates: DataFrame) -> DataFrame:
    """user_id and items of every staged row if every gate passed, else no row at all: the live rows then stay as they are."""
    verdict = gates.agg(F.coalesce(F.min("passed"), F.lit(False)).alias("passed"))
    return staged_recommendations.crossJoin(verdict).filter("passed").select("user_id", "items")
