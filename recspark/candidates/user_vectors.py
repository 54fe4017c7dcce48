"""Users as weighted vectors of the items they have: what user neighbours are compared by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.candidates.weights import add_up_pairs, keep_latest_ratings
from recspark.kernels.ragged import as_ragged
from recspark.kernels.user_neighbours import Vectors
from recspark.tables.weights import ValueAs, with_weight

Similarity = Literal["cosine", "jaccard", "pearson"]
Weighting = Literal["none", "tf_idf", "bm25"]
SCHEMA = "user_idx bigint, items array<int>, weights array<double>"
# Okapi BM25's usual constants: how fast a weight saturates, and how much a long history is held against it.
_K1, _B = 1.2, 0.75


def weighted_pairs(
    interactions: DataFrame, weights: Mapping[str, float], similarity: Similarity, value_as: ValueAs, half_life_days: float | None
) -> DataFrame:
    """user_idx, item_idx, weight: the rating for pearson, else the sum of the pair's event weights.

    Raises:
        ConfigError: event weights that nothing can be learnt from; decay of events without times.
    """
    if similarity == "pearson":
        return keep_latest_ratings(interactions, weights).withColumnRenamed("rating", "weight")
    return add_up_pairs(with_weight(interactions, weights, value_as=value_as, half_life_days=half_life_days))


def _reweighted(pairs: DataFrame, weighting: Weighting, n_pairs: int, n_users: int) -> DataFrame:
    """`pairs` with TF-IDF or BM25 weights; rarity is ln((1 + users) / (1 + users of the item)), 0 for what everybody has."""
    if weighting == "none":
        return pairs
    rarity = pairs.groupBy("item_idx").agg((F.log((1.0 + n_users) / (1.0 + F.count(F.lit(1))))).alias("_rarity"))
    rare = pairs.join(rarity, "item_idx")
    if weighting == "tf_idf":
        return rare.select("user_idx", "item_idx", (F.sqrt("weight") * F.col("_rarity")).alias("weight"))
    lengths = pairs.groupBy("user_idx").agg((F.count(F.lit(1)) * (n_users / max(n_pairs, 1))).alias("_length"))
    bottom = _K1 * (1 - _B + _B * F.col("_length")) + F.col("weight")
    saturated = F.col("weight") * (_K1 + 1) / bottom * F.col("_rarity")
    return rare.join(lengths, "user_idx").select("user_idx", "item_idx", saturated.alias("weight"))


def _less_the_mean(weights: Column) -> Column:
    total = F.aggregate(weights, F.lit(0.0), lambda so_far, weight: so_far + weight)
    return F.transform(weights, lambda weight: weight - total / F.size(weights))


def pack_vectors(pairs: DataFrame, similarity: Similarity, weighting: Weighting, n_pairs: int, n_users: int) -> DataFrame:
    """One row a user (SCHEMA): `items` ascending and their `weights`; for pearson less the user's mean."""
    entries = F.sort_array(F.collect_list(F.struct("item_idx", "weight"))).alias("_entries")
    packed = _reweighted(pairs, weighting, n_pairs, n_users).groupBy("user_idx").agg(entries)
    weights = F.col("_entries.weight")
    weights = _less_the_mean(weights) if similarity == "pearson" else weights
    return packed.select("user_idx", F.col("_entries.item_idx").alias("items"), weights.alias("weights"))


def vectors_of(batches: Iterable[pa.RecordBatch]) -> Vectors:
    """Rows of SCHEMA, as the kernels take them."""
    ids, counts, items, weights = [np.empty(0, np.int64)], [np.zeros(1, np.int64)], [np.empty(0, np.int32)], [np.empty(0)]
    for batch in batches:
        offsets, values = as_ragged(batch.column("items"))
        ids.append(batch.column("user_idx").to_numpy())
        counts.append(np.diff(offsets))
        items.append(values[offsets[0] : offsets[-1]])
        offsets, values = as_ragged(batch.column("weights"))
        weights.append(values[offsets[0] : offsets[-1]])
    return Vectors(np.concatenate(ids), np.cumsum(np.concatenate(counts)), np.concatenate(items), np.concatenate(weights))
