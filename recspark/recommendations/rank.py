"""scores -> ranked: the ranker's list of each request."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def build_ranked(scores: DataFrame) -> DataFrame:
    """Each request's candidates, best first by (score descending, item_idx): request_idx, items, scores.

    A candidate whose score is NaN or null has no place among the others: it is left out, and the ladder of
    recommendations fills up what is then missing. A request keeps its row, with an empty list if need be.
    """
    pairs = F.filter(F.arrays_zip("items", "scores"), lambda pair: pair["scores"].isNotNull() & ~F.isnan(pair["scores"]))
    keys = F.transform(pairs, lambda pair: F.struct((-pair["scores"]).alias("minus_score"), pair["items"].alias("item")))
    ordered = scores.select("request_idx", F.array_sort(keys).alias("ordered"))
    return ordered.select(
        "request_idx",
        F.transform("ordered", lambda one: one["item"]).alias("items"),
        F.transform("ordered", lambda one: -one["minus_score"]).alias("scores"),
    )
