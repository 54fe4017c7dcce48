"""What a history's neighbours propose: the sum of their scores over the history, for every source of item neighbours."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.candidates.proposals import Kernel, propose
from recspark.handover.arrays import Published
from recspark.kernels.masks import Mask
from recspark.kernels.ragged import as_ragged
from recspark.kernels.topk import top_items_by_neighbours
from recspark.tables.weights import type_weight


def latest_histories(histories: DataFrame, max_history: int) -> DataFrame:
    """request_idx, history: the items of the last max_history events, for requests that have any."""
    start = F.greatest(F.col("length") - max_history, F.lit(0)) + 1
    latest = F.slice("items", start, F.least("length", F.lit(max_history)))
    return histories.filter("length > 0").select("request_idx", latest.alias("history"))


def whole_histories(interactions: DataFrame, requests: DataFrame, weights: Mapping[str, float]) -> DataFrame:
    """request_idx, history: every item of the user's events up to the request's as_of, of the types with a weight; ascending.

    Raises:
        ConfigError: as `type_weight`.
    """
    events = interactions.filter(type_weight(weights).isNotNull()).select("user_idx", "item_idx", "event_at")
    asked = requests.select("request_idx", "user_idx", "as_of").join(events, "user_idx")
    known = asked.filter(F.coalesce(F.col("event_at") <= F.col("as_of"), F.lit(True)))
    return known.groupBy("request_idx").agg(F.sort_array(F.collect_set("item_idx")).alias("history"))


def score_neighbour_candidates(
    histories: DataFrame, seen: DataFrame, item_neighbours: Published, item_features: Published, n_candidates: int
) -> DataFrame:
    """For each row (request_idx, history) the n_candidates items with the largest sum of neighbour scores over the history.

    An item that stands twice in the history counts once. Requests without any neighbour left have no row.
    """

    def open_kernel() -> Kernel:
        neighbours = item_neighbours.arrays()
        idx = neighbours["idx"]
        n_items = 1 + max((int(neighbours[name].max()) for name in ("idx", "neighbour_idx") if len(idx)), default=-1)
        offsets = np.searchsorted(idx, np.arange(n_items + 1))

        def kernel(batch: pa.RecordBatch, mask: Mask) -> tuple[np.ndarray, np.ndarray]:
            others, scores = neighbours["neighbour_idx"], neighbours["score"]
            history = as_ragged(batch.column("history"))
            return top_items_by_neighbours(*history, offsets, others, scores, mask, n_candidates)

        return kernel

    return propose(histories, seen, item_features, open_kernel)
