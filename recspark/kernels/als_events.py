"""A block of users' observed pairs, by user and by item, out of events in any order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.als import Events


class Block(NamedTuple):
    """A task's users, by their place in it, and their events in both orders."""

    user_idx: np.ndarray  # int64 [n_users]: by descending activity, so that busy rows lie together in memory
    by_user: Events
    by_item: Events  # of all items; `others` are places
    constant: float  # the loss of the observed pairs where all factors are 0


@njit(cache=True)
def _places(user_idx, divisor):  # type: ignore[no-untyped-def]
    """Users by descending number of events, then index; and each event's place among them."""
    counts = np.zeros(user_idx.max() // divisor + 1, np.int64)
    remainder = user_idx[0] % divisor
    for user in user_idx:
        counts[user // divisor] += 1
    present = np.flatnonzero(counts)
    order = present[np.argsort(-counts[present], kind="mergesort")]
    place_of = np.empty(counts.size, np.int32)
    for place in range(order.size):
        place_of[order[place]] = place
    places = np.empty(user_idx.size, np.int32)
    for event in range(user_idx.size):
        places[event] = place_of[user_idx[event] // divisor]
    return order * divisor + remainder, places


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


def build_block(
    user_idx: np.ndarray,
    item_idx: np.ndarray,
    weights: np.ndarray,
    targets: np.ndarray | None,
    n_items: int,
    *,
    n_blocks: int = 1,
    extra: float = 0.0,
) -> Block:
    """The block of these events, whose users are equal modulo n_blocks; events of one pair are added up.

    Args:
        targets: what each event's score is drawn to, [n]; None for 1.
        extra: added to each observed pair's pull, where its weight comes on top of an unobserved pair's (Hu et al.).

    Raises:
        ValueError: a weight or target that is not a finite number.
    """
    pulls = weights if targets is None else weights * targets
    if not np.isfinite(pulls).all():
        raise ValueError("an event's weight or target is not a finite number: leave such events out before they are learnt from")
    if not len(user_idx):
        nothing = Events(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.float32))
        return Block(np.empty(0, np.int64), nothing, nothing._replace(offsets=np.zeros(n_items + 1, np.int64)), 0.0)
    users, places = _places(user_idx, n_blocks)
    _, by_item = _sorted_by(item_idx, n_items)
    _, by_place = _sorted_by(places[by_item], len(users))
    places, items, pair_weights, pair_pulls = _merged(by_item[by_place], places, item_idx, weights, pulls)
    pair_pulls += extra
    constant = float(pair_pulls.sum()) if targets is None else float((weights * targets * targets).sum())
    weight, pull = pair_weights.astype(np.float32), pair_pulls.astype(np.float32)
    same = targets is None and not extra
    offsets = np.concatenate(([0], np.cumsum(np.bincount(places, minlength=len(users)))))
    by_user = Events(offsets, items, weight, weight if same else pull)
    offsets, order = _sorted_by(items, n_items)
    turned = weight[order]
    return Block(users, by_user, Events(offsets, places[order], turned, turned if same else pull[order]), constant)
