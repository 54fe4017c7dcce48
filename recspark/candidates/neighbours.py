"""Candidates from item neighbours, whatever they were made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.candidates.proposals import Kernel, propose
from recspark.handover.arrays import Published
from recspark.kernels.masks import Mask
from recspark.kernels.ragged import as_ragged
from recspark.kernels.topk import top_items_by_neighbours
from recspark.tables.lineage import ItemFeatures, ItemNeighbours
from recspark.tables.weights import type_weight

ListsOf = Literal["history", "candidates"]


def whole_histories(interactions: DataFrame, requests: DataFrame, weights: Mapping[str, float]) -> DataFrame:
    """request_idx, history: every item of the user's events up to the request's as_of, of the types with a weight; ascending.

    Raises:
        ConfigError: as `type_weight`.
    """
    events = interactions.filter(type_weight(weights).isNotNull()).select("user_idx", "item_idx", "event_at")
    asked = requests.select("request_idx", "user_idx", "as_of").join(events, "user_idx")
    known = asked.filter(F.coalesce(F.col("event_at") <= F.col("as_of"), F.lit(True)))
    return known.groupBy("request_idx").agg(F.sort_array(F.collect_set("item_idx")).alias("history"))


def propose_by_lists(
    histories: DataFrame,
    seen: DataFrame,
    item_neighbours: Published,
    item_features: Published,
    n_candidates: int,
    lists_of: ListsOf = "history",
) -> DataFrame:
    """For each row (request_idx, history) the n_candidates items with the largest sum of neighbour scores over the history.

    An item that stands twice in the history counts once. Requests without any neighbour left have no row.
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
            return top_items_by_neighbours(*as_ragged(batch.column("history")), offsets, others, scores, mask, n_candidates)

        return kernel

    return propose(histories, seen, item_features, open_kernel)


def score_neighbour_candidates(
    histories: DataFrame,
    requests: DataFrame,
    seen: DataFrame,
    item_neighbours: ItemNeighbours,
    item_features: ItemFeatures,
    *,
    n_candidates: PositiveInt = 100,
    max_history: PositiveInt = 50,
    lists_of: ListsOf = "history",
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

    start = F.greatest(F.col("length") - max_history, F.lit(0)) + 1
    latest = histories.filter("length > 0").select(
        "request_idx", F.slice("items", start, F.least("length", F.lit(max_history))).alias("history")
    )
    asked = requests.select("request_idx").join(latest, "request_idx")
    return propose_by_lists(asked, seen, item_neighbours, item_features, n_candidates, lists_of)
