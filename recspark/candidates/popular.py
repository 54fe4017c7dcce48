"""What everybody likes: the most popular items that a request has not seen."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import PositiveInt
from pyspark.sql import DataFrame

from recspark.candidates.proposals import Kernel, propose
from recspark.kernels.masks import Mask
from recspark.kernels.topk import order_by_score, top_items_of_order
from recspark.tables.lineage import ItemFeatures, ItemPopularity


def score_popular_candidates(
    requests: DataFrame, seen: DataFrame, item_popularity: ItemPopularity, item_features: ItemFeatures, *, n_candidates: PositiveInt = 100
) -> DataFrame:
    """The n_candidates most popular items for each request, by (popularity.score descending, item_idx): allowed, not seen.

    Items without learnt events are not proposed; a request without any item left has no row.

    Args:
        n_candidates: how many items to propose; each costs space, and work in every later step.
    """

    def open_kernel() -> Kernel:
        popularity = item_popularity.arrays()
        order_items, order_scores = order_by_score(popularity["item_idx"], popularity["score"])

        def kernel(batch: pa.RecordBatch, mask: Mask) -> tuple[np.ndarray, np.ndarray]:
            return top_items_of_order(order_items, order_scores, mask, n_candidates)

        return kernel

    return propose(requests.select("request_idx"), seen, item_features, open_kernel)
