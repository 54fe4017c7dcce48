"""When to stop: how well events that were held out are predicted after each iteration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recspark.candidates.als_blocks import Recipe, State
from recspark.handover.peers import Peers, blocks_of
from recspark.kernels.als_events import Block

# A held-out event is found when it is among so many items that its user has not been learnt from.
FOUND_AMONG = 20
# About so many users are looked at, of all tasks together: a standard error of a percent or less.
_USERS = 4000
_USERS_AT_ONCE = 16
_EVENTS_AT_ONCE = 1 << 14


def _chance(x: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1) that look random, the same for the same x (uint64): splitmix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: np.ndarray = (x >> np.uint64(11)) * 2.0**-53
    return found


def _spaced(user_idx: np.ndarray) -> np.ndarray:
    return user_idx.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def is_held(user_idx: np.ndarray, item_idx: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Whether each event is held out: by a hash of user, item and seed, the same in whichever task."""
    return _chance(_spaced(user_idx) + (item_idx.astype(np.uint64) << np.uint64(1)) + np.uint64(seed)) < share


class Held(NamedTuple):
    """Held-out events of a block, by the user's place: that place, the item, and the target of a rating."""

    places: np.ndarray  # ascending
    items: np.ndarray
    targets: np.ndarray


def held_events(block: Block, user_idx: np.ndarray, item_idx: np.ndarray, targets: np.ndarray | None, peers: Peers, seed: int) -> Held:
    """Those of users that the block learns from, whatever the item; where there are no ratings, of a sample of _USERS users.

    The sample is drawn by a hash of the user: any number of tasks looks at the same users. Every task calls it.
    """
    order = np.argsort(block.user_idx)
    found = np.searchsorted(block.user_idx, user_idx, sorter=order)
    within = found < len(order)
    places = np.zeros(len(user_idx), np.int64)
    places[within] = order[found[within]]
    known = within
    known[within] = block.user_idx[places[within]] == user_idx[within]
    if targets is None:
        n_users = int(peers.sum_all(np.array([len(np.unique(user_idx[known]))]))[0])
        # Another hash than that of held-out events.
        known &= _chance(_spaced(user_idx) + ~np.uint64(seed)) * n_users < _USERS
        targets = np.ones(len(user_idx))
    kept = np.flatnonzero(known)
    kept = kept[np.argsort(places[kept], kind="stable")]
    return Held(places[kept], item_idx[kept], targets[kept])


def n_missed(scores: np.ndarray, own: np.ndarray) -> int:
    """How many of the `own` scores are not among the FOUND_AMONG best of `scores` [m], which they are part of.

    Of equal scores half stand before any one: factors that tell nothing apart find nothing.
    """
    if len(scores) <= FOUND_AMONG:
        return 0
    last = np.partition(scores, -FOUND_AMONG)[-FOUND_AMONG]
    before = np.count_nonzero(scores > last) + (np.count_nonzero(scores == last) - 1) / 2
    return int(np.count_nonzero(own < last if before < FOUND_AMONG else own <= last))


class Validation:
    """Measures a state after each iteration, and remembers the best: `figures` are errors, less is better.

    Ratings: the root mean square error. Use: the share of held-out events that are not FOUND_AMONG the best items for their user.
    """

    def __init__(self, held: Held, block: Block, recipe: Recipe, peers: Peers, *, ratings: bool, patience: int) -> None:
        self._held, self._block, self._recipe, self._peers = held, block, recipe, peers
        self._ratings, self._patience = ratings, patience
        self.figures: list[float] = []
        self.best: tuple[np.ndarray, np.ndarray] | None = None  # of the task's users, and of its own items

    def measure(self, state: State) -> None:
        """Add the figure of `state`."""
        wrong = self._squares(state) if self._ratings else self._missed(state)
        total, n = self._peers.sum_all(np.array([wrong, len(self._held.items)], np.float64))
        figure = float(total / n) if n else 0.0
        self.figures.append(figure**0.5 if self._ratings else figure)
        if self.figures[-1] <= min(self.figures):
            self.best = (state.users.copy(), state.items[self._own(state)].copy())

    def is_over(self) -> bool:
        """Whether `patience` iterations have passed since the best."""
        return bool(self.figures) and int(np.argmin(self.figures[::-1])) >= self._patience

    def restore(self, state: State) -> None:
        """Put the best factors back: of the task's users, and of its own items."""
        if self.best is not None:
            state.users, state.items[self._own(state)] = self.best

    def _own(self, state: State) -> slice:
        bounds = blocks_of(len(state.items), self._peers.n)
        return slice(bounds[self._peers.rank], bounds[self._peers.rank + 1])

    def _squares(self, state: State) -> float:
        rank, total = self._recipe.rank, 0.0
        for first in range(0, len(self._held.items), _EVENTS_AT_ONCE):
            places, items, targets = (column[first : first + _EVENTS_AT_ONCE] for column in self._held)
            x, y = state.users[places].astype(np.float64), state.items[items].astype(np.float64)
            scores = np.einsum("ek,ek->e", x[:, :rank], y[:, :rank]) + x[:, rank:].sum(axis=1) + y[:, rank:].sum(axis=1)
            total += float(((targets - scores) ** 2).sum())
        return total

    def _missed(self, state: State) -> float:
        offsets, learnt = self._block.by_user.offsets, self._block.by_user.others
        users, starts = np.unique(self._held.places, return_index=True)
        ends = np.append(starts[1:], len(self._held.places))
        missed = 0
        for first in range(0, len(users), _USERS_AT_ONCE):
            some = users[first : first + _USERS_AT_ONCE]
            scores = state.users[some] @ state.items.T
            for at, (place, row) in enumerate(zip(some, scores, strict=True), start=first):
                own = row[self._held.items[starts[at] : ends[at]]]
                row[learnt[offsets[place] : offsets[place + 1]]] = -np.inf
                missed += n_missed(row, own)
        return float(missed)
