"""When to stop: how well events that were held out are predicted after each iteration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recspark.candidates.als_blocks import Recipe, State
from recspark.handover.peers import Peers
from recspark.kernels.als_events import Block

# A held-out event is found when it is among so many items that its user has not been learnt from.
FOUND_AMONG = 20
# Of each block so many users are looked at, the first by index.
_USERS = 1000
_USERS_AT_ONCE = 64


class Held(NamedTuple):
    """Held-out events of a block: the user's place in it, the item, and the target of a rating."""

    places: np.ndarray
    items: np.ndarray
    targets: np.ndarray


def held_events(block: Block, user_idx: np.ndarray, item_idx: np.ndarray, targets: np.ndarray | None) -> Held:
    """Those of users and items that the block learns from, of at most _USERS users where there are no ratings."""
    order = np.argsort(block.user_idx)
    found = np.minimum(np.searchsorted(block.user_idx, user_idx, sorter=order), max(len(order) - 1, 0))
    places = order[found] if len(order) else np.zeros(len(user_idx), np.int64)
    known = block.user_idx[places] == user_idx if len(order) else np.zeros(len(user_idx), np.bool_)
    if targets is None:
        known &= np.isin(user_idx, np.unique(user_idx[known])[:_USERS])
    return Held(places[known], item_idx[known], np.ones(int(known.sum())) if targets is None else targets[known])


class Validation:
    """Measures a state after each iteration, and remembers the best: `figures` are errors, less is better.

    Ratings: the root mean square error. Use: the share of held-out events that are not FOUND_AMONG the best items for their user.
    """

    def __init__(self, held: Held, block: Block, recipe: Recipe, peers: Peers, *, ratings: bool, patience: int) -> None:
        self._held, self._block, self._recipe, self._peers = held, block, recipe, peers
        self._ratings, self._patience = ratings, patience
        self.figures: list[float] = []
        self.best: tuple[np.ndarray, np.ndarray] | None = None

    def is_over(self, state: State) -> bool:
        """Measure `state`; whether `patience` iterations have passed since the best."""
        wrong = self._squares(state) if self._ratings else self._missed(state)
        total, n = self._peers.sum_all(np.array([wrong, len(self._held.items)], np.float64))
        figure = float(total / n) if n else 0.0
        self.figures.append(figure**0.5 if self._ratings else figure)
        if self.figures[-1] <= min(self.figures):
            self.best = (state.users.copy(), state.items.copy())
        return int(np.argmin(self.figures[::-1])) >= self._patience

    def restore(self, state: State) -> None:
        """Put the best factors back."""
        if self.best is not None:
            state.users, state.items = self.best

    def _squares(self, state: State) -> float:
        places, items, targets = self._held
        x, y = state.users[places].astype(np.float64), state.items[items].astype(np.float64)
        rank = self._recipe.rank
        scores = (x[:, :rank] * y[:, :rank]).sum(axis=1) + x[:, rank:].sum(axis=1) + y[:, rank:].sum(axis=1)
        return float(((targets - scores) ** 2).sum())

    def _missed(self, state: State) -> float:
        offsets, learnt = self._block.by_user.offsets, self._block.by_user.others
        users = np.unique(self._held.places)
        missed = 0
        for first in range(0, len(users), _USERS_AT_ONCE):
            some = users[first : first + _USERS_AT_ONCE]
            scores = state.users[some] @ state.items.T
            for row, place in enumerate(some):
                items = self._held.items[self._held.places == place]
                own = scores[row, items]
                scores[row, learnt[offsets[place] : offsets[place + 1]]] = -np.inf
                missed += int(((scores[row][None, :] > own[:, None]).sum(axis=1) >= FOUND_AMONG).sum())
        return float(missed)
