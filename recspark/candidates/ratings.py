"""Predicted ratings beside the real ones."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.candidates.baseline import damped_biases
from recspark.candidates.weights import keep_latest_ratings
from recspark.columns import ITEM, USER
from recspark.errors import ConfigError
from recspark.tables.lineage import AlsVectors, LearnRows

Method = Literal["als", "item_knn", "user_knn"]
_PAIR = ("request_idx", "item_idx")


def _labelled_pairs(labels: DataFrame, requests: DataFrame) -> DataFrame:
    """request_idx, user_idx, item_idx, value of every label that has a value."""
    entry = F.explode(F.arrays_zip("items", "values")).alias("_entry")
    pairs = labels.select("request_idx", entry).select(
        "request_idx", F.col("_entry.items").alias("item_idx"), F.col("_entry.values").cast("double").alias("value")
    )
    return pairs.filter(F.col("value").isNotNull() & ~F.isnan("value")).join(requests.select("request_idx", "user_idx"), "request_idx")


def _factors(vectors: DataFrame, kind: str, index: str, index_type: str) -> DataFrame:
    """The vectors of one kind, renamed to stand beside those of the other."""
    rows = vectors.filter(F.col("kind") == kind)
    return rows.select(
        F.col("idx").cast(index_type).alias(index), F.col("vector").alias(f"{kind}_vector"), F.col("bias").alias(f"{kind}_bias")
    )


def _by_factors(pairs: DataFrame, vectors: DataFrame) -> DataFrame:
    """`pairs` with `_prediction`: dot product + biases; null where the user or the item has no vector."""
    products = F.zip_with("user_vector", "item_vector", lambda x, y: x.cast("double") * y.cast("double"))
    dot = F.aggregate(products, F.lit(0.0), lambda total, product: total + product)
    both = pairs.join(_factors(vectors, USER, "user_idx", "bigint"), "user_idx", "left").join(
        _factors(vectors, ITEM, "item_idx", "int"), "item_idx", "left"
    )
    return both.select(*pairs.columns, (dot + F.col("user_bias") + F.col("item_bias")).alias("_prediction"))


def _with_baseline(rows: DataFrame, ratings: DataFrame, damping: float) -> DataFrame:
    """`rows` (user_idx, item_idx, ...) with `_baseline` = mean + item bias + user bias (`damped_biases`); a bias that is not known is 0."""
    mean = ratings.agg(F.avg("rating").alias("mean"))
    users, items = damped_biases(ratings.crossJoin(mean), damping)
    joined = rows.join(items, "item_idx", "left").join(users, "user_idx", "left").crossJoin(mean)
    bias = F.coalesce("item_bias", F.lit(0.0)) + F.coalesce("user_bias", F.lit(0.0))
    return joined.select(*rows.columns, (F.col("mean") + bias).alias("_baseline"))


def _by_neighbours(
    pairs: DataFrame, neighbours: DataFrame, ratings: DataFrame, method: Method, most: int, least: int, damping: float
) -> DataFrame:
    """`pairs` with `_prediction` from the ratings of the item by the user's neighbours, or by the user of the item's neighbours.

    Null with fewer than `least` neighbours of similarity above 0 that have a rating; only the `most` similar count. Only the
    pairs' own neighbours are rows: pairs x neighbours at most.
    """
    kind, index, index_type = (USER, "user_idx", "bigint") if method == "user_knn" else (ITEM, "item_idx", "int")
    near = neighbours.filter((F.col("kind") == kind) & (F.col("source") == method) & (F.col("score") > 0)).select(
        F.col("idx").cast(index_type).alias(index),
        F.col("neighbour_idx").cast(index_type).alias("_neighbour"),
        F.col("score").cast("double"),
    )
    known = _with_baseline(ratings, ratings, damping).select(
        F.col("user_idx").alias("_user"), F.col("item_idx").alias("_item"), (F.col("rating") - F.col("_baseline")).alias("deviation")
    )
    of_user, of_item = ("_neighbour", "item_idx") if method == "user_knn" else ("user_idx", "_neighbour")
    asked = pairs.select("user_idx", *_PAIR).join(near, index)
    rated = asked.join(known, (F.col(of_user) == F.col("_user")) & (F.col(of_item) == F.col("_item")))
    # Best first, then by index: what is summed, and in which order, does not depend on how the rows lie.
    entries = F.sort_array(F.collect_list(F.struct((-F.col("score")).alias("rank"), "_neighbour", "score", "deviation")))
    best = rated.groupBy(*_PAIR).agg(F.slice(entries, 1, most).alias("_best"))

    def total(value: Column) -> Column:
        return F.aggregate(value, F.lit(0.0), lambda so_far, one: so_far + one)

    weighted = total(F.transform("_best", lambda one: one["score"] * one["deviation"])) / total(F.col("_best.score"))
    found = best.filter(F.size("_best") >= least).select(*_PAIR, weighted.alias("_deviation"))
    both = _with_baseline(pairs, ratings, damping).join(found, list(_PAIR), "left")
    return both.select(*pairs.columns, (F.col("_baseline") + F.col("_deviation")).alias("_prediction"))


def _with_fallback(pairs: DataFrame, ratings: DataFrame, minimum: float | None, maximum: float | None) -> DataFrame:
    """predicted and fallback of pairs with a `_prediction` or null; clipped to the bounds; pairs that nothing is known for are left out."""
    item_means = ratings.groupBy("item_idx").agg(F.avg("rating").alias("_item_mean"))
    user_means = ratings.groupBy("user_idx").agg(F.avg("rating").alias("_user_mean"))
    lowest = F.min("rating") if minimum is None else F.lit(float(minimum))
    highest = F.max("rating") if maximum is None else F.lit(float(maximum))
    # The middle needs both bounds; least and greatest pass over a missing one.
    overall = ratings.agg(
        F.coalesce(F.avg("rating"), (lowest + highest) / 2).alias("_global_mean"), lowest.alias("_lowest"), highest.alias("_highest")
    )
    joined = pairs.join(item_means, "item_idx", "left").join(user_means, "user_idx", "left").crossJoin(overall)
    fallback = (
        F.when(F.col("_prediction").isNotNull(), "none")
        .when(F.col("_item_mean").isNotNull(), "item_mean")
        .when(F.col("_user_mean").isNotNull(), "user_mean")
        .otherwise("global_mean")
    )
    predicted = F.coalesce("_prediction", "_item_mean", "_user_mean", "_global_mean")
    found = joined.select("*", predicted.alias("predicted"), fallback.alias("fallback")).filter(F.col("predicted").isNotNull())
    return found.withColumn("predicted", F.least(F.greatest("predicted", "_lowest"), "_highest"))


def build_predictions(
    labels: DataFrame,
    requests: DataFrame,
    vectors: AlsVectors | None,
    neighbours: DataFrame | None,
    interactions: LearnRows,
    *,
    weights: dict[str, float],
    method: Method | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    max_neighbours: PositiveInt = 40,
    min_neighbours: PositiveInt = 1,
    bias_damping: NonNegativeFloat = 5.0,
) -> DataFrame:
    """request_idx, item_idx, value, predicted, fallback for every label pair with a value.

    als: dot product + biases where user and item have vectors. item_knn, user_knn: the baseline (`_with_baseline`) + the mean of
    the neighbours' deviations from theirs, weighted by similarity: of the user's ratings of the max_neighbours items most
    similar to the item, or of the item's ratings by the max_neighbours most similar users (Koren, TKDD 4(1), 2010, section 2.2).
    Where that says nothing, the item's mean learnt rating, else the user's, else the global mean; clipped to the bounds.
    `fallback` names what was used. Where nothing was learnt it is the middle of the bounds, and nothing is predicted unless both
    are given.

    Args:
        weights: weight of each event type; those above 0 are ratings, as in `fit_als`.
        method: what predicts: als (explicit factors), item_knn or user_knn (neighbours, of similarity pearson); none: nothing does.
        minimum: the lowest rating there is; by default the lowest learnt.
        maximum: the highest; by default the highest learnt.
        max_neighbours: neighbours of similarity above 0 that count, at most; more are steadier, and less alike.
        min_neighbours: fewer say nothing, and a fallback stands in.
        bias_damping: neighbours: so many ratings at the mean are assumed of everyone in the baseline.

    Raises:
        ConfigError: minimum above maximum, no method or one whose table nobody writes, or event weights that nothing can be learnt from.
    """
    if method is None:
        raise ConfigError("predictions.method is null: als, item_knn or user_knn can predict ratings")
    if minimum is not None and maximum is not None and minimum > maximum:
        raise ConfigError(f"minimum = {minimum} is above maximum = {maximum}: give the rating scale's lowest, then its highest value")
    ratings = keep_latest_ratings(interactions, weights)
    pairs = _labelled_pairs(labels, requests)
    if method == "als" and vectors is not None:
        predicted = _by_factors(pairs, vectors)
    elif method != "als" and neighbours is not None:
        predicted = _by_neighbours(pairs, neighbours, ratings, method, max_neighbours, min_neighbours, bias_damping)
    else:
        writer = "vectors_als" if method == "als" else f"neighbours_{method}"
        raise ConfigError(f"method is {method}, and no job writes what it predicts from: switch on {writer}")
    found = _with_fallback(predicted, ratings, minimum, maximum)
    return found.select("request_idx", "item_idx", "value", "predicted", "fallback")
