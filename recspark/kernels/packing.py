"""Loose (user, item, value) entries as sorted histories, capped, weighted, and cut for blocks of items.

Nothing depends on the order in which the entries come: they are sorted by (user, item, value) before anything is added.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit


class Histories(NamedTuple):
    """Histories as compressed rows: user users[u] has items[offsets[u]:offsets[u + 1]], ascending, each once, with its value."""

    users: np.ndarray  # int64 [n]
    offsets: np.ndarray  # int64 [n + 1]
    items: np.ndarray  # int32
    values: np.ndarray  # float64, or int32 of steps: one an item


class Totals(NamedTuple):
    """Of some items: how many histories hold each, and a sum over them, as the unevaluated sum of two doubles."""

    items: np.ndarray  # int32, ascending
    counts: np.ndarray  # int64
    high: np.ndarray  # float64
    low: np.ndarray  # float64


class TotalsByItem(NamedTuple):
    """The same of all items, by index."""

    counts: np.ndarray  # int64 [n_items]
    high: np.ndarray  # float64 [n_items]
    low: np.ndarray  # float64 [n_items]


@njit(cache=True)
def _stable_order(keys, order, n_keys):  # type: ignore[no-untyped-def]
    """`order` sorted by keys[order], equals as they were (counting sort)."""
    ends = np.zeros(n_keys + 1, np.int64)
    for key in keys:
        ends[key + 1] += 1
    ends = np.cumsum(ends)
    out = np.empty_like(order)
    for entry in order:
        key = keys[entry]
        out[ends[key]] = entry
        ends[key] += 1
    return out


@njit(cache=True)
def _merge(order, users, items, values, first):  # type: ignore[no-untyped-def]
    """One entry a (user, item): the sum of its values, added in ascending order, or (`first`) the smallest."""
    merged_items, merged_values = np.empty(order.size, np.int32), np.empty(order.size, values.dtype)
    row_users, offsets = np.empty(order.size, users.dtype), np.zeros(order.size + 1, np.int64)
    n_rows, n, start = 0, 0, 0
    while start < order.size:
        user, item = users[order[start]], items[order[start]]
        end = start + 1
        while end < order.size and users[order[end]] == user and items[order[end]] == item:
            end += 1
        if n_rows == 0 or row_users[n_rows - 1] != user:
            row_users[n_rows] = user
            n_rows += 1
        total = values[order[start]]
        if end > start + 1:
            repeats = np.sort(values[order[start:end]])
            total = repeats[0]
            if not first:
                for value in repeats[1:]:
                    total += value
        merged_items[n], merged_values[n] = item, total
        n += 1
        offsets[n_rows] = n
        start = end
    return row_users[:n_rows].copy(), offsets[: n_rows + 1].copy(), merged_items[:n].copy(), merged_values[:n].copy()


@njit(cache=True)
def lot(user: int, item: int, seed: int) -> np.uint64:
    """A number for (user, item) that looks random: SplitMix64's mixing function (Steele et al., OOPSLA 2014) over the three."""
    state = np.uint64(seed)
    for part in (np.uint64(user), np.uint64(item)):
        state = (state + part) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


@njit(cache=True)
def _cap(users, offsets, items, values, limit, seed):  # type: ignore[no-untyped-def]
    """Of each longer history the `limit` items whose lots are lowest, still ascending."""
    kept = np.ones(items.size, np.bool_)
    for row in range(users.size):
        start, end = offsets[row], offsets[row + 1]
        if end - start > limit:
            lots = np.empty(end - start, np.uint64)
            for entry in range(start, end):
                lots[entry - start] = lot(users[row], items[entry], seed)
            kept[start:end] = False
            for place in np.argsort(lots, kind="mergesort")[:limit]:
                kept[start + place] = True
    lengths = np.zeros(users.size + 1, np.int64)
    for row in range(users.size):
        lengths[row + 1] = kept[offsets[row] : offsets[row + 1]].sum()
    return np.cumsum(lengths), items[kept], values[kept]


@njit(cache=True)
def as_steps(offsets: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each history its values as places in time, int32: 0 the earliest, equals the same, no gaps."""
    steps = np.empty(values.size, np.int32)
    for row in range(offsets.size - 1):
        start, end = offsets[row], offsets[row + 1]
        order = np.argsort(values[start:end])
        step = 0
        for place in range(order.size):
            if place > 0 and values[start + order[place]] != values[start + order[place - 1]]:
                step += 1
            steps[start + order[place]] = step
    return steps


def blocks_of_users(users: np.ndarray, n_blocks: int) -> np.ndarray:
    """A block, 0 to n_blocks - 1, for each of the indexes: by multiplicative hashing (Knuth, TAOCP 3, 6.4), as they may have a step."""
    hashed = (users.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    return (hashed % np.uint64(n_blocks)).astype(np.int64)


def _dense(keys: np.ndarray) -> tuple[np.ndarray, int]:
    """`keys` (0 or more) as numbers of the same order that counting sort can afford, and their bound."""
    bound = int(keys.max(initial=-1)) + 1
    if bound <= 4 * len(keys) + 1024:
        return keys, bound
    distinct, places = np.unique(keys, return_inverse=True)
    return places, len(distinct)


def as_histories(
    users: np.ndarray, items: np.ndarray, values: np.ndarray, *, limit: int | None, seed: int, steps: bool = False
) -> Histories:
    """Entries in any order as histories: values of one (user, item) summed, `limit` items at most (None: any).

    A longer history is sampled: the items whose `lot` is lowest. With `steps` values are times, and become the steps (`as_steps`) at
    which the user first came to the items, of the whole history: a sample keeps its gaps. Memory: 60 bytes an entry.
    """
    order = np.arange(len(users))
    for keys in (items, users):
        order = _stable_order(*_with_order(_dense(keys), order))
    row_users, offsets, merged_items, merged_values = _merge(order, users, items, values, steps)
    if steps:
        merged_values = as_steps(offsets, merged_values)
    if limit is not None and np.diff(offsets).max(initial=0) > limit:
        offsets, merged_items, merged_values = _cap(row_users, offsets, merged_items, merged_values, limit, seed)
    return Histories(row_users, offsets, merged_items, merged_values)


def _with_order(dense: tuple[np.ndarray, int], order: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    return dense[0], order, dense[1]


@njit(cache=True)
def _add_up(items, values, counts, high, low):  # type: ignore[no-untyped-def]
    for entry in range(items.size):
        item, value = items[entry], values[entry]
        counts[item] += 1
        # The sum's rounding error is kept beside it (Knuth's two-sum): 106 bits, so that the order of the users does not show.
        total = high[item] + value
        part = total - high[item]
        low[item] += (high[item] - (total - part)) + (value - part)
        high[item] = total


def totals_of(items: np.ndarray, values: np.ndarray) -> Totals:
    """How often each item stands in `items`, and the sum of its `values` (float64)."""
    n_items = int(items.max(initial=-1)) + 1
    counts, high, low = np.zeros(n_items, np.int64), np.zeros(n_items), np.zeros(n_items)
    _add_up(items, values, counts, high, low)
    held = np.flatnonzero(counts)
    return Totals(held.astype(np.int32), counts[held], high[held], low[held])


def no_totals() -> TotalsByItem:
    return TotalsByItem(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))


def add_totals(totals: TotalsByItem, more: Totals) -> TotalsByItem:
    """`totals` and those of other histories; the sums keep their rounding errors (Knuth's two-sum), so that the order does not show."""
    n_items = max(len(totals.counts), 1 + int(more.items.max(initial=-1)))
    counts, high, low = (np.concatenate([own, np.zeros(n_items - len(own), own.dtype)]) for own in totals)
    counts[more.items] += more.counts
    before = high[more.items]
    total = before + more.high
    part = total - before
    low[more.items] += (before - (total - part)) + (more.high - part) + more.low
    high[more.items] = total
    return TotalsByItem(counts, high, low)


@njit(cache=True)
def _of_block(offsets, items, block, n_blocks):  # type: ignore[no-untyped-def]
    """The rows of two items or more, of which one is of the block (item modulo n_blocks), and the entries in them."""
    rows, entries = np.zeros(offsets.size - 1, np.bool_), np.zeros(items.size, np.bool_)
    for row in range(offsets.size - 1):
        start, end = offsets[row], offsets[row + 1]
        if end - start < 2:
            continue
        for entry in range(start, end):
            if items[entry] % n_blocks == block:
                rows[row] = True
                entries[start:end] = True
                break
    return rows, entries


def rows_of_block(histories: Histories, block: int, n_blocks: int) -> Histories:
    """The whole histories that hold an item of the block and at least one other."""
    rows, entries = _of_block(histories.offsets, histories.items, block, n_blocks)
    lengths = np.diff(histories.offsets)[rows]
    values = histories.values[entries] if len(histories.values) else histories.values
    return Histories(histories.users[rows], np.concatenate(([0], np.cumsum(lengths))), histories.items[entries], values)


@njit(cache=True)
def transpose(order, offsets, items, values, rank_of):  # type: ignore[no-untyped-def]
    """Histories as rows in the given order, by rank within; and of each rank the rows that hold it and its place in each.

    Indexes are unsigned: numba then leaves out the question whether they count from the end.
    """
    n_items = rank_of.size
    holders = np.zeros(n_items + 1, np.int64)
    for item in items:
        holders[rank_of[item] + 1] += 1
    holders = np.cumsum(holders)
    fill = holders[:-1].copy()
    rows, sources = np.empty(items.size, np.uint32), np.empty(values.size, np.int64)
    row_offsets = np.zeros(order.size + 1, np.int64)
    for row in range(order.size):
        start, end = offsets[order[row]], offsets[order[row] + 1]
        row_offsets[row + 1] = row_offsets[row] + end - start
        for entry in range(start, end):
            rank = rank_of[items[entry]]
            rows[fill[rank]] = row
            if values.size:
                sources[fill[rank]] = entry
            fill[rank] += 1
    fill = row_offsets[:-1].copy()
    ranks, ranked_values, places = np.empty(items.size, np.uint32), np.empty_like(values), np.empty(items.size, np.uint64)
    for rank in range(n_items):
        for holder in range(holders[rank], holders[rank + 1]):
            place = fill[rows[holder]]
            fill[rows[holder]] += 1
            ranks[place], places[holder] = rank, place
            if values.size:
                ranked_values[place] = values[sources[holder]]
    return row_offsets.astype(np.uint64), ranks, ranked_values, holders, rows, places
