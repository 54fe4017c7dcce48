"""Requests with what is measured of them side by side: their positives and every model's list, one row a request."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.columns import RANKER


def positives_of(labels: DataFrame) -> DataFrame:
    """request_idx, positives: the items with a positive label, ascending."""
    pairs = F.filter(F.arrays_zip("items", "positive"), lambda pair: pair["positive"])
    return labels.select("request_idx", F.array_sort(F.transform(pairs, lambda pair: pair["items"])).alias("positives"))


def lists_of_sources(source_candidates: DataFrame, sources: Sequence[str], longest: int | None) -> DataFrame:
    """request_idx and a column `items_SOURCE` for each source: the first `longest` items of its list, null where it has none.

    `longest` None: all of them, and their scores as `scores_SOURCE`.
    """
    wanted = {"items": F.slice("items", 1, longest)} if longest is not None else {"items": F.col("items"), "scores": F.col("scores")}
    lists = [
        F.first(F.when(F.col("source") == source, values), ignorenulls=True).alias(f"{name}_{source}")
        for source in sources
        for name, values in wanted.items()
    ]
    return source_candidates.filter(F.col("source").isin(*sources)).groupBy("request_idx").agg(*lists)


def lists_of_ranker(ranked: DataFrame) -> DataFrame:
    """request_idx, items_ranker, scores_ranker: the ranker's whole list."""
    return ranked.select("request_idx", F.col("items").alias(f"items_{RANKER}"), F.col("scores").alias(f"scores_{RANKER}"))


def _empty_for_null(frame: DataFrame) -> DataFrame:
    """Lists that a request lacks as empty lists, so that kernels meet no nulls."""
    columns = [
        F.coalesce(F.col(f"`{name}`"), F.array().cast(kind)).alias(name) if kind.startswith("array") else F.col(f"`{name}`")
        for name, kind in frame.dtypes
    ]
    return frame.select(*columns)


def measured_requests(
    requests: DataFrame,
    histories: DataFrame,
    labels: DataFrame,
    ranked: DataFrame | None,
    source_candidates: DataFrame,
    sources: Sequence[str],
    longest: int | None,
) -> DataFrame:
    """request_idx, warm (int), positives, items_MODEL of every model, scores_ranker; requests without any of them have empty lists.

    Every table is shuffled once, by request_idx; of the sources only the first `longest` items travel, or (None) all with their scores.
    """
    warm = histories.select("request_idx", (F.col("length") > 0).cast("int").alias("warm"))
    frame = (
        requests.select("request_idx")
        .join(warm, "request_idx", "left")
        .join(positives_of(labels), "request_idx", "left")
        .join(lists_of_sources(source_candidates, sources, longest), "request_idx", "left")
    )
    if ranked is not None:
        frame = frame.join(lists_of_ranker(ranked), "request_idx", "left")
    return _empty_for_null(frame.fillna(0, subset=["warm"]))
