"""Directed item neighbours: what people come to after an item."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.candidates.compared import entries_of
from recspark.candidates.cooccurring import ANY_GAP, Rules, neighbours_of, spread_histories
from recspark.columns import ITEM
from recspark.kernels.adding import STEPS
from recspark.kernels.packing import Histories
from recspark.kernels.similarity import Measure, measure_of
from recspark.tables.lineage import LearnRows, Slots
from recspark.tables.weights import type_weight


def _steps(histories: Histories) -> tuple[np.ndarray, np.ndarray]:
    return histories.values, np.zeros(len(histories.items))


def build_item_next(
    interactions: LearnRows,
    *,
    weights: dict[str, float],
    similarity: Literal["cosine", "jaccard", "lift", "llr", "conditional"] = "conditional",
    n_neighbours: PositiveInt = 100,
    min_support: PositiveInt = 2,
    shrinkage: NonNegativeFloat = 10.0,
    popularity_damping: NonNegativeFloat = 0.5,
    max_gap: PositiveInt | None = None,
    max_items_per_user: PositiveInt | None = 500,
    n_blocks: PositiveInt | None = None,
    n_slots: Slots,
    seed: int = 1,
) -> DataFrame:
    """The n_neighbours of each item that most users came to after it: kind, idx, neighbour_idx, score, support, position.

    An item stands in a user's history where the user's first event with it is. `support` counts the users who came to the
    neighbour strictly later (by event_order; at the same moment is not later), at most max_gap steps later, and takes the place
    of the symmetric count in the measure (`kernels.similarity`); the counts of single items are of all who have them. A log
    without any order has no neighbours.

    Args:
        weights: event types with a weight of 0 are left out; the others count alike.
        similarity: the measure; conditional is the share of an item's users who came to the neighbour afterwards.
        n_neighbours: neighbours kept of each item.
        min_support: pairs with fewer users are chance, and left out.
        shrinkage: score * support / (support + shrinkage); 0 switches it off.
        popularity_damping: conditional is divided by the number of the neighbour's users to this power; 0 recommends what everybody has.
        max_gap: how many steps (moments of the whole history with a new item) later still counts; none for any.
        max_items_per_user: a history's cost is its length squared; beyond this a seeded sample stands for it; none for all of it.
        n_blocks: item blocks, one task each; none for as many as run at once. More need less memory a task and copy histories more often.
        n_slots: tasks that run at once.
        seed: of the sample of long histories.

    Raises:
        ConfigError: event weights that nothing can be learnt from.
    """

    n_blocks = n_blocks or n_slots

    def measure(counts: np.ndarray, sums: np.ndarray, n_histories: int) -> Measure:
        # Of columns of ones the sum of squares is the count.
        return measure_of(similarity, counts, counts, n_histories, shrinkage=shrinkage, alpha=popularity_damping)

    rules = Rules(STEPS, _steps, measure, max_gap=max_gap or ANY_GAP)
    entries = entries_of(interactions.filter(type_weight(weights).isNotNull()), "event_order")
    histories = spread_histories(entries, rules, n_blocks=n_blocks, max_items_per_user=max_items_per_user, seed=seed)
    found = neighbours_of(histories, rules, n_blocks=n_blocks, n=n_neighbours, min_support=min_support)
    return found.withColumn("kind", F.lit(ITEM))
