"""Co-occurrence counts that can be kept, and brought up to date by what a day changed instead of by everything.

A count is exact, so that adding and subtracting is: the counts after a day are, row for row, those of a full recomputation.
What cannot be kept this way: weights that decay (every pair changes every day) and sums of weights (rounding). A day adds
pairs between its items and those of earlier days, so the change is not the day's own counts but that of its users:

    changed = count_pairs(histories of the day's users with the day) - count_pairs(the same users without it)

which also holds where a long history is sampled. To forget a day is the same the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from pydantic import NonNegativeFloat, PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.candidates.compared import entries_of
from recspark.candidates.cooccurring import NEIGHBOURS, Rules, blocks_of, finished, of_counts, spread_histories
from recspark.candidates.spreading import spread
from recspark.columns import ITEM, PAD_ITEM
from recspark.errors import ConfigError
from recspark.kernels.adding import COUNT
from recspark.kernels.cooccurrence import count
from recspark.kernels.lists import Neighbours, merge
from recspark.kernels.similarity import Measure, Similarity, measure_of, scores_of
from recspark.tables.weights import type_weight

COUNTS = "item_idx int, other_idx int, support bigint"


def count_pairs(
    interactions: DataFrame, *, weights: dict[str, float], max_items_per_user: int = 500, n_blocks: int = 4, seed: int = 1
) -> DataFrame:
    """item_idx, other_idx, support: how many users have both, item_idx < other_idx; of users' capped histories.

    Where both are one item it is the number of the item's users, and where both are PAD_ITEM the number of all users. Event
    types of weight 0 are left out; the others count alike. As many rows as there are pairs.

    Raises:
        ConfigError: event weights that nothing can be learnt from.
    """
    rules = Rules(COUNT, of_counts, _unused)

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for items in blocks_of(batches, n_blocks, rules, None):
            counts = items.totals.counts
            own = np.flatnonzero(counts)
            own = own[own % n_blocks == items.number]
            yield _rows(own, own, counts[own])
            if items.number == 0:
                yield _rows(*(np.array([value]) for value in (PAD_ITEM, PAD_ITEM, items.n_histories)))
            block = items.block
            for one, other, support in count(block, items.carried(block), items.take()):
                yield _rows(np.minimum(one, other), np.maximum(one, other), support)

    learnt = interactions.filter(type_weight(weights).isNotNull())
    histories = spread_histories(entries_of(learnt, None), rules, n_blocks=n_blocks, max_items_per_user=max_items_per_user, seed=seed)
    return histories.mapInArrow(run, COUNTS)


def _unused(counts: np.ndarray, sums: np.ndarray, n_histories: int) -> Measure:
    return measure_of("jaccard", counts, sums, n_histories, shrinkage=0.0)


def _rows(items: np.ndarray, others: np.ndarray, supports: np.ndarray) -> pa.RecordBatch:
    columns = [pa.array(items.astype(np.int32)), pa.array(others.astype(np.int32)), pa.array(supports.astype(np.int64))]
    return pa.RecordBatch.from_arrays(columns, names=["item_idx", "other_idx", "support"])


def add_counts(counts: DataFrame, more: DataFrame) -> DataFrame:
    """Both tables of counts together; pairs without any user have no row."""
    both = counts.unionByName(more).groupBy("item_idx", "other_idx").agg(F.sum("support").alias("support"))
    return both.filter("support != 0")


def subtract_counts(counts: DataFrame, less: DataFrame) -> DataFrame:
    """`counts` without `less`. A count below 0 says that `less` was never in them."""
    return add_counts(counts, less.withColumn("support", -F.col("support")))


def count_changes(
    before: DataFrame, after: DataFrame, *, weights: dict[str, float], max_items_per_user: int = 500, n_blocks: int = 4, seed: int = 1
) -> DataFrame:
    """What to add to the counts of `before` to have those of `after`: only users whose events differ are counted again.

    Both hold a user's whole events; event_key says which are the same.
    """
    keys = ["user_idx", "event_key"]
    moved = before.select(keys).exceptAll(after.select(keys)).union(after.select(keys).exceptAll(before.select(keys)))
    users = moved.select("user_idx").distinct()

    def counted(rows: DataFrame) -> DataFrame:
        own = rows.join(users, "user_idx", "left_semi")
        return count_pairs(own, weights=weights, max_items_per_user=max_items_per_user, n_blocks=n_blocks, seed=seed)

    return subtract_counts(counted(after), counted(before))


def neighbours_of_counts(
    counts: DataFrame,
    *,
    similarity: Similarity = "cosine",
    n_neighbours: PositiveInt = 100,
    min_support: PositiveInt = 2,
    shrinkage: NonNegativeFloat = 10.0,
    popularity_damping: NonNegativeFloat = 0.5,
    n_blocks: PositiveInt = 4,
) -> DataFrame:
    """The neighbours that `build_item_knn` finds with weights of 1 (`value_as`: ignore, no repeats), to the bit.

    Memory of a task: 200 bytes a neighbour of its block of items, before any is left out (the columns as they came and as one, and
    what the measure makes of the numbers of users), and 40 n_neighbours an item.

    Raises:
        ConfigError: similarity is pearson, which counts do not tell.
    """
    if similarity == "pearson":
        raise ConfigError(
            "similarity is pearson: it correlates ratings, which counts of pairs do not hold; choose cosine, jaccard, lift, llr or "
            "conditional, or compute item_knn from events"
        )

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        names = ("idx", "neighbour_idx", "support", "n_idx", "n_neighbour", "n_users")
        parts = [[batch.column(name).to_numpy(zero_copy_only=False) for name in names] for batch in batches]
        if not parts:
            return
        idx, others, supports, n_idx, n_others, n_users = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        if not len(idx):
            return
        # Each pair stands at two places of its own: its item's number of users, and its neighbour's.
        ends = np.concatenate([n_idx, n_others])
        measure = measure_of(similarity, ends, ends, int(n_users[0]), shrinkage=shrinkage, alpha=popularity_damping)
        scores = scores_of(measure, np.arange(len(idx)), len(idx) + np.arange(len(idx)), supports)
        found = Neighbours(idx.astype(np.int32), others.astype(np.int32), scores, supports.astype(np.int32))
        yield finished(merge(found, n_neighbours), divide=False)

    of_items = counts.filter(F.col("item_idx") == F.col("other_idx")).filter(F.col("item_idx") != PAD_ITEM)
    users = counts.filter(F.col("item_idx") == PAD_ITEM).select(F.col("support").alias("n_users"))
    pairs = counts.filter((F.col("item_idx") < F.col("other_idx")) & (F.col("support") >= min_support))
    there = pairs.select(F.col("item_idx").alias("idx"), F.col("other_idx").alias("neighbour_idx"), "support")
    both = there.unionByName(there.select(F.col("neighbour_idx").alias("idx"), F.col("idx").alias("neighbour_idx"), "support"))
    full = (
        both.join(of_items.select(F.col("item_idx").alias("idx"), F.col("support").alias("n_idx")), "idx")
        .join(of_items.select(F.col("item_idx").alias("neighbour_idx"), F.col("support").alias("n_neighbour")), "neighbour_idx")
        .crossJoin(F.broadcast(users))
    )
    blocks = spread(full.withColumn("block", F.pmod("idx", F.lit(n_blocks))), "block", n_blocks)
    columns = ["idx", "neighbour_idx", "support", "n_idx", "n_neighbour", "n_users"]
    return blocks.select(columns).mapInArrow(run, NEIGHBOURS).withColumn("kind", F.lit(ITEM))
