"""Candidates from vectors: the items with the largest dot product, whatever model the vectors are of."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.candidates.proposals import Kernel, matrix, propose
from recspark.columns import REQUEST, USER
from recspark.handover.arrays import Published
from recspark.kernels.factors import item_factors, top_items_by_factors
from recspark.kernels.masks import Mask
from recspark.tables.lineage import ItemFeatures, ItemVectors, OwnVectors


def _propose_nearest(known: DataFrame, seen: DataFrame, item_vectors: Published, item_features: Published, n_candidates: int) -> DataFrame:
    """For each row (request_idx, vector, bias) the n_candidates best items by dot product plus biases. Exact, in tiles."""

    def open_kernel() -> Kernel:
        vectors = item_vectors.arrays()
        items = item_factors(*(vectors[name] for name in ("idx", "vector", "bias")))

        def kernel(batch: pa.RecordBatch, mask: Mask) -> tuple[np.ndarray, np.ndarray]:
            return top_items_by_factors(matrix(batch.column("vector")), batch.column("bias").to_numpy(), items, mask, n_candidates)

        return kernel

    return propose(known.select("request_idx", "vector", "bias"), seen, item_features, open_kernel)


def score_als_candidates(
    vectors: OwnVectors,
    requests: DataFrame,
    seen: DataFrame,
    item_vectors: ItemVectors,
    item_features: ItemFeatures,
    *,
    n_candidates: PositiveInt = 100,
) -> DataFrame:
    """For each request whose user has a vector the n_candidates items with the largest dot product plus biases: allowed, not seen.

    Exact search over all items, in tiles. Requests without a user vector, or without any item left, have no row.

    Args:
        n_candidates: how many items to propose; each costs space, and work in every later step.
    """
    users = vectors.filter(F.col("kind") == USER).select(F.col("idx").alias("user_idx"), "vector", "bias")
    return _propose_nearest(requests.join(users, "user_idx"), seen, item_vectors, item_features, n_candidates)


def score_next_item_candidates(
    vectors: OwnVectors,
    seen: DataFrame,
    item_vectors: ItemVectors,
    item_features: ItemFeatures,
    *,
    n_candidates: PositiveInt = 100,
) -> DataFrame:
    """For each request whose history the model has read the n_candidates items that it expects most next: allowed, not seen.

    Exact search over all items, in tiles. Requests without a history, or without any item left, have no row.

    Args:
        n_candidates: how many items to propose; each costs space, and work in every later step.
    """
    known = vectors.filter(F.col("kind") == REQUEST).withColumnRenamed("idx", "request_idx")
    return _propose_nearest(known, seen, item_vectors, item_features, n_candidates)
