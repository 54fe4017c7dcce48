"""EASE: item-item weights by one ridge regression of every item on all others, for catalogues that fit a dense matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
from pydantic import PositiveFloat, PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.candidates.cooccurring import NEIGHBOURS
from recspark.candidates.neighbours import propose_by_lists, whole_histories
from recspark.candidates.spreading import runs_of, spread
from recspark.columns import ITEM
from recspark.errors import LimitError
from recspark.kernels.ease import count_pairs, invert_upper, top_weights
from recspark.kernels.lists import NeighbourRows
from recspark.kernels.ragged import as_ragged
from recspark.tables.lineage import HistoryRows, ItemFeatures, ItemNeighbours, LearnRows, Slots
from recspark.tables.weights import type_weight

_COUNTS = "place int, others array<int>, counts array<int>"
# Rows of the triangle that leave a task at once.
_ROWS_AT_ONCE = 256
_PIECE = 1 << 11  # entries


def _used_pairs(interactions: DataFrame, weights: Mapping[str, float]) -> DataFrame:
    return interactions.filter(type_weight(weights).isNotNull()).select("user_idx", "item_idx").distinct()


def _learnt_items(pairs: DataFrame, max_items: int, single_precision: bool) -> np.ndarray:
    """The items with learnt events, ascending. Item-sized: it passes through the driver, as long as max_items allows.

    Raises:
        LimitError: more than max_items of them.
    """
    items = pairs.select("item_idx").distinct()
    rows = items.limit(max_items + 1).toArrow()
    if rows.num_rows > max_items:
        n_items, size = items.count(), 4 if single_precision else 8
        precision = "" if single_precision else f", set neighbours_ease.single_precision for {4e-9 * n_items**2:,.1f} GB"
        raise LimitError(
            f"EASE of {n_items:,} items needs {size * n_items**2 * 1e-9:,.1f} GB in one task ({size} bytes x items^2), and "
            f"neighbours_ease.max_items is {max_items:,}: raise it where a task has that memory{precision}, or leave `ease` out of `sources`"
        )
    return np.sort(rows.column("item_idx").to_numpy())


def _pack_histories(pairs: DataFrame, ids: np.ndarray) -> DataFrame:
    """One row a user: `items`, the places in `ids` of what the user has, ascending."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            offsets, items = as_ragged(batch.column("items"))
            places = pa.array(np.searchsorted(ids, items).astype(np.int32))
            yield pa.RecordBatch.from_arrays([pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), places)], names=["items"])

    packed = pairs.groupBy("user_idx").agg(F.sort_array(F.collect_list("item_idx")).alias("items"))
    return packed.select("items").mapInArrow(run, "items array<int>")


def _count_blocks(histories: DataFrame, n_items: int, n_blocks: int) -> DataFrame:
    """place, others, counts: the users that an item shares with itself and each later one, where there are any; in pieces."""

    def rows_of(block: int, counts: np.ndarray) -> Iterator[pa.RecordBatch]:
        for first in range(0, len(counts), _ROWS_AT_ONCE):
            some = counts[first : first + _ROWS_AT_ONCE]
            rows, others = np.nonzero(some)
            # A row of the triangle is sent in pieces: thousands of them make one batch.
            starts = np.concatenate([np.searchsorted(rows, np.arange(len(some))), np.arange(0, len(rows), _PIECE), [len(rows)]])
            offsets = np.unique(starts).astype(np.int32)
            lists = [
                pa.ListArray.from_arrays(pa.array(offsets), pa.array(values)) for values in (others.astype(np.int32), some[rows, others])
            ]
            places = ((first + rows[offsets[:-1]]) * n_blocks + block).astype(np.int32)
            yield pa.RecordBatch.from_arrays([pa.array(places), *lists], names=["place", "others", "counts"])

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        current, counts = -1, np.empty((0, 0), np.int32)
        for block, rows in runs_of(batches, "block"):
            if block != current:
                yield from rows_of(current, counts)
                current, counts = block, np.zeros((len(range(block, n_items, n_blocks)), n_items), np.int32)
            count_pairs(*as_ragged(rows.column("items")), block, n_blocks, counts)
        yield from rows_of(current, counts)

    touched = F.array_distinct(F.transform("items", lambda item: F.pmod(item, F.lit(n_blocks))))
    copies = histories.withColumn("block", F.explode(touched))
    return spread(copies, "block", n_blocks).sortWithinPartitions("block").mapInArrow(run, _COUNTS)


def _solve(counts: DataFrame, ids: np.ndarray, reg: float, n: int | None, single_precision: bool) -> DataFrame:
    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        # Both triangles hold the counts; the upper one becomes the inverse, the lower one stays as the supports.
        matrix = np.zeros((len(ids), len(ids)), np.float32 if single_precision else np.float64)
        for batch in batches:
            offsets, others = as_ragged(batch.column("others"))
            _, shared = as_ragged(batch.column("counts"))
            for row, place in enumerate(batch.column("place").to_pylist()):
                columns, values = (array[offsets[row] : offsets[row + 1]] for array in (others, shared))
                matrix[place, columns] = values
                matrix[columns, place] = values
        invert_upper(matrix, reg)
        for found in top_weights(matrix, ids, n):
            yield pa.RecordBatch.from_arrays([pa.array(column) for column in found], names=list(NeighbourRows._fields))

    return counts.repartition(1).mapInArrow(run, NEIGHBOURS)


def score_ease_candidates(
    interactions: HistoryRows,
    requests: DataFrame,
    seen: DataFrame,
    item_neighbours: ItemNeighbours,
    item_features: ItemFeatures,
    *,
    weights: dict[str, float],
    n_candidates: PositiveInt = 100,
) -> DataFrame:
    """For each request the n_candidates items with the largest sum of EASE weights over the user's whole history.

    Requests without a history up to their as_of, or without any item left, have no row.

    Args:
        weights: weight of each event type; those above 0 are history, all alike.
        n_candidates: how many items to propose; each costs space, and work in every later step.

    Raises:
        ConfigError: event weights that nothing can be learnt from.
    """
    histories = whole_histories(interactions, requests, weights)
    return propose_by_lists(histories, seen, item_neighbours, item_features, n_candidates)


def fit_ease(
    interactions: LearnRows,
    *,
    weights: dict[str, float],
    reg: PositiveFloat = 500.0,
    n_neighbours: PositiveInt | None = 500,
    max_items: PositiveInt = 20_000,
    single_precision: bool = False,
    n_blocks: PositiveInt | None = None,
    n_slots: Slots,
) -> DataFrame:
    """The n_neighbours strongest weights on each item: kind, idx, neighbour_idx, score, support, position.

    score(i, j) = B(i, j), what a history with item i adds to the score of item j (Steck, WWW 2019: see `kernels.ease`), from
    binary histories: a pair counts once, however often and heavily it was used. Weights may be negative, and tell as much as
    positive ones: kept are those B(i, j) that are among the n_neighbours largest of item j in absolute value, listed for i by
    (score descending, neighbour_idx); some items then stand in more lists than others. (ncf-ml-1m, NDCG@10: .4494 with all
    3,706, .4471 with 500, .4408 with 200; with the largest of each i .4448 and .4380, with the largest that are positive .4247
    and .4225.) support is the number of users who have both. Counts are exact, so partitions and blocks change nothing.

    With N items of learnt events and H pairs: blocks of items get the histories that touch them (shuffle at most
    4 H * n_blocks bytes) and hold 4 N^2 / n_blocks bytes of counts each; the counts that are not 0 go to one task (shuffle 8
    bytes each, at most 4 N^2), which holds 8 N^2 bytes (4 in single precision), inverts in N^3 multiplications with the
    threads that a task has (`spark.task.cpus`), and emits the weights. Only the N item indexes pass through the driver.

    Args:
        weights: weight of each event type; 0 leaves it out, all others count alike.
        reg: ridge regularisation, about the number of users that an item needs to be heard; 100 to 1,000 for most logs.
        n_neighbours: weights kept on each item; none for all. What is cut is lost to the scores.
        max_items: catalogues above this are refused: memory grows with the square, time with the cube.
        single_precision: half the memory and time; weights then differ in about the fourth digit.
        n_blocks: item blocks of the counts, one task each; none for as many as run at once. More need less memory a task and copy
            histories more often.
        n_slots: tasks that run at once.

    Raises:
        ConfigError: event weights that nothing can be learnt from.
        LimitError: more than max_items items with learnt events.
    """
    n_blocks = n_blocks or n_slots
    pairs = _used_pairs(interactions, weights)
    ids = _learnt_items(pairs, max_items, single_precision)
    counts = _count_blocks(_pack_histories(pairs, ids), len(ids), n_blocks)
    return _solve(counts, ids, reg, n_neighbours, single_precision).withColumn("kind", F.lit(ITEM))
