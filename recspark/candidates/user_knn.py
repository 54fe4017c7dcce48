"""User neighbours: users are alike when they use the same items; and what a user's neighbours use."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.candidates.user_search import assign_clusters, measure_recall, search_clusters, search_exactly, search_for_few
from recspark.candidates.user_vectors import Similarity, Weighting, pack_vectors, weighted_pairs
from recspark.columns import USER
from recspark.errors import ConfigError, LimitError
from recspark.kernels.user_neighbours import COSINE, JACCARD, PEARSON, Measure
from recspark.tables.lineage import LearnRows, Slots, Tell
from recspark.tables.weights import ValueAs


def fit_user_knn(
    interactions: LearnRows,
    *,
    weights: dict[str, float],
    similarity: Similarity = "cosine",
    asymmetry: NonNegativeFloat = 0.5,
    weighting: Weighting = "none",
    n_neighbours: PositiveInt = 100,
    min_support: PositiveInt = 2,
    shrinkage: NonNegativeFloat = 10.0,
    shrinkage_form: Literal["support", "norm"] = "support",
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
    """The n_neighbours most similar users of each: kind, idx, neighbour_idx, score, support, position.

    A user is the vector of the items' weights (`with_weight`, times TF-IDF or BM25), for pearson of the ratings less the user's
    mean. score is `kernels.user_neighbours.Measure`'s, kept where it is above 0.
    Users without learnt events have no row. Sums are made in one order: partitions and blocks change nothing.

    Up to max_exact_users all pairs are looked at. With U users, H pairs, d_i users of item i: sum_i d_i^2 additions; shuffled
    are 12 H (n_blocks + 1) bytes; a task holds the 12 H / n_blocks bytes of its block's vectors, 12 n_neighbours bytes a user of
    it, and never those that pass by. Above, only the n_probes nearest of n_clusters are looked into: shuffled are
    12 H (1 + n_probes) bytes and 12 H a round of clustering, a task holds a cluster's visitors (about 12 H n_probes / n_clusters
    bytes), and its work is about n_probes / n_clusters of all pairs. What that misses is measured before: the recall against
    the exact neighbours of a seeded sample of users is told, and refused below min_recall. (gowalla, 29,858 users, 64
    clusters, 8 probes, 2 rounds: recall@100 .85 for .13 of the pairs; without rounds .37.)

    Args:
        weights: weight of each event type; 0 leaves it out.
        similarity: cosine, jaccard (shared items, whatever their weights), or pearson (ratings).
        asymmetry: cosine: the share of the norms that is the own one's; .5 is the plain cosine. Above, neighbours with long
            histories count for more; below, for less.
        weighting: of a pair: none; tf_idf or bm25 count what few have for more.
        n_neighbours: neighbours kept of each user.
        min_support: pairs with fewer items in common are chance, and left out.
        shrinkage: pulls similarities with little in common towards 0; 0 switches it off.
        shrinkage_form: support: times support / (support + shrinkage); norm: added to the product of the norms (cosine only).
        value_as: how an event's value enters its weight: ignore, linear, or log (log2(1 + value)).
        half_life_days: after so many days an event weighs half; none for no decay. Needs times.
        max_exact_users: more users than this are searched in clusters.
        n_blocks: tasks; none for as many as run at once. Exact: more need less memory and copy all vectors more often.
        n_slots: tasks that run at once.
        n_clusters: above the limit; none for the square root of the users. More are faster, and need more probes.
        n_probes: clusters looked into; more find more, and cost in proportion.
        n_rounds: rounds of clustering; each costs a pass, and finds more.
        n_measured: users that recall is measured with; the exact search of each is a pass over everyone's items.
        min_recall: the least recall that is accepted.
        seed: of the first centroids and of the measured users.
        tell: is told, of a search in clusters, its recall.

    Raises:
        ConfigError: event weights that nothing can be learnt from; decay of events without times; asymmetry above 1; the
            cosine's knobs for pearson or jaccard.
        LimitError: a recall below min_recall.
    """
    n_blocks = n_blocks or n_slots
    if asymmetry > 1:
        raise ConfigError(f"asymmetry is {asymmetry:g}: it is the own norm's share of the two, 0 to 1")
    if similarity != "cosine" and (weighting != "none" or asymmetry != 0.5 or shrinkage_form == "norm"):
        raise ConfigError(
            f"similarity is {similarity}: weighting ({weighting}), asymmetry ({asymmetry:g}) and shrinkage_form ({shrinkage_form}) are "
            "the cosine's; leave them out"
        )
    pairs = weighted_pairs(interactions, weights, similarity, value_as, half_life_days)
    n_pairs, n_users = pairs.agg(F.count(F.lit(1)), F.countDistinct("user_idx")).collect()[0]
    everyone = pack_vectors(pairs, similarity, weighting, n_pairs, n_users)
    formula = {"cosine": COSINE, "jaccard": JACCARD, "pearson": PEARSON}[similarity]
    in_norm, on_support = (shrinkage, 0.0) if shrinkage_form == "norm" else (0.0, shrinkage)
    measure = Measure(formula, asymmetry, in_norm, on_support, min_support)
    if n_users <= max_exact_users:
        return search_exactly(everyone, everyone, n_neighbours, measure, n_blocks).withColumn("kind", F.lit(USER))
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
