"""Item-item cosine similarity: items are alike when the same users use them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recspark.candidates.proposals import Kernel, propose
from recspark.candidates.spreading import spread
from recspark.candidates.weights import add_up_pairs
from recspark.columns import ITEM
from recspark.kernels.cooccurrence import NO_SUMS, Neighbours, Rows, fold_rows, top_neighbours
from recspark.kernels.masks import Mask
from recspark.kernels.ragged import as_ragged
from recspark.kernels.topk import top_items_by_neighbours
from recspark.tables.lineage import ItemFeatures, ItemNeighbours, LearnRows
from recspark.tables.weights import ValueAs, with_weight

_NEIGHBOURS = "idx bigint, neighbour_idx bigint, score float, support int, position int"
# How many history entries a task holds at once (16 bytes each); beyond it, sums are folded and carried on.
_ENTRIES_AT_ONCE = 1 << 25


def _cap_histories(pairs: DataFrame, max_items_per_user: int, seed: int) -> DataFrame:
    """At most max_items_per_user pairs of a user: those whose (user, item, seed) hashes lowest."""
    lottery = Window.partitionBy("user_idx").orderBy(F.xxhash64("user_idx", "item_idx", F.lit(seed)), "item_idx")
    return pairs.withColumn("_draw", F.row_number().over(lottery)).filter(F.col("_draw") <= max_items_per_user).drop("_draw")


def _with_unit_items(pairs: DataFrame) -> DataFrame:
    """Each weight divided by its item's norm: dot products are then cosines.

    Squares are summed as decimals, exact in any order; as shares of the item's largest, so that a decayed item keeps its digits.
    """
    largest = pairs.groupBy("item_idx").agg(F.max("weight").alias("_largest"))
    shares = pairs.join(largest, "item_idx").withColumn("_share", F.col("weight") / F.col("_largest"))
    squares = F.sum((F.col("_share") * F.col("_share")).cast("decimal(20,18)")).cast("double")
    norms = shares.groupBy("item_idx").agg(F.sqrt(squares).alias("_norm"))
    return shares.join(norms, "item_idx").select("user_idx", "item_idx", (F.col("_share") / F.col("_norm")).alias("weight"))


def _pack_histories(pairs: DataFrame) -> DataFrame:
    """One row a user with two items or more: `items` ascending and their `weights`."""
    entries = F.sort_array(F.collect_list(F.struct("item_idx", "weight"))).alias("_entries")
    packed = pairs.groupBy("user_idx").agg(entries).filter(F.size("_entries") >= 2)
    return packed.select("user_idx", F.col("_entries.item_idx").alias("items"), F.col("_entries.weight").alias("weights"))


class _Block:
    """What a task knows of the block of items it is at: histories not yet added up, and the sums of those before."""

    def __init__(self, block: int, n_blocks: int) -> None:
        self.block, self.n_blocks = block, n_blocks
        self.sums = NO_SUMS
        self.waiting: list[pa.RecordBatch] = []
        self.n_entries = 0

    def add(self, rows: pa.RecordBatch, entries_at_once: int) -> None:
        if self.n_entries >= entries_at_once:
            self.sums = fold_rows(self.sums, self._take(), self.block, self.n_blocks)
        self.waiting.append(rows)
        offsets = rows.column("items").offsets
        self.n_entries += offsets[-1].as_py() - offsets[0].as_py()

    def finish(self, n: int, min_support: int, shrinkage: float) -> Iterator[Neighbours]:
        return top_neighbours(self.sums, self._take(), self.block, self.n_blocks, n=n, min_support=min_support, shrinkage=shrinkage)

    def _take(self) -> Rows:
        counts, items, weights = [np.zeros(1, np.int64)], [], []
        for rows in self.waiting:
            offsets, values = as_ragged(rows.column("items"))
            items.append(values[offsets[0] : offsets[-1]])
            counts.append(np.diff(offsets))
            offsets, values = as_ragged(rows.column("weights"))
            weights.append(values[offsets[0] : offsets[-1]])
        self.waiting, self.n_entries = [], 0
        return Rows(np.cumsum(np.concatenate(counts)), np.concatenate(items), np.concatenate(weights))


def _neighbours_of_blocks(
    histories: DataFrame, n_blocks: int, n: int, min_support: int, shrinkage: float, entries_at_once: int
) -> DataFrame:
    def batch_of(found: Neighbours) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([pa.array(column) for column in found], names=list(Neighbours._fields))

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        current: _Block | None = None
        for batch in batches:
            blocks = batch.column("block").to_numpy(zero_copy_only=False)
            starts = np.flatnonzero(np.diff(blocks, prepend=-1))
            for start, end in zip(starts, [*starts[1:], len(blocks)], strict=True):
                block = int(blocks[start])
                if current is None or current.block != block:
                    if current is not None:
                        yield from map(batch_of, current.finish(n, min_support, shrinkage))
                    current = _Block(block, n_blocks)
                current.add(batch.slice(start, end - start), entries_at_once)
        if current is not None:
            yield from map(batch_of, current.finish(n, min_support, shrinkage))

    touched = F.array_distinct(F.transform("items", lambda item: F.pmod(item, F.lit(n_blocks))))
    copies = histories.withColumn("block", F.explode(touched))
    # Users in order: every sum is then made in one order, wherever its rows came from.
    return spread(copies, "block", n_blocks).sortWithinPartitions("block", "user_idx").mapInArrow(run, _NEIGHBOURS)


def score_item_cosine_candidates(
    histories: DataFrame,
    requests: DataFrame,
    seen: DataFrame,
    item_neighbours: ItemNeighbours,
    item_features: ItemFeatures,
    *,
    n_candidates: PositiveInt = 100,
    max_history: PositiveInt = 50,
) -> DataFrame:
    """For each request the n_candidates items with the largest sum of similarities to its latest max_history events' items.

    An item that stands twice in the history counts once. Requests without a history, or without any neighbour left, have no row.
    (Deshpande and Karypis, Item-based top-N recommendation algorithms, ACM TOIS 22(1), 2004.)

    Args:
        n_candidates: how many items to propose; each costs space, and work in every later step.
        max_history: how far back to look, in events; shorter follows a changing taste, longer knows more.
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

    start = F.greatest(F.col("length") - max_history, F.lit(0)) + 1
    latest = histories.filter("length > 0").select(
        "request_idx", F.slice("items", start, F.least("length", F.lit(max_history))).alias("history")
    )
    return propose(requests.select("request_idx").join(latest, "request_idx"), seen, item_features, open_kernel)


def build_item_cosine(
    interactions: LearnRows,
    *,
    weights: dict[str, float],
    n_neighbours: PositiveInt = 100,
    min_support: PositiveInt = 2,
    shrinkage: NonNegativeFloat = 10.0,
    max_items_per_user: PositiveInt = 500,
    value_as: ValueAs = "log",
    half_life_days: PositiveFloat | None = None,
    n_blocks: PositiveInt = 4,
    seed: int = 1,
) -> DataFrame:
    """The n_neighbours most similar items of each item: kind, idx, neighbour_idx, score, support, position.

    With w(u, i) the sum of a user's event weights for an item (`with_weight`), over each user's capped history:
    score = sum_u w(u, i) w(u, j) / (|i| |j|) * support / (support + shrinkage), where |i| is the norm of item i's column and
    support the number of users who have both. (Sarwar et al., WWW 2001; shrinkage: Bell and Koren, ICDM 2007.) Norms and
    support are taken over the capped histories too, so a score without shrinkage never exceeds 1. Sums are exact or made in one
    order, and scores rounded to single precision: partitions and blocks change nothing.

    Each block of items gets the whole histories that touch it, packed, so that no pair of items is ever a row: a kernel adds
    a block's pairs up and only each item's best neighbours leave it.

    Args:
        weights: weight of each event type; 0 leaves it out.
        n_neighbours: neighbours kept of each item.
        min_support: pairs with fewer users in common are chance, and left out.
        shrinkage: pulls similarities with little support towards 0; 0 switches it off.
        max_items_per_user: a history's cost is its length squared; beyond this a seeded sample stands for it.
        value_as: how an event's value (a rating, a quantity, seconds) enters its weight: ignore, linear, or log (log2(1 + value)).
        half_life_days: after so many days an event weighs half; none for no decay. Needs times.
        n_blocks: item blocks, one task each: at least the number of cores; more need less memory a task and copy histories more often.
        seed: of the sample of long histories.

    Raises:
        ConfigError: event weights that nothing can be learnt from; decay of events without times.
    """
    weighted = with_weight(interactions, weights, value_as=value_as, half_life_days=half_life_days)
    capped = _cap_histories(add_up_pairs(weighted), max_items_per_user, seed)
    histories = _pack_histories(_with_unit_items(capped))
    found = _neighbours_of_blocks(histories, n_blocks, n_neighbours, min_support, shrinkage, _ENTRIES_AT_ONCE)
    return found.withColumn("kind", F.lit(ITEM))
