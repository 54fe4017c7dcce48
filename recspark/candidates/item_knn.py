"""Item neighbours: items are alike when the same users use them, by a choice of measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.candidates.cooccurring import Rules, neighbours_of, of_counts, spread_histories
from recspark.candidates.weights import add_up_pairs, keep_latest_ratings
from recspark.columns import ITEM
from recspark.errors import ConfigError
from recspark.kernels.cooccurrence import COUNT, DOT, MOMENTS
from recspark.kernels.packing import Histories
from recspark.kernels.similarity import Measure, ShrinkageForm, Similarity, measure_of
from recspark.tables.lineage import LearnRows, Slots
from recspark.tables.weights import ValueAs, type_weight, with_weight

Weighting = Literal["none", "tf_idf", "bm25"]
# Weights are held within these: squares then neither vanish nor overflow, and what decayed long ago still counts a little.
LEAST_WEIGHT, MOST_WEIGHT = 2.0**-60, 2.0**60


def weight_column(weights: dict[str, float], value_as: ValueAs, half_life_days: float | None) -> str | None:
    """`weight`, or None where every event that is learnt from weighs 1."""
    ones = value_as == "ignore" and half_life_days is None and {weight for weight in weights.values() if weight > 0} == {1.0}
    return None if ones else "weight"


def learnt_events(interactions: DataFrame, weights: dict[str, float], value_as: ValueAs, half_life_days: float | None) -> DataFrame:
    """The events that weigh more than 0, with `weight`."""
    if weight_column(weights, value_as, half_life_days) is None:
        return interactions.filter(type_weight(weights).isNotNull()).withColumn("weight", F.lit(1.0))
    weighted = with_weight(interactions, weights, value_as=value_as, half_life_days=half_life_days).filter("weight > 0")
    return weighted.withColumn("weight", F.least(F.greatest("weight", F.lit(LEAST_WEIGHT)), F.lit(MOST_WEIGHT)))


def entries_of(events: DataFrame, value: str | None) -> DataFrame:
    """What `spread_histories` is given; without a value every event counts 1."""
    return events.select("user_idx", "item_idx", *([F.col(value).alias("value")] if value else []))


def _squared(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values in single precision, and their squares, which double precision holds exactly."""
    rounded = values.astype(np.float32)
    return rounded, np.square(rounded, dtype=np.float64)


def _summed(histories: Histories) -> tuple[np.ndarray, np.ndarray]:
    return _squared(histories.values)


def _rare_users_first(n_items: int, of_value: Callable[[np.ndarray], np.ndarray]) -> Callable[[Histories], tuple[np.ndarray, np.ndarray]]:
    """Values times the inverse document frequency of their user: log(n_items / (1 + the user's number of items)), at least 0."""

    def weigh(histories: Histories) -> tuple[np.ndarray, np.ndarray]:
        lengths = np.diff(histories.offsets)
        idf = np.maximum(np.log(n_items) - np.log1p(lengths), 0.0)
        return _squared(of_value(histories.values) * np.repeat(idf, lengths))

    return weigh


def _in_length(pairs: DataFrame, k1: float, b: float) -> DataFrame:
    """BM25's saturated weights: x (k1 + 1) / (k1 (1 - b + b * length of the item / mean length) + x), length the sum of an item's x."""
    exact = F.sum(F.col("weight").cast("decimal(38,12)")).cast("double")  # the same in any order
    lengths = pairs.groupBy("item_idx").agg(exact.alias("_length"))
    mean = lengths.agg((F.sum(F.col("_length").cast("decimal(38,12)")).cast("double") / F.count(F.lit(1))).alias("_mean"))
    norm = F.lit(k1) * (1.0 - b + b * F.col("_length") / F.col("_mean"))
    saturated = F.col("weight") * (k1 + 1.0) / (norm + F.col("weight"))
    return pairs.join(lengths, "item_idx").crossJoin(F.broadcast(mean)).withColumn("weight", saturated)


def _centred(ratings: DataFrame) -> DataFrame:
    """`rating` less the mean of the item's ratings."""
    exact = F.sum(F.col("rating").cast("decimal(38,12)")).cast("double")
    means = ratings.groupBy("item_idx").agg((exact / F.count(F.lit(1))).alias("_mean"))
    return ratings.join(means, "item_idx").withColumn("rating", F.col("rating") - F.col("_mean"))


def build_item_knn(
    interactions: LearnRows,
    *,
    weights: dict[str, float],
    similarity: Similarity = "cosine",
    weighting: Weighting = "none",
    n_neighbours: PositiveInt = 100,
    min_support: PositiveInt = 2,
    shrinkage: NonNegativeFloat = 10.0,
    shrinkage_form: ShrinkageForm = "support",
    popularity_damping: NonNegativeFloat = 0.5,
    bm25_k1: PositiveFloat = 1.2,
    bm25_b: NonNegativeFloat = 0.75,
    max_items_per_user: PositiveInt = 500,
    value_as: ValueAs = "log",
    half_life_days: PositiveFloat | None = None,
    n_blocks: PositiveInt | None = None,
    n_slots: Slots,
    seed: int = 1,
) -> DataFrame:
    """The n_neighbours most similar items of each item: kind, idx, neighbour_idx, score (above 0), support, position.

    x(u, i) is the sum of a user's event weights for an item (`with_weight`), over each user's capped history; the formulas and
    their sources stand in `kernels.similarity`. cosine compares the columns x, or with `weighting` their TF-IDF
    (sqrt(x) idf) or BM25 weights (Robertson and Zaragoza, 2009), items as documents and users as terms. jaccard, lift, llr and
    conditional know only who used what. pearson correlates ratings (each pair's latest value, less the mean of the item's
    ratings) over the users that two items share, and knows neither `value_as` nor decay.
    Norms, counts and support are of the capped histories. Sums are exact or made in the order of the users, and scores rounded
    to single precision: partitions and blocks change nothing, as long as a block's histories fit in memory together
    (`kernels.cooccurrence`, which also says what memory that takes).

    Args:
        weights: weight of each event type; 0 leaves it out.
        similarity: the measure.
        weighting: of the columns that cosine compares: none, tf_idf or bm25, which trust users with few items more.
        n_neighbours: neighbours kept of each item.
        min_support: pairs with fewer users in common are chance, and left out.
        shrinkage: pulls similarities with little support towards 0; 0 switches it off.
        shrinkage_form: support: score * support / (support + shrinkage); norm (cosine only): dot / (|i| |j| + shrinkage).
        popularity_damping: conditional: P(j | i) is divided by the number of j's users to this power; 0 recommends what everybody has.
        bm25_k1: bm25: how late further use of an item stops to count; the larger, the later.
        bm25_b: bm25: how much an item that is used much is held back, 0 to 1.
        max_items_per_user: a history's cost is its length squared; beyond this a seeded sample stands for it.
        value_as: how an event's value (a rating, a quantity, seconds) enters its weight: ignore, linear, or log (log2(1 + value)).
        half_life_days: after so many days an event weighs half; none for no decay. Needs times.
        n_blocks: item blocks, one task each; none for as many as run at once. More need less memory a task and copy histories more often.
        n_slots: tasks that run at once.
        seed: of the sample of long histories.

    Raises:
        ConfigError: event weights that nothing can be learnt from; decay of events without times; a weighting or a form of
            shrinkage that the measure does not have.
    """
    n_blocks = n_blocks or n_slots
    if similarity != "cosine" and (weighting != "none" or shrinkage_form != "support"):
        raise ConfigError(
            f"similarity is {similarity}, weighting {weighting} and shrinkage_form {shrinkage_form}: only cosine has weightings and "
            "the form norm; choose similarity: cosine, or weighting: none and shrinkage_form: support"
        )
    if similarity == "pearson" and half_life_days is not None:
        raise ConfigError(f"half_life_days is {half_life_days} and similarity pearson: ratings do not decay; leave half_life_days out")

    def measure(counts: np.ndarray, sums: np.ndarray, n_histories: int) -> Measure:
        return measure_of(similarity, counts, sums, n_histories, shrinkage=shrinkage, form=shrinkage_form, alpha=popularity_damping)

    if similarity == "pearson":
        entries = entries_of(_centred(keep_latest_ratings(interactions, weights)), "rating")
        rules = Rules(MOMENTS, _summed, measure)
    else:
        events, weight = learnt_events(interactions, weights, value_as, half_life_days), weight_column(weights, value_as, half_life_days)
        if similarity != "cosine":
            entries, rules = entries_of(events, None), Rules(COUNT, of_counts, measure)
        elif weighting == "none":
            entries, rules = entries_of(events, weight), Rules(DOT, _summed, measure)
        else:
            n_items = events.agg(F.count_distinct("item_idx").alias("n")).collect()[0]["n"]
            if weighting == "bm25":
                entries = entries_of(_in_length(add_up_pairs(events), bm25_k1, bm25_b), "weight")
            else:
                entries = entries_of(events, weight)
            weigh = _rare_users_first(max(n_items, 1), np.sqrt if weighting == "tf_idf" else np.positive)
            rules = Rules(DOT, weigh, measure)
    histories = spread_histories(entries, rules, n_blocks=n_blocks, max_items_per_user=max_items_per_user, seed=seed)
    found = neighbours_of(histories, rules, n_blocks=n_blocks, n=n_neighbours, min_support=min_support)
    return found.withColumn("kind", F.lit(ITEM))
