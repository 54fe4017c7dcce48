"""Item neighbours by random walks of three steps, popular ends held back."""

from __future__ import annotations

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recspark.candidates.compared import weighted_entries
from recspark.candidates.cooccurring import Rules, neighbours_of, spread_histories
from recspark.columns import ITEM
from recspark.kernels.adding import DOT
from recspark.kernels.packing import Histories
from recspark.kernels.similarity import Measure, measure_of
from recspark.tables.lineage import LearnRows, Slots
from recspark.tables.weights import ValueAs


def _in_best_lists(found: DataFrame, max_lists: int) -> DataFrame:
    """Each neighbour in the max_lists lists that it scores best in; positions anew. Item-sized."""
    best = Window.partitionBy("neighbour_idx").orderBy(F.col("score").desc(), "idx")
    kept = found.withColumn("_place", F.row_number().over(best)).filter(F.col("_place") <= max_lists).drop("_place")
    in_list = Window.partitionBy("idx").orderBy("position")
    return kept.withColumn("position", (F.row_number().over(in_list) - 1).cast("int"))


def build_rp3beta(
    interactions: LearnRows,
    *,
    weights: dict[str, float],
    alpha: PositiveFloat = 1.0,
    beta: NonNegativeFloat = 0.6,
    n_neighbours: PositiveInt = 100,
    normalize: bool = False,
    max_lists: PositiveInt | None = None,
    min_support: PositiveInt = 1,
    max_items_per_user: PositiveInt | None = 500,
    value_as: ValueAs = "log",
    half_life_days: PositiveFloat | None = None,
    n_blocks: PositiveInt | None = None,
    n_slots: Slots,
    seed: int = 1,
) -> DataFrame:
    """The n_neighbours of each item that a walk item -> user -> item ends at most: kind, idx, neighbour_idx, score, support, position.

    score(i, j) = sum_u (x(u, i) / d_i)^alpha (x(u, j) / d_u)^alpha / d_j^beta, where x are the weights of `build_item_knn`, d_i the
    sum of an item's and d_u of a user's. (Paudel et al., Updatable, accurate, diverse, and scalable recommendations for
    interactive applications, ACM TiiS 7(1), 2017.) The walk's first step, from the user, is the sum over the history that
    candidates are scored by. `normalize` and `max_lists` = n_neighbours together make the lists of Ferrari Dacrema et al.
    (RecSys 2019), who cut rows, divide them by their sums, and cut columns.

    Args:
        weights: weight of each event type; 0 leaves it out.
        alpha: exponent of the steps' probabilities: above 1 the likely ways count more, below 1 the unlikely ones.
        beta: exponent of the end's popularity: 0 recommends what everybody has, more the rarer items.
        n_neighbours: neighbours kept of each item.
        normalize: divide each list by its sum, so that every item of a history has the same say.
        max_lists: an item stands in so many lists at most, those it scores best in; none for no limit.
        min_support: pairs with fewer users in common are left out.
        max_items_per_user: a history's cost is its length squared; beyond this a seeded sample stands for it; none for all of it.
        value_as: how an event's value enters its weight: ignore, linear, or log (log2(1 + value)).
        half_life_days: after so many days an event weighs half; none for no decay. Needs times.
        n_blocks: item blocks, one task each; none for as many as run at once. More need less memory a task and copy histories more often.
        n_slots: tasks that run at once.
        seed: of the sample of long histories.

    Raises:
        ConfigError: event weights that nothing can be learnt from; decay of events without times.
    """

    n_blocks = n_blocks or n_slots

    def weigh(histories: Histories) -> tuple[np.ndarray, np.ndarray]:
        lengths = np.diff(histories.offsets)
        degrees = np.add.reduceat(histories.values, histories.offsets[:-1])
        # Both ends carry the root of the user's factor: the product of two has it whole.
        steps = histories.values**alpha * np.repeat(degrees ** (-alpha / 2), lengths)
        return steps.astype(np.float32), histories.values

    def measure(counts: np.ndarray, sums: np.ndarray, n_histories: int) -> Measure:
        return measure_of("walk", counts, sums, n_histories, shrinkage=0.0, alpha=alpha, beta=beta)

    entries = weighted_entries(interactions, weights, value_as, half_life_days)
    rules = Rules(DOT, weigh, measure, divide=normalize)
    histories = spread_histories(entries, rules, n_blocks=n_blocks, max_items_per_user=max_items_per_user, seed=seed)
    found = neighbours_of(histories, rules, n_blocks=n_blocks, n=n_neighbours, min_support=min_support)
    return (found if max_lists is None else _in_best_lists(found, max_lists)).withColumn("kind", F.lit(ITEM))
