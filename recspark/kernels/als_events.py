"""A block of users' observed pairs, by user and by item, out of events in any order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.errors import TrainingError
from recspark.kernels.als import Events

# Entries that a table over all users may have, an event.
_TABLE = 2


class Block(NamedTuple):
    """A task's users, by their place in it, and their events in both orders."""

    user_idx: np.ndarray  # int64 [n_users]: by descending activity, so that busy rows lie together in memory
    by_user: Events
    by_item: Events  # of all items; `others` are places
    constant: float  # the loss of the observed pairs where all factors are 0


@njit(cache=True)
def _by_activity(users, n_users):  # type: ignore[no-untyped-def]
    """The users below n_users that have events, by descending number of them, then index; and each event's place among them."""
    counts = np.zeros(n_users, np.int64)
    for user in users:
        counts[user] += 1
    present = np.flatnonzero(counts)
    order = present[np.argsort(-counts[present], kind="mergesort")]
    place_of = np.empty(n_users, np.int32)
    for place in range(order.size):
        place_of[order[place]] = place
    places = np.empty(users.size, np.int32)
    for event in range(users.size):
        places[event] = place_of[users[event]]
    return order, places


def _places(user_idx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`_by_activity`, whatever the indexes: a table over all of them is made only where it is of the events' size."""
    n_users = int(user_idx.max()) + 1
    if n_users <= _TABLE * len(user_idx):
        return _by_activity(user_idx, n_users)
    users, numbers = np.unique(user_idx, return_inverse=True)
    order, places = _by_activity(numbers, len(users))
    return users[order], places


@njit(cache=True)
def _sorted_by(keys, n_keys):  # type: ignore[no-untyped-def]
    """Where each key's events begin, and the events in the order of their keys (stable)."""
    offsets = np.zeros(n_keys + 1, np.int64)
    for key in keys:
        offsets[key + 1] += 1
    offsets = np.cumsum(offsets)
    ends, order = offsets[:-1].copy(), np.empty(keys.size, np.int64)
    for event in range(keys.size):
        order[ends[keys[event]]] = event
        ends[keys[event]] += 1
    return offsets, order


@njit(cache=True)
def _merged(order, users, items, weights, pulls):  # type: ignore[no-untyped-def]
    """Events in `order` (by user, then item), those of one pair added up; returns columns of pairs."""
    n = 0
    kept_users, kept_items = np.empty(order.size, np.int32), np.empty(order.size, np.int32)
    kept_weights, kept_pulls = np.empty(order.size, np.float64), np.empty(order.size, np.float64)
    for event in order:
        if n > 0 and kept_users[n - 1] == users[event] and kept_items[n - 1] == items[event]:
            kept_weights[n - 1] += weights[event]
            kept_pulls[n - 1] += pulls[event]
            continue
        kept_users[n], kept_items[n], kept_weights[n], kept_pulls[n] = users[event], items[event], weights[event], pulls[event]
        n += 1
    return kept_users[:n], kept_items[:n], kept_weights[:n], kept_pulls[:n]


def _single(users: np.ndarray, places: np.ndarray, items: np.ndarray, column: np.ndarray) -> np.ndarray:
    """`column` of pairs in single precision; says which one's weight or pull is not a finite number there."""
    with np.errstate(over="ignore"):
        single = column.astype(np.float32)
    if not np.isfinite(single).all():
        at = int(np.argmin(np.isfinite(single)))
        raise TrainingError(
            f"user {users[places[at]]} and item {items[at]} have weights, or weights times targets, that add up to {column[at]:g}: not a "
            "finite number of single precision; leave events without a finite value out before they are learnt from, or weigh all less"
        )
    return single


def build_block(
    user_idx: np.ndarray,
    item_idx: np.ndarray,
    weights: np.ndarray,
    targets: np.ndarray | None,
    n_items: int,
    *,
    extra: float = 0.0,
) -> Block:
    """The block of these events; those of one pair are added up.

    Args:
        targets: what each event's score is drawn to, [n]; None for 1.
        extra: added to each observed pair's pull, where its weight comes on top of an unobserved pair's (Hu et al.).

    Raises:
        TrainingError: a pair's weight or pull that is not a finite number of single precision.
    """
    pulls = weights if targets is None else weights * targets
    if not len(user_idx):
        nothing = Events(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.float32))
        return Block(np.empty(0, np.int64), nothing, nothing._replace(offsets=np.zeros(n_items + 1, np.int64)), 0.0)
    users, places = _places(user_idx)
    _, by_item = _sorted_by(item_idx, n_items)
    _, by_place = _sorted_by(places[by_item], len(users))
    places, items, pair_weights, pair_pulls = _merged(by_item[by_place], places, item_idx, weights, pulls)
    pair_pulls += extra
    constant = float(pair_pulls.sum()) if targets is None else float((weights * targets * targets).sum())
    same = targets is None and not extra
    weight = _single(users, places, items, pair_weights)
    pull = weight if same else _single(users, places, items, pair_pulls)
    offsets = np.concatenate(([0], np.cumsum(np.bincount(places, minlength=len(users)))))
    by_user = Events(offsets, items, weight, pull)
    offsets, order = _sorted_by(items, n_items)
    turned = weight[order]
    return Block(users, by_user, Events(offsets, places[order], turned, turned if same else pull[order]), constant)
