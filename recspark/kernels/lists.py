"""The n best of many lists at once, each filled in any order; ties by (score descending, item ascending).

A list has room for 2 n. An entry is one number, the score's bits above the item's complement, so that larger is better; when
the room is full the n best are kept (Hoare's selection) and the worst of them becomes what a score must reach. That costs a
few steps an entry, where a heap costs log n. Memory: 24 n bytes a list, and 16 an entry of those that are finished.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.quickselect import keep_best

_ITEM = np.uint64((1 << 32) - 1)
_HIGH = np.uint64(32)


class Room(NamedTuple):
    """Lists that are being filled."""

    entries: np.ndarray  # uint64 [n_lists, 2 n]
    supports: np.ndarray  # int32 [n_lists, 2 n]
    sizes: np.ndarray  # int64 [n_lists]
    least: np.ndarray  # float64 [n_lists]: a score below it cannot enter


class Neighbours(NamedTuple):
    """Finished lists, one row an entry; those of an item stand together, best first."""

    items: np.ndarray  # int32: whose list
    others: np.ndarray  # int32
    scores: np.ndarray  # float32
    supports: np.ndarray  # int32


class NeighbourRows(NamedTuple):
    """Finished lists, one row an entry, as the table `neighbours` has them; by (idx, position)."""

    idx: np.ndarray  # int64: whose list
    neighbour_idx: np.ndarray  # int64
    score: np.ndarray  # float32
    support: np.ndarray  # int32
    position: np.ndarray  # int32


def open_lists(n_lists: int, n: int) -> Room:
    """Raises:
    ValueError: n < 1.
    """
    if n < 1:
        raise ValueError(f"n = {n}: the number of neighbours to keep must be at least 1")
    shape = (n_lists, 2 * n)
    return Room(np.empty(shape, np.uint64), np.empty(shape, np.int32), np.zeros(n_lists, np.int64), np.zeros(n_lists))


@njit(cache=True)
def _make_room(entries, supports, n):  # type: ignore[no-untyped-def]
    """Keep the n best of a full list; what a score must reach from now on."""
    keep_best(entries, supports, entries.size, n)
    worst = entries[0]
    for entry in entries[1:n]:
        worst = min(worst, entry)
    return np.uint32(worst >> _HIGH).view(np.float32)


@njit(cache=True)
def offer(entries, supports, sizes, least, row, item, score, support):  # type: ignore[no-untyped-def]
    """Put `item` into the list `row` of a Room, if its score (float32) is above 0 and can still be among the n best. Each item once.

    The room comes as its arrays: numba counts references where they are taken out of a tuple, which costs more than the rest.
    """
    if not score > 0 or score < least[row]:
        return
    size = sizes[row]
    entries[row, size] = (np.uint64(np.float32(score).view(np.uint32)) << _HIGH) | (_ITEM - np.uint64(item))
    supports[row, size] = support
    sizes[row] = size + 1
    if size + 1 == entries.shape[1]:
        sizes[row] = entries.shape[1] // 2
        least[row] = _make_room(entries[row], supports[row], entries.shape[1] // 2)


@njit(cache=True)
def _close(entries, supports, sizes, items, out_items, out_others, out_scores, out_supports):  # type: ignore[no-untyped-def]
    n, at = entries.shape[1] // 2, 0
    for row in range(sizes.size):
        size = sizes[row]
        if size > n:
            keep_best(entries[row], supports[row], size, n)
            size = n
        for place in np.argsort(entries[row, :size])[::-1]:
            entry = entries[row, place]
            out_items[at], out_others[at] = items[row], _ITEM - (entry & _ITEM)
            out_scores[at], out_supports[at] = np.uint32(entry >> _HIGH).view(np.float32), supports[row, place]
            at += 1


def close_lists(room: Room, items: np.ndarray) -> Neighbours:
    """The lists, sorted; `items` names whose they are. The room is of no use afterwards."""
    n_entries = int(np.minimum(room.sizes, room.entries.shape[1] // 2).sum())
    found = Neighbours(*(np.empty(n_entries, kind) for kind in (np.int32, np.int32, np.float32, np.int32)))
    _close(room.entries, room.supports, room.sizes, items, *found)
    return found


@njit(cache=True)
def _offer_all(entries, places, sizes, least, rows, others, scores, supports):  # type: ignore[no-untyped-def]
    for entry in range(rows.size):
        offer(entries, places, sizes, least, rows[entry], others[entry], scores[entry], supports[entry])


def merge(parts: Neighbours, n: int) -> Neighbours:
    """Entries in any order, each (item, other) once, as the n best of each item; items ascending.

    Memory: 32 bytes an entry to number the items, then 8 an entry and 40 n a list.
    """
    items, rows = np.unique(parts.items, return_inverse=True)
    room = open_lists(len(items), n)
    _offer_all(*room, rows, parts.others, parts.scores, parts.supports)
    return close_lists(room, items)
