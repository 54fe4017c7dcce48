"""Candidates from item neighbours, whatever they were made of."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.candidates.proposals import Kernel, propose
from recspark.kernels.masks import Mask
from recspark.kernels.ragged import as_ragged
from recspark.kernels.topk import top_items_by_neighbours
from recspark.tables.lineage import ItemFeatures, ItemNeighbours


def score_neighbour_candidates(
    histories: DataFrame,
    requests: DataFrame,
    seen: DataFrame,
    item_neighbours: ItemNeighbours,
    item_features: ItemFeatures,
    *,
    n_candidates: PositiveInt = 100,
    max_history: PositiveInt = 50,
    lists_of: Literal["history", "candidates"] = "history",
) -> DataFrame:
    """For each request the n_candidates items with the largest sum of similarities to its latest max_history events' items.

    An item that stands twice in the history counts once. Requests without a history, or without any neighbour left, have no row.
    (Deshpande and Karypis, Item-based top-N recommendation algorithms, ACM TOIS 22(1), 2004.)

    Args:
        n_candidates: how many items to propose; each costs space, and work in every later step.
        max_history: how far back to look, in events; shorter follows a changing taste, longer knows more.
        lists_of: whose neighbour lists count: those of the history's items, or those of the candidates (an item is scored by the
            history's items that stand in its own list), which gives rare items their say.
    """

    def open_kernel() -> Kernel:
        neighbours = item_neighbours.arrays()
        known, others, scores = (neighbours[name] for name in ("idx", "neighbour_idx", "score"))
        if lists_of == "candidates":
            order = np.argsort(others, kind="stable")
            known, others, scores = others[order], known[order], scores[order]
        n_items = 1 + max((int(column.max()) for column in (known, others) if len(column)), default=-1)
        offsets = np.searchsorted(known, np.arange(n_items + 1))

        def kernel(batch: pa.RecordBatch, mask: Mask) -> tuple[np.ndarray, np.ndarray]:
            history = as_ragged(batch.column("history"))
            return top_items_by_neighbours(*history, offsets, others, scores, mask, n_candidates)

        return kernel

    start = F.greatest(F.col("length") - max_history, F.lit(0)) + 1
    latest = histories.filter("length > 0").select(
        "request_idx", F.slice("items", start, F.least("length", F.lit(max_history))).alias("history")
    )
    return propose(requests.select("request_idx").join(latest, "request_idx"), seen, item_features, open_kernel)
