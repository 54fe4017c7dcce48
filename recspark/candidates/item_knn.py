"""Item neighbours: items are alike when the same users use them, by a choice of measures."""

from __future__ import annotations

from typing import Any

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.candidates.compared import Share, Weighting, compare, learnt_entries, measure_misfits
from recspark.candidates.cooccurring import neighbours_of, spread_histories
from recspark.columns import ITEM
from recspark.errors import ConfigError
from recspark.kernels.similarity import ShrinkageForm, Similarity
from recspark.tables.lineage import LearnRows, Slots
from recspark.tables.weights import ValueAs


def build_item_knn(
    interactions: LearnRows,
    *,
    weights: dict[str, float],
    similarity: Similarity = "cosine",
    asymmetry: Share = 0.5,
    weighting: Weighting = "none",
    n_neighbours: PositiveInt = 100,
    min_support: PositiveInt = 2,
    shrinkage: NonNegativeFloat = 10.0,
    shrinkage_form: ShrinkageForm = "support",
    popularity_damping: NonNegativeFloat = 0.5,
    bm25_k1: PositiveFloat = 1.2,
    bm25_b: Share = 0.75,
    max_items_per_user: PositiveInt | None = 500,
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
        asymmetry: cosine: the share of the norms that is the list's own item's; .5 is the plain cosine. Above, popular neighbours count
            for more; below, for less.
        weighting: of the columns that cosine compares: none, tf_idf or bm25, which trust users with few items more.
        n_neighbours: neighbours kept of each item.
        min_support: pairs with fewer users in common are chance, and left out.
        shrinkage: pulls similarities with little support towards 0; 0 switches it off.
        shrinkage_form: support: score * support / (support + shrinkage); norm (cosine only): dot / (|i| |j| + shrinkage).
        popularity_damping: conditional: P(j | i) is divided by the number of j's users to this power; 0 recommends what everybody has.
        bm25_k1: bm25: how late further use of an item stops to count; the larger, the later.
        bm25_b: bm25: how much an item that is used much is held back, 0 to 1.
        max_items_per_user: a history's cost is its length squared; beyond this a seeded sample stands for it; none for all of it.
        value_as: how an event's value (a rating, a quantity, seconds) enters its weight: ignore, linear, or log (log2(1 + value)).
        half_life_days: after so many days an event weighs half; none for no decay. Needs times.
        n_blocks: item blocks, one task each; none for as many as run at once. More need less memory a task and copy histories more often.
        n_slots: tasks that run at once.
        seed: of the sample of long histories.

    Raises:
        ConfigError: event weights that nothing can be learnt from; decay of events without times; a weighting, an
            asymmetry, a form of shrinkage or a decay that the measure does not have.
    """
    only_of_cosine: dict[str, Any] = {"weighting": weighting, "shrinkage_form": shrinkage_form, "asymmetry": asymmetry}
    if problems := measure_misfits("neighbours_item_knn", similarity=similarity, half_life_days=half_life_days, **only_of_cosine):
        raise ConfigError("; ".join(problems))
    n_blocks = n_blocks or n_slots
    entries, rules = compare(
        learnt_entries(interactions, similarity, weights, value_as, half_life_days),
        similarity=similarity,
        shrinkage=shrinkage,
        popularity_damping=popularity_damping,
        bm25_k1=bm25_k1,
        bm25_b=bm25_b,
        **only_of_cosine,
    )
    histories = spread_histories(entries, rules, n_blocks=n_blocks, max_items_per_user=max_items_per_user, seed=seed)
    found = neighbours_of(histories, rules, n_blocks=n_blocks, n=n_neighbours, min_support=min_support)
    return found.withColumn("kind", F.lit(ITEM))
