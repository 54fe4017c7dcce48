"""What a user's neighbours use: the sum of the similarities of those who have an item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import PositiveInt
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recspark.candidates.proposals import propose
from recspark.candidates.spreading import runs_of, spread
from recspark.columns import PAD_ITEM, USER
from recspark.kernels.masks import Mask, rows_of
from recspark.kernels.ragged import as_ragged
from recspark.kernels.user_proposals import top_items_by_users
from recspark.tables.lineage import ItemFeatures, LearnRows, OwnNeighbours, Slots
from recspark.tables.weights import type_weight

Lists = Literal["own", "others"]


def _neighbour_lists(neighbours: DataFrame, lists: Lists, max_neighbours: int) -> DataFrame:
    """user_idx, neighbours, similarities: a row a user, best first, then by index."""
    rows = neighbours.filter(F.col("kind") == USER)
    user, other = ("idx", "neighbour_idx") if lists == "own" else ("neighbour_idx", "idx")
    # Cut before they are gathered: somebody may be in everybody's list.
    place = F.row_number().over(Window.partitionBy(user).orderBy(F.col("score").desc(), other))
    kept = rows.withColumn("_place", place).filter(F.col("_place") <= max_neighbours)
    ordered = F.sort_array(F.collect_list(F.struct("_place", F.col(other).alias("other"), "score")))
    best = kept.groupBy(F.col(user).alias("user_idx")).agg(ordered.alias("_best"))
    return best.select("user_idx", F.col("_best.other").alias("neighbours"), F.col("_best.score").alias("similarities"))


def _histories_beside(masked: DataFrame, interactions: DataFrame, weights: Mapping[str, float], n_blocks: int) -> DataFrame:
    """Each block's requests (an odd `_run`), behind the items of all who are neighbours in it (an even one, by user)."""
    used = interactions.filter(type_weight(weights).isNotNull()).select("user_idx", "item_idx").distinct()
    items = used.groupBy("user_idx").agg(F.collect_list("item_idx").alias("items"))
    needed = masked.select("_block", F.explode("neighbours").alias("user_idx")).distinct()
    histories = needed.join(items, "user_idx").withColumn("_run", 2 * F.col("_block"))
    requests = masked.withColumn("_run", 2 * F.col("_block") + 1)
    rows = requests.unionByName(histories, allowMissingColumns=True)
    return spread(rows, "_block", n_blocks).sortWithinPartitions("_run", "user_idx")


def _histories(batches: Sequence[pa.RecordBatch]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids (ascending), offsets and items of the rows of `batches`."""
    ids, counts, items = [np.empty(0, np.int64)], [np.zeros(1, np.int64)], [np.empty(0, np.int32)]
    for batch in batches:
        offsets, values = as_ragged(batch.column("items"))
        ids.append(batch.column("user_idx").to_numpy())
        counts.append(np.diff(offsets))
        items.append(values[offsets[0] : offsets[-1]])
    return np.concatenate(ids), np.cumsum(np.concatenate(counts)), np.concatenate(items)


class _BlockKernel:
    """A kernel that meets the histories of a block's neighbours, keeps them, and then scores the block's requests."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.block, self.waiting = -1, list[pa.RecordBatch]()
        self.histories = _histories([])

    def __call__(self, batch: pa.RecordBatch, mask: Mask) -> tuple[np.ndarray, np.ndarray]:
        items = np.full((batch.num_rows, self.n), PAD_ITEM, np.int32)
        scores = np.zeros((batch.num_rows, self.n), np.float32)
        first = 0
        for run, rows in runs_of([batch], "_run"):
            last = first + rows.num_rows
            if run // 2 != self.block:
                self.block, self.waiting, self.histories = run // 2, [], _histories([])
            if run % 2 == 0:
                self.waiting.append(rows)
            else:
                if self.waiting:
                    self.waiting, self.histories = [], _histories(self.waiting)
                lists = (*as_ragged(rows.column("neighbours")), as_ragged(rows.column("similarities"))[1])
                own = rows_of(mask, first, last)
                items[first:last], scores[first:last] = top_items_by_users(*lists, *self.histories, own, self.n)
            first = last
        return items, scores


def score_user_knn_candidates(
    interactions: LearnRows,
    requests: DataFrame,
    neighbours: OwnNeighbours,
    seen: DataFrame,
    item_features: ItemFeatures,
    *,
    weights: dict[str, float],
    n_candidates: PositiveInt = 100,
    lists: Lists = "own",
    max_neighbours: PositiveInt = 1000,
    n_blocks: PositiveInt | None = None,
    n_slots: Slots,
) -> DataFrame:
    """For each request the n_candidates items with the largest sum of similarities of the user's neighbours who have the item.

    A neighbour has an item or not, however often and heavily it was used. Users that were not learnt from have no neighbours, and
    their requests no row; nor have requests without any item left. (ncf-ml-1m, asymmetry .3, 300
    neighbours: HR@10 .650, NDCG@10 .384 by own lists, .673 and .408 by others'. Herlocker et al., SIGIR 1999, for sets of items.)

    Each block of requests gets the histories of its users' neighbours, once each. With U users of n neighbours and h items each:
    shuffled are 4 h n_blocks min(U, n U / n_blocks) bytes beside the neighbours' 12 n U, and a task holds a block's share of the
    first. More blocks need less memory a task, and copy histories more often, until a block's neighbours are all different.

    Args:
        weights: weight of each event type; those above 0 are history, all alike.
        n_candidates: how many items to propose; each costs space, and work in every later step.
        lists: whose lists say who counts: own, the user's neighbours; others, everyone who has the user among theirs.
        max_neighbours: that count, the most similar first; bounds what a user that is in everybody's list costs.
        n_blocks: blocks of requests, one task each; none for as many as run at once.
        n_slots: tasks that run at once.

    Raises:
        ConfigError: event weights that nothing can be learnt from.
    """

    n_blocks = n_blocks or n_slots

    def arrange(masked: DataFrame) -> DataFrame:
        blocked = masked.withColumn("_block", F.pmod(F.xxhash64("user_idx"), F.lit(n_blocks)).cast("int"))
        return _histories_beside(blocked, interactions, weights, n_blocks)

    known = requests.select("request_idx", "user_idx").join(_neighbour_lists(neighbours, lists, max_neighbours), "user_idx")
    return propose(known, seen, item_features, lambda: _BlockKernel(n_candidates), arrange)
