"""Predicted ratings beside the real ones."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.candidates.weights import keep_latest_ratings
from recspark.columns import ITEM, USER
from recspark.errors import ConfigError
from recspark.tables.lineage import LearnRows


def _labelled_pairs(labels: DataFrame, requests: DataFrame) -> DataFrame:
    """request_idx, user_idx, item_idx, value of every label that has a value."""
    entry = F.explode(F.arrays_zip("items", "values")).alias("_entry")
    pairs = labels.select("request_idx", entry).select(
        "request_idx", F.col("_entry.items").alias("item_idx"), F.col("_entry.values").cast("double").alias("value")
    )
    return pairs.filter(F.col("value").isNotNull() & ~F.isnan("value")).join(requests.select("request_idx", "user_idx"), "request_idx")


def _factors(vectors: DataFrame, kind: str, index: str, index_type: str) -> DataFrame:
    """The vectors of one kind, renamed to stand beside those of the other."""
    rows = vectors.filter((F.col("kind") == kind) & (F.col("source") == "als"))
    return rows.select(
        F.col("idx").cast(index_type).alias(index), F.col("vector").alias(f"{kind}_vector"), F.col("bias").alias(f"{kind}_bias")
    )


def _prediction() -> Column:
    products = F.zip_with("user_vector", "item_vector", lambda x, y: x.cast("double") * y.cast("double"))
    return F.aggregate(products, F.lit(0.0), lambda total, product: total + product) + F.col("user_bias") + F.col("item_bias")


def build_predictions(
    labels: DataFrame,
    requests: DataFrame,
    vectors: DataFrame,
    interactions: LearnRows,
    *,
    weights: dict[str, float],
    minimum: float | None = None,
    maximum: float | None = None,
) -> DataFrame:
    """request_idx, item_idx, value, predicted, fallback for every label pair with a value.

    predicted = dot product + biases where user and item have vectors; else the item's mean learnt rating, else the user's, else
    the global mean; clipped to the bounds. `fallback` names what was used. Where nothing was learnt it is the middle of the bounds,
    and nothing is predicted unless both are given.

    Args:
        weights: weight of each event type; those above 0 are ratings, as in `fit_als`.
        minimum: the lowest rating there is; by default the lowest learnt.
        maximum: the highest; by default the highest learnt.

    Raises:
        ConfigError: minimum above maximum, or event weights that nothing can be learnt from.
    """
    if minimum is not None and maximum is not None and minimum > maximum:
        raise ConfigError(f"minimum = {minimum} is above maximum = {maximum}: give the rating scale's lowest, then its highest value")
    ratings = keep_latest_ratings(interactions, weights)
    item_means = ratings.groupBy("item_idx").agg(F.avg("rating").alias("_item_mean"))
    user_means = ratings.groupBy("user_idx").agg(F.avg("rating").alias("_user_mean"))
    lowest = F.min("rating") if minimum is None else F.lit(float(minimum))
    highest = F.max("rating") if maximum is None else F.lit(float(maximum))
    # The middle needs both bounds; least and greatest pass over a missing one.
    overall = ratings.agg(
        F.coalesce(F.avg("rating"), (lowest + highest) / 2).alias("_global_mean"), lowest.alias("_lowest"), highest.alias("_highest")
    )
    pairs = (
        _labelled_pairs(labels, requests)
        .join(_factors(vectors, USER, "user_idx", "bigint"), "user_idx", "left")
        .join(_factors(vectors, ITEM, "item_idx", "int"), "item_idx", "left")
        .join(item_means, "item_idx", "left")
        .join(user_means, "user_idx", "left")
        .crossJoin(overall)
    )
    predicted = F.coalesce(_prediction(), "_item_mean", "_user_mean", "_global_mean")
    fallback = (
        F.when(_prediction().isNotNull(), "none")
        .when(F.col("_item_mean").isNotNull(), "item_mean")
        .when(F.col("_user_mean").isNotNull(), "user_mean")
        .otherwise("global_mean")
    )
    found = pairs.select("*", predicted.alias("predicted"), fallback.alias("fallback")).filter(F.col("predicted").isNotNull())
    return found.withColumn("predicted", F.least(F.greatest("predicted", "_lowest"), "_highest")).select(
        "request_idx", "item_idx", "value", "predicted", "fallback"
    )
