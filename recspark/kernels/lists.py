"""The n best of many lists at once, each filled in any order; ties by (score descending, item ascending).

A list has room for 2 n. An entry is one number, the score's bits above the item's complement, so that larger is better; when
the room is full the n best are kept (Hoare's selection) and the worst of them becomes what a score must reach. That costs a
few steps an entry, where a heap costs log n. Memory: 24 n bytes a list.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

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
def _keep_best(entries, supports, size, n):  # type: ignore[no-untyped-def]
    """The n largest of the first `size` entries stand before the others."""
    low, high = 0, size - 1
    while low < high:
        pivot = entries[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while entries[i] > pivot:
                i += 1
            while entries[j] < pivot:
                j -= 1
            if i <= j:
                entries[i], entries[j] = entries[j], entries[i]
                supports[i], supports[j] = supports[j], supports[i]
                i += 1
                j -= 1
        if n - 1 <= j:
            high = j
        elif n - 1 >= i:
            low = i
        else:
            break


@njit(cache=True)
def _make_room(entries, supports, n):  # type: ignore[no-untyped-def]
    """Keep the n best of a full list; what a score must reach from now on."""
    _keep_best(entries, supports, entries.size, n)
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
def _close(room):  # type: ignore[no-untyped-def]
    n = room.entries.shape[1] // 2
    for row in range(room.sizes.size):
        entries, supports = room.entries[row], room.supports[row]
        if room.sizes[row] > n:
            _keep_best(entries, supports, room.sizes[row], n)
            room.sizes[row] = n
        order = np.argsort(entries[: room.sizes[row]])[::-1]
        sorted_entries, sorted_supports = entries[order], supports[order]
        entries[: order.size], supports[: order.size] = sorted_entries, sorted_supports


def close_lists(room: Room, items: np.ndarray) -> Neighbours:
    """The lists, sorted; `items` names whose they are."""
    _close(room)
    filled = np.arange(room.entries.shape[1]) < room.sizes[:, None]
    entries = room.entries[filled]
    others = (_ITEM - (entries & _ITEM)).astype(np.int32)
    scores = (entries >> _HIGH).astype(np.uint32).view(np.float32)
    return Neighbours(np.repeat(items, room.sizes).astype(np.int32), others, scores, room.supports[filled])


@njit(cache=True)
def _offer_all(entries, places, sizes, least, rows, others, scores, supports):  # type: ignore[no-untyped-def]
    for entry in range(rows.size):
        offer(entries, places, sizes, least, rows[entry], others[entry], scores[entry], supports[entry])


def merge(parts: Neighbours, n: int) -> Neighbours:
    """Entries in any order, each (item, other) once, as the n best of each item; items ascending."""
    items, rows = np.unique(parts.items, return_inverse=True)
    room = open_lists(len(items), n)
    _offer_all(*room, rows, parts.others, parts.scores, parts.supports)
    return close_lists(room, items)
