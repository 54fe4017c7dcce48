"""Events as entries that are compared, and the rules of a similarity: alike for items by their users, and users by their items.

Below, *documents* are what is compared and *terms* what they have in common. Of items by their users the documents are in item_idx
and the terms in user_idx; `transposed` entries have the users in item_idx: users are then the documents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.candidates.cooccurring import Rules, of_counts
from recspark.candidates.weights import add_up_pairs, keep_latest_ratings
from recspark.kernels.adding import COUNT, DOT, MOMENTS
from recspark.kernels.packing import Histories
from recspark.kernels.similarity import Measure, ShrinkageForm, Similarity, measure_of
from recspark.tables.weights import ValueAs, type_weight, with_weight

Weighting = Literal["none", "tf_idf", "bm25"]
Share = Annotated[float, Field(ge=0, le=1)]
# Weights are held within these: squares then neither vanish nor overflow, and what decayed long ago still counts a little.
LEAST_WEIGHT, MOST_WEIGHT = 2.0**-60, 2.0**60
# A rating less the mean of its document that is this share of the mean (or of 1) is what rounding left: nothing.
_RESIDUE = 1e-9


def measure_misfits(
    section: str,
    *,
    similarity: Similarity,
    weighting: Weighting,
    shrinkage_form: ShrinkageForm,
    asymmetry: float,
    half_life_days: float | None,
) -> list[str]:
    """A sentence for each of these knobs of `section` that is set, and that the measure would not read: cosine alone has them."""
    if similarity == "cosine":
        return []
    plain = {"weighting": (weighting, "none"), "shrinkage_form": (shrinkage_form, "support"), "asymmetry": (asymmetry, 0.5)}
    return [
        f"{section}.{knob}: {value if isinstance(value, str) else format(value, 'g')} has no meaning where {section}.similarity is {similarity}; only cosine reads it: leave it out, or set "
        f"{section}.similarity: cosine"
        for knob, (value, unset) in {**plain, "half_life_days": (half_life_days, None)}.items()
        if value != unset
    ]


def entries_of(events: DataFrame, value: str | None) -> DataFrame:
    """What `spread_histories` is given; without a value every event counts 1."""
    return events.select("user_idx", "item_idx", *([F.col(value).alias("value")] if value else []))


def weighted_entries(interactions: DataFrame, weights: dict[str, float], value_as: ValueAs, half_life_days: float | None) -> DataFrame:
    """The entries of the events that weigh more than 0, with their weights; no values where every one of them weighs 1."""
    if value_as == "ignore" and half_life_days is None and {weight for weight in weights.values() if weight > 0} == {1.0}:
        return entries_of(interactions.filter(type_weight(weights).isNotNull()), None)
    weighted = with_weight(interactions, weights, value_as=value_as, half_life_days=half_life_days).filter("weight > 0")
    return entries_of(weighted.withColumn("weight", F.least(F.greatest("weight", F.lit(LEAST_WEIGHT)), F.lit(MOST_WEIGHT))), "weight")


def learnt_entries(
    interactions: DataFrame, similarity: Similarity, weights: dict[str, float], value_as: ValueAs, half_life_days: float | None
) -> DataFrame:
    """user_idx, item_idx, value: for pearson each pair's latest rating, else events' weights (no column where all are 1).

    Raises:
        ConfigError: event weights that nothing can be learnt from; decay of events without times.
    """
    if similarity == "pearson":
        return entries_of(keep_latest_ratings(interactions, weights), "rating")
    return weighted_entries(interactions, weights, value_as, half_life_days)


def transposed(entries: DataFrame) -> DataFrame:
    """Users in item_idx (bigint until they are numbered), and items in user_idx."""
    return entries.withColumns({"user_idx": F.col("item_idx").cast("bigint"), "item_idx": F.col("user_idx")})


def _squared(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values in single precision, and their squares, which double precision holds exactly."""
    rounded = values.astype(np.float32)
    return rounded, np.square(rounded, dtype=np.float64)


def _summed(histories: Histories) -> tuple[np.ndarray, np.ndarray]:
    return _squared(histories.values)


def _rare_terms_first(
    n_documents: int, of_value: Callable[[np.ndarray], np.ndarray]
) -> Callable[[Histories], tuple[np.ndarray, np.ndarray]]:
    """Values times the inverse document frequency of their term: log(n_documents / (1 + the term's documents)), at least 0."""

    def weigh(histories: Histories) -> tuple[np.ndarray, np.ndarray]:
        lengths = np.diff(histories.offsets)
        idf = np.maximum(np.log(n_documents) - np.log1p(lengths), 0.0)
        return _squared(of_value(histories.values) * np.repeat(idf, lengths))

    return weigh


def _in_length(pairs: DataFrame, k1: float, b: float) -> DataFrame:
    """BM25's saturated weights: x (k1 + 1) / (k1 (1 - b + b * length / mean length) + x), length the sum of a document's x."""
    exact = F.sum(F.col("weight").cast("decimal(38,12)")).cast("double")  # the same in any order
    lengths = pairs.groupBy("item_idx").agg(exact.alias("_length"))
    mean = lengths.agg((F.sum(F.col("_length").cast("decimal(38,12)")).cast("double") / F.count(F.lit(1))).alias("_mean"))
    norm = F.lit(k1) * (1.0 - b + b * F.col("_length") / F.col("_mean"))
    saturated = F.col("weight") * (k1 + 1.0) / (norm + F.col("weight"))
    return pairs.join(lengths, "item_idx").crossJoin(F.broadcast(mean)).withColumn("weight", saturated)


def _centred(ratings: DataFrame) -> DataFrame:
    """`value` less the mean of the document's ratings; 0 where all of them are one number, whatever the mean's rounding."""
    exact = F.sum(F.col("value").cast("decimal(38,12)")).cast("double")
    means = ratings.groupBy("item_idx").agg((exact / F.count(F.lit(1))).alias("_mean"))
    less = F.col("value") - F.col("_mean")
    residue = F.abs(less) < _RESIDUE * F.greatest(F.lit(1.0), F.abs("_mean"))
    return ratings.join(means, "item_idx").select("user_idx", "item_idx", F.when(residue, 0.0).otherwise(less).alias("value"))


def compare(
    entries: DataFrame,
    *,
    similarity: Similarity,
    weighting: Weighting,
    shrinkage: float,
    shrinkage_form: ShrinkageForm,
    popularity_damping: float,
    bm25_k1: float,
    bm25_b: float,
    asymmetry: float,
) -> tuple[DataFrame, Rules]:
    """`learnt_entries` with the values that are compared, and the rules that `spread_histories` and `neighbours_of` take.

    For weightings a job counts the documents. Of the knobs the measure reads its own (`measure_misfits`).
    """

    def measure(counts: np.ndarray, sums: np.ndarray, n_histories: int) -> Measure:
        forms = {"shrinkage": shrinkage, "form": shrinkage_form, "alpha": popularity_damping, "asymmetry": asymmetry}
        return measure_of(similarity, counts, sums, n_histories, **forms)  # type: ignore[arg-type]

    if similarity == "pearson":
        return _centred(entries), Rules(MOMENTS, _summed, measure)
    if similarity != "cosine":
        return entries.select("user_idx", "item_idx"), Rules(COUNT, of_counts, measure)
    if weighting == "none":
        return entries, Rules(DOT, _summed, measure)
    n_documents = entries.agg(F.count_distinct("item_idx").alias("n")).collect()[0]["n"]
    weigh = _rare_terms_first(max(n_documents, 1), np.sqrt if weighting == "tf_idf" else np.positive)
    if weighting == "bm25":
        weight = F.col("value") if "value" in entries.columns else F.lit(1.0)
        entries = entries_of(_in_length(add_up_pairs(entries.withColumn("weight", weight)), bm25_k1, bm25_b), "weight")
    return entries, Rules(DOT, weigh, measure)
