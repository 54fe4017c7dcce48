"""User neighbours: users are alike when they use the same items; and what a user's neighbours use."""

from __future__ import annotations

import math
from typing import Any

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recspark.candidates.compared import Share, Weighting, compare, learnt_entries, measure_misfits, transposed
from recspark.candidates.cooccurring import neighbours_of, spread_histories, weighed_entries
from recspark.candidates.user_search import assign_clusters, measure_recall, search_clusters, search_for_few
from recspark.candidates.user_vectors import pack_vectors
from recspark.columns import USER
from recspark.errors import ConfigError, LimitError
from recspark.kernels.similarity import NORM_FLOOR, ShrinkageForm, Similarity
from recspark.kernels.user_neighbours import COSINE, JACCARD, PEARSON, Measure
from recspark.tables.lineage import LearnRows, Slots, Tell
from recspark.tables.weights import ValueAs

# Places by user index that a task may always hold, 90 bytes each (`kernels.cooccurrence`): up to here nobody counts users.
_FEW_PLACES = 1 << 20
_LARGEST_INDEX = (1 << 31) - 1  # the kernels number users in 32 bits
_IN_CLUSTERS = {"cosine": COSINE, "jaccard": JACCARD, "pearson": PEARSON}


def _numbers_of(entries: DataFrame) -> DataFrame:
    """user_idx, number: the learnt users by their place in ascending order, so that ties fall alike. Kept where it was made."""
    numbers = F.row_number().over(Window.orderBy("user_idx")) - 1
    return entries.select("user_idx").distinct().withColumn("number", numbers.cast("bigint")).localCheckpoint()


def _translated(frame: DataFrame, column: str, numbers: DataFrame, of: str, to: str) -> DataFrame:
    """`frame` with the column `to` of `numbers` in place of `of` in `column`."""
    names = numbers.select(F.col(of).alias(column), F.col(to).alias("_to"))
    return frame.join(names, column).withColumn(column, F.col("_to")).select(frame.columns)


def fit_user_knn(
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
    max_users_per_item: PositiveInt | None = 1000,
    value_as: ValueAs = "log",
    half_life_days: PositiveFloat | None = None,
    max_exact_users: NonNegativeInt = 200_000,
    n_blocks: PositiveInt | None = None,
    n_slots: Slots,
    n_clusters: PositiveInt | None = None,
    n_probes: PositiveInt = 8,
    n_rounds: NonNegativeInt = 2,
    n_measured: PositiveInt = 256,
    min_recall: NonNegativeFloat = 0.5,
    seed: NonNegativeInt = 1,
    tell: Tell,
) -> DataFrame:
    """The n_neighbours most similar users of each: kind, idx, neighbour_idx, score (above 0), support, position.

    `build_item_knn` with users and items exchanged: a user is the vector of the items' weights x(u, i), the sum of the pair's
    event weights (`with_weight`), and the formulas and their sources stand in `kernels.similarity`. cosine compares the vectors x,
    or with `weighting` their TF-IDF (sqrt(x) idf) or BM25 weights (Robertson and Zaragoza, 2009), users as documents and items as
    terms. jaccard, lift, llr and conditional know only who used what. pearson correlates ratings (each pair's latest value,
    less the mean of the user's ratings) over the items that two users share, and knows neither `value_as` nor decay: who rates
    everything alike correlates with nobody. Norms, counts and support are of the capped users of each item.
    Users without learnt events have no row. Partitions and blocks change nothing (`build_item_knn`).

    Up to max_exact_users learnt users all pairs are looked at; with d_i users of item i: sum_i d_i^2 / 2 additions, each at most
    max_users_per_item. A task holds 90 bytes for each place up to the largest user index (`kernels.cooccurrence`); where that is
    more than twice the learnt users (and above max_exact_users, or 2^20), they are numbered densely and named again afterwards.

    Above, for cosine, jaccard and pearson, only the n_probes nearest of n_clusters are looked into. With H pairs, shuffled are
    12 H (1 + n_probes) bytes and 12 H a round of clustering, a task holds a cluster's visitors (about 12 H n_probes / n_clusters
    bytes), and its work is about n_probes / n_clusters of all pairs. What that misses is measured before: the recall against
    the exact neighbours of a seeded sample of users is told, and refused below min_recall. (gowalla, 29,858 users, 64
    clusters, 8 probes, 2 rounds: recall@100 .85 for .13 of the pairs; without rounds .37.)

    Args:
        weights: weight of each event type; 0 leaves it out.
        similarity: the measure.
        asymmetry: cosine: the share of the norms that is the own one's; .5 is the plain cosine. Above, neighbours with long
            histories count for more; below, for less.
        weighting: of the vectors that cosine compares: none; tf_idf or bm25 count what few have for more.
        n_neighbours: neighbours kept of each user.
        min_support: pairs with fewer items in common are chance, and left out.
        shrinkage: pulls similarities with little in common towards 0; 0 switches it off.
        shrinkage_form: support: score * support / (support + shrinkage); norm (cosine only): added to the product of the norms.
        popularity_damping: conditional: the share of a user's items that the neighbour has is divided by the neighbour's number of
            items to this power.
        bm25_k1: bm25: how late further use of an item stops to count; the larger, the later.
        bm25_b: bm25: how much a user who uses much is held back, 0 to 1.
        max_users_per_item: an item's cost is the square of its users; beyond this a seeded sample stands for them; none for all. At
            1,000 a pair of user and item costs 500 additions at most: 20 M pairs about ten seconds of one core.
        value_as: how an event's value enters its weight: ignore, linear, or log (log2(1 + value)).
        half_life_days: after so many days an event weighs half; none for no decay. Needs times.
        max_exact_users: more learnt users than this are searched in clusters.
        n_blocks: tasks; none for as many as run at once. More need less memory a task and copy more.
        n_slots: tasks that run at once.
        n_clusters: above the limit; none for the square root of the users. More are faster, and need more probes.
        n_probes: clusters looked into; more find more, and cost in proportion.
        n_rounds: rounds of clustering; each costs a pass, and finds more.
        n_measured: users that recall is measured with; the exact search of each is a pass over everyone's items.
        min_recall: the least recall that is accepted.
        seed: of the samples: of items' users, of the first centroids and of the measured users.
        tell: is told, of a search in clusters, its recall.

    Raises:
        ConfigError: event weights that nothing can be learnt from; decay of events without times; a weighting, an
            asymmetry, a form of shrinkage or a decay that the measure does not have; a measure that is not searched in clusters.
        LimitError: a recall below min_recall; in clusters, a user index that 32 bits do not hold.
    """
    only_of_cosine: dict[str, Any] = {"weighting": weighting, "shrinkage_form": shrinkage_form, "asymmetry": asymmetry}
    if problems := measure_misfits("neighbours_user_knn", similarity=similarity, half_life_days=half_life_days, **only_of_cosine):
        raise ConfigError("; ".join(problems))
    n_blocks = n_blocks or n_slots
    learnt = learnt_entries(interactions, similarity, weights, value_as, half_life_days)
    entries, rules = compare(
        transposed(learnt),
        similarity=similarity,
        shrinkage=shrinkage,
        popularity_damping=popularity_damping,
        bm25_k1=bm25_k1,
        bm25_b=bm25_b,
        **only_of_cosine,
    )
    sampled: dict[str, Any] = {"n_blocks": n_blocks, "max_items_per_user": max_users_per_item, "seed": seed}
    largest = learnt.agg(F.max("user_idx")).collect()[0][0]
    n_places = 0 if largest is None else largest + 1
    n_users = n_places if n_places <= min(max_exact_users, _FEW_PLACES) else learnt.agg(F.count_distinct("user_idx")).collect()[0][0]
    if n_users <= max_exact_users:
        numbers = _numbers_of(learnt) if n_places > 2 * n_users else None
        if numbers:
            entries = _translated(entries, "item_idx", numbers, "user_idx", "number")
        histories = spread_histories(entries, rules, **sampled)
        found = neighbours_of(histories, rules, n_blocks=n_blocks, n=n_neighbours, min_support=min_support)
        if numbers:
            found = _translated(found, "neighbour_idx", numbers, "number", "user_idx")
            found = _translated(found, "idx", numbers, "number", "user_idx")
        return found.withColumn("kind", F.lit(USER))

    if similarity not in _IN_CLUSTERS:
        raise ConfigError(
            f"similarity is {similarity}, and {n_users:,} users are above neighbours_user_knn.max_exact_users ({max_exact_users:,}): a search in "
            "clusters knows cosine, jaccard and pearson; choose one of them, or raise max_exact_users"
        )
    if n_places > _LARGEST_INDEX:
        raise LimitError(
            f"the largest user_idx is {largest:,}, and {n_users:,} users are above neighbours_user_knn.max_exact_users ({max_exact_users:,}): a search "
            f"in clusters knows indexes below {_LARGEST_INDEX:,}; number users densely, or raise max_exact_users"
        )
    everyone = pack_vectors(weighed_entries(entries, rules, **sampled))
    in_norm, on_support = (shrinkage + NORM_FLOOR, 0.0) if shrinkage_form == "norm" else (0.0, shrinkage)
    measure = Measure(_IN_CLUSTERS[similarity], asymmetry, in_norm, on_support, min_support)
    n_clusters = n_clusters or math.isqrt(n_users)
    assigned = assign_clusters(everyone, n_clusters, n_probes, n_rounds, n_blocks, seed)
    sample = assigned.orderBy(F.xxhash64("user_idx", F.lit(seed + 1)), "user_idx").limit(n_measured)
    exact = search_for_few(sample, assigned, n_neighbours, measure, n_blocks)
    recall = measure_recall(search_clusters(sample, assigned, n_neighbours, measure, n_blocks), exact)
    tell("search", {"recall": recall, "n_measured": min(n_measured, n_users), "n_probes": n_probes, "n_clusters": n_clusters})
    if recall < min_recall:
        raise LimitError(
            f"{n_users:,} users are above neighbours_user_knn.max_exact_users ({max_exact_users:,}), and {n_probes} of {n_clusters} clusters "
            f"hold {recall:.3f} of the exact neighbours, below min_recall ({min_recall:g}): raise n_probes or n_rounds, or lower n_clusters"
        )
    return search_clusters(assigned, assigned, n_neighbours, measure, n_blocks).withColumn("kind", F.lit(USER))
