"""From loose entries (user, item, value) to what items have in common: numbers leave the JVM at once, in binary chunks.

Three stages, each a kernel between two shuffles of few, large rows: entries are gathered by users; a block of users becomes
sorted, capped histories, and goes to every block of items that it touches; a block of items adds its pairs up. No pair is
ever a row before it is chosen, or counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from recspark.candidates.spreading import spread
from recspark.kernels.adding import COUNT, DOT, STEPS
from recspark.kernels.cooccurrence import ENTRIES_AT_ONCE, PLACES, Block, Sums, by_popularity, fold, no_sums, top_neighbours
from recspark.kernels.lists import Neighbours, merge
from recspark.kernels.packing import Histories, Totals, add_totals, as_histories, blocks_of_users, no_totals, rows_of_block, totals_of
from recspark.kernels.similarity import Measure

NEIGHBOURS = "idx bigint, neighbour_idx bigint, score float, support int, position int"
# Entries in a binary row. Thousands of rows make one Arrow batch, which must not hold gigabytes.
_CHUNK = 1 << 11
_CHUNKS = 1 << 10  # in a batch that a task hands on
_GATHERED = 1 << 22  # entries that a task of the first stage holds before it hands them on
ANY_GAP = (1 << 31) - 1  # of STEPS: further apart than any two
# A block of users -> what of each entry is added up, float64 or int64, and what is summed of each item, float64.
Weigh = Callable[[Histories], tuple[np.ndarray, np.ndarray]]


class Rules(NamedTuple):
    """What is added up of histories, and how an item's totals and the pairs become scores."""

    mode: int
    weigh: Weigh
    measure: Callable[[np.ndarray, np.ndarray, int], Measure]  # counts, sums [n_items], number of histories
    max_gap: int = ANY_GAP
    divide: bool = False  # each list by the sum of its scores

    @property
    def given(self) -> type:
        """What the entries' values come as."""
        return np.int64 if self.mode == STEPS else np.float64

    @property
    def sent(self) -> type:
        """What histories' values go to the blocks as."""
        return np.int32 if self.mode == STEPS else np.float32


def _flat(column: pa.Array, dtype: type) -> np.ndarray:
    """A binary column as one array: its rows stand behind each other."""
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    data = column.buffers()[2]
    return np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]].view(dtype) if data is not None else np.empty(0, dtype)


def _binary(array: np.ndarray, ends: np.ndarray) -> pa.Array:
    """array[ends[0]:ends[n]] cut before each of `ends` [n + 1], as a binary column of n rows."""
    data = np.ascontiguousarray(array[ends[0] : ends[-1]])
    offsets = ((ends - ends[0]) * data.itemsize).astype(np.int32)
    return pa.Array.from_buffers(pa.binary(), len(ends) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _batches(ends: np.ndarray) -> Iterator[np.ndarray]:
    """`ends` of chunks in stretches that one Arrow batch holds: it counts its bytes in 31 bits."""
    for start in range(0, max(len(ends) - 1, 1), _CHUNKS):
        yield ends[start : start + _CHUNKS + 1]


def _gather_by_user(entries: DataFrame, n_blocks: int, kind: type) -> DataFrame:
    """user_block, and the entries of it as chunks of users (int64), items (int32) and, where there are any, values (`kind`)."""
    parts = {"user_idx": ("users", np.int64), "item_idx": ("items", np.int32), "value": ("values", kind)}
    given = [name for name in parts if name in entries.columns]
    names = [parts[name][0] for name in given]

    def handed_on(waiting: list[tuple[np.ndarray, ...]]) -> Iterator[pa.RecordBatch]:
        columns = [np.concatenate(column) for column in zip(*waiting, strict=True)]
        blocks = blocks_of_users(columns[0], n_blocks)
        for block in range(n_blocks):
            own = np.flatnonzero(blocks == block)
            ends = np.append(np.arange(0, len(own), _CHUNK), len(own))
            packed = [_binary(column[own], ends) for column in columns]
            yield pa.RecordBatch.from_arrays([pa.array(np.full(len(ends) - 1, block, np.int32)), *packed], names=["user_block", *names])

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        waiting: list[tuple[np.ndarray, ...]] = []
        n = 0
        for batch in batches:
            columns = (batch.column(name).to_numpy(zero_copy_only=False).astype(parts[name][1], copy=False) for name in given)
            waiting.append(tuple(columns))
            n += batch.num_rows
            if n >= _GATHERED:
                yield from handed_on(waiting)
                waiting, n = [], 0
        if n:
            yield from handed_on(waiting)

    chunks = entries.select(given).mapInArrow(run, f"user_block int, {', '.join(f'{name} binary' for name in names)}")
    return spread(chunks, "user_block", n_blocks)


_PACKED = (
    "block int, is_history boolean, users binary, lengths binary, items binary, values binary, counts binary, high binary, low binary, "
    "n_histories bigint"
)
_PACKED_NAMES = [part.split()[0] for part in _PACKED.split(", ")]
_EMPTY, _NO_VALUES = np.empty(0, np.uint8), np.empty(0, np.float32)


def _packed_rows(block: int, is_history: bool, ends: np.ndarray, n_histories: int, columns: list[pa.Array]) -> pa.RecordBatch:
    n = len(ends) - 1
    names = [pa.array(np.full(n, block, np.int32)), pa.array(np.full(n, is_history))]
    return pa.RecordBatch.from_arrays([*names, *columns, pa.array(np.full(n, n_histories))], names=_PACKED_NAMES)


def _histories_of(histories: Histories, block: int, n_blocks: int, kind: type) -> Iterator[pa.RecordBatch]:
    rows = rows_of_block(histories, block, n_blocks)
    lengths = np.diff(rows.offsets).astype(np.int32)
    values: np.ndarray = rows.values.astype(kind, copy=False)
    # Cut between histories, at the first end behind each _CHUNK entries.
    cuts = np.unique(np.append(np.searchsorted(rows.offsets, np.arange(0, rows.offsets[-1], _CHUNK)), len(rows.users)))
    for some in _batches(cuts):
        of_entries = rows.offsets[some]
        nothing = [_binary(_EMPTY, np.zeros(len(some), np.int64))] * 3
        own = [_binary(rows.users, some), _binary(lengths, some), _binary(rows.items, of_entries)]
        own.append(_binary(values, of_entries) if len(values) else nothing[0])
        yield _packed_rows(block, True, some, 0, [*own, *nothing])


def _totals_for(totals: Totals, block: int, n_histories: int) -> pa.RecordBatch:
    ends = np.array([0, len(totals.items)])
    nothing = _binary(_EMPTY, np.zeros(2, np.int64))
    columns = [nothing, nothing, _binary(totals.items, ends), nothing, *(_binary(column, ends) for column in totals[1:])]
    return _packed_rows(block, False, ends, n_histories, columns)


def _histories_from(batches: Iterable[pa.RecordBatch], rules: Rules, limit: int | None, seed: int) -> Histories | None:
    """The capped histories of the users that `_gather_by_user` has put into one partition; None where there are none."""
    kinds = {"users": np.int64, "items": np.int32, "values": rules.given}
    parts = [tuple(_flat(batch.column(name), kinds[name]) for name in kinds if name in batch.schema.names) for batch in batches]
    if not any(len(part[0]) for part in parts):
        return None
    users, items, *given = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    parts.clear()
    values = given[0] if given else np.ones(len(users), rules.given)
    return as_histories(users, items, values, limit=limit, seed=seed, steps=rules.mode == STEPS)


def spread_histories(entries: DataFrame, rules: Rules, *, n_blocks: int, max_items_per_user: int | None, seed: int) -> DataFrame:
    """`entries` (user_idx bigint, item_idx int, value double or bigint) as histories for each of n_blocks blocks of items.

    Entries without the column `value` have the value 1. Block b is in partition b: first the totals of all items, then every whole
    history that holds an item with index modulo n_blocks equal to b. Memory of a task: 60 bytes an entry of its users.
    """

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        histories = _histories_from(batches, rules, max_items_per_user, seed)
        if histories is None:
            return
        values, summed = rules.weigh(histories)
        # Ones need not be sent: a dot product of them is a count.
        histories = histories._replace(values=values if rules.mode != DOT or bool(np.any(values != 1)) else _NO_VALUES)
        totals = totals_of(histories.items, summed)
        for block in range(n_blocks):
            yield _totals_for(totals, block, len(histories.users))
            yield from _histories_of(histories, block, n_blocks, rules.sent)

    packed = _gather_by_user(entries, n_blocks, rules.given).mapInArrow(run, _PACKED)
    return spread(packed, "block", n_blocks).sortWithinPartitions("block", "is_history")


def weighed_entries(entries: DataFrame, rules: Rules, *, n_blocks: int, max_items_per_user: int | None, seed: int) -> DataFrame:
    """user_idx, item_idx, value: what `spread_histories` compares (capped and weighed), as loose entries; 1 where only who counts."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        histories = _histories_from(batches, rules, max_items_per_user, seed)
        if histories is not None:
            values = rules.weigh(histories)[0] if rules.mode != COUNT else np.ones(len(histories.items))
            columns = [np.repeat(histories.users, np.diff(histories.offsets)), histories.items, values.astype(np.float64)]
            yield pa.RecordBatch.from_arrays([pa.array(column) for column in columns], names=["user_idx", "item_idx", "value"])

    return _gather_by_user(entries, n_blocks, rules.given).mapInArrow(run, "user_idx bigint, item_idx int, value double")


def _values_of(histories: pa.RecordBatch, kind: type) -> np.ndarray:
    """The values of a batch's entries; of rows that were sent without, 1; none at all where all were."""
    values = _flat(histories.column("values"), kind)
    n_items, n_values = (pc.binary_length(histories.column(name)).to_numpy() // 4 for name in ("items", "values"))
    if not len(values) or len(values) == n_items.sum():
        return values
    filled: np.ndarray = np.ones(int(n_items.sum()), kind)
    filled[np.repeat(n_values > 0, n_items)] = values
    return filled


class BlockOfItems:
    """What a task knows of the block of items it is at: the items' totals, histories not yet added up, and the sums of those before."""

    def __init__(self, block: int, n_blocks: int, rules: Rules, n: int | None) -> None:
        self.number, self.n_histories = block, 0
        self._n_blocks, self._rules, self._n = n_blocks, rules, n
        self.totals = no_totals()
        self._waiting: list[tuple[np.ndarray, ...]] = []
        self._n_entries = 0
        self._sums: Sums | None = None

    def add(self, rows: pa.RecordBatch) -> None:
        """Totals come before histories."""
        first = pc.sum(pc.invert(rows.column("is_history"))).as_py() or 0
        for row in range(first):
            one = rows.slice(row, 1)
            kinds = {"items": np.int32, "counts": np.int64, "high": np.float64, "low": np.float64}
            self.totals = add_totals(self.totals, Totals(*(_flat(one.column(name), kind) for name, kind in kinds.items())))
            self.n_histories += one.column("n_histories")[0].as_py()
        histories = rows.slice(first)
        kinds = {"users": np.int64, "lengths": np.int32, "items": np.int32}
        users, lengths, items = (_flat(histories.column(name), kind) for name, kind in kinds.items())
        if self._n_entries >= ENTRIES_AT_ONCE:  # before these are added: the last of all are for `take`
            block = self.block
            self._sums = fold(block, self.carried(block), self.take())
        self._waiting.append((users, lengths, items, _values_of(histories, self._rules.sent)))
        self._n_entries += len(items)

    @property
    def block(self) -> Block:
        triangle = self._n is None or len(self.totals.counts) * self._n <= PLACES
        return Block(self.number, self._n_blocks, by_popularity(self.totals.counts), triangle, self._rules.mode, self._rules.max_gap)

    def take(self) -> Histories:
        """The waiting histories; without values where all are 1."""
        users, lengths, items, values = (np.concatenate(columns) for columns in zip(*self._waiting, strict=True))
        if 0 < len(values) < len(items):
            values = np.concatenate([own if len(own) else np.ones(len(those), np.float32) for _, _, those, own in self._waiting])
        self._waiting, self._n_entries = [], 0
        return Histories(users, np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))), items, values)

    def carried(self, block: Block) -> Sums:
        return self._sums or no_sums(block)

    def neighbours(self, n: int, min_support: int) -> Neighbours:
        block, totals = self.block, self.totals
        measure = self._rules.measure(totals.counts, totals.high + totals.low, self.n_histories)
        return top_neighbours(block, self.carried(block), self.take(), measure, n=n, min_support=min_support)


def blocks_of(batches: Iterable[pa.RecordBatch], n_blocks: int, rules: Rules, n: int | None) -> Iterator[BlockOfItems]:
    """Each block of the partition, when all of it has come."""
    current, number = None, -1
    for batch in batches:
        blocks = batch.column("block").to_numpy(zero_copy_only=False)
        starts = np.flatnonzero(np.diff(blocks, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(blocks)], strict=True):
            if current is None or blocks[start] != number:
                if current is not None:
                    yield current
                number = int(blocks[start])
                current = BlockOfItems(number, n_blocks, rules, n)
            current.add(batch.slice(start, end - start))
    if current is not None:
        yield current


def _lists_of_blocks(histories: DataFrame, rules: Rules, n_blocks: int, n: int, min_support: int) -> DataFrame:
    """part, and entries of lists of items with index modulo n_blocks equal to it."""
    names = ["part", *Neighbours._fields]

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for block in blocks_of(batches, n_blocks, rules, n):
            found = block.neighbours(n, min_support)
            for part in range(n_blocks):
                own = np.flatnonzero(found.items % n_blocks == part)
                ends = np.append(np.arange(0, len(own), _CHUNK), len(own))
                columns = [column[own] for column in found]
                for some in _batches(ends):
                    chunks = [pa.array(np.full(len(some) - 1, part, np.int32)), *(_binary(column, some) for column in columns)]
                    yield pa.RecordBatch.from_arrays(chunks, names=names)

    return histories.mapInArrow(run, "part int, items binary, others binary, scores binary, supports binary")


def neighbours_of(histories: DataFrame, rules: Rules, *, n_blocks: int, n: int, min_support: int) -> DataFrame:
    """The n best neighbours of each item (columns NEIGHBOURS), from `spread_histories` with the same rules and n_blocks."""
    kinds = dict(zip(Neighbours._fields, (np.int32, np.int32, np.float32, np.int32), strict=True))

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        parts = [tuple(_flat(batch.column(name), kind) for name, kind in kinds.items()) for batch in batches]
        if parts:
            yield finished(merge(Neighbours(*(np.concatenate(columns) for columns in zip(*parts, strict=True))), n), rules.divide)

    lists = _lists_of_blocks(histories, rules, n_blocks, n, min_support)
    return spread(lists, "part", n_blocks).mapInArrow(run, NEIGHBOURS)


def finished(lists: Neighbours, divide: bool) -> pa.RecordBatch:
    """Sorted lists as rows, with positions; `divide`: scores as shares of their list."""
    starts = np.flatnonzero(np.diff(lists.items, prepend=-1))
    lengths = np.diff(np.append(starts, len(lists.items)))
    position = np.arange(len(lists.items)) - np.repeat(starts, lengths)
    scores = lists.scores
    if divide and len(starts):
        scores = (scores / np.repeat(np.add.reduceat(scores.astype(np.float64), starts), lengths)).astype(np.float32)
    columns = [lists.items.astype(np.int64), lists.others.astype(np.int64), scores, lists.supports, position.astype(np.int32)]
    return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], names=[part.split()[0] for part in NEIGHBOURS.split(", ")])


def of_counts(histories: Histories) -> tuple[np.ndarray, np.ndarray]:
    """Every item counts once: nothing but who holds it is needed."""
    return np.empty(0), np.zeros(len(histories.items))
