"""States of an unfinished fit, from which it goes on: each task keeps its own users and items in the fit's folder."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from recspark.candidates.als_blocks import State
from recspark.candidates.als_validation import Validation
from recspark.handover.files import is_there, read_whole, remove, write_whole
from recspark.handover.peers import Peers


@dataclass(frozen=True)
class States:
    """One task's states: those after each `interval` iterations, of which the last two stay; another number of tasks begins anew."""

    folder: str
    interval: int
    peers: Peers
    bounds: np.ndarray  # of the tasks' items

    @property
    def _own(self) -> slice:
        return slice(self.bounds[self.peers.rank], self.bounds[self.peers.rank + 1])

    def _place(self, iteration: int) -> str:
        return f"{self.folder}/of-{self.peers.n}/{iteration}/{self.peers.rank}.npz"

    def save(self, state: State, validation: Validation | None) -> None:
        """Keep `state`, where it is its turn. The one before stays until all tasks have saved this one."""
        n = len(state.losses)
        if n % self.interval:
            return
        arrays: dict[str, Any] = {"users": state.users, "items": state.items[self._own], "losses": state.losses, "seconds": state.seconds}
        if validation is not None and validation.best is not None:
            users, items = validation.best
            arrays |= {"figures": validation.figures, "best_users": users, "best_items": items}
        file = io.BytesIO()
        np.savez(file, **arrays)
        write_whole(self._place(n), file.getvalue())
        remove(self._place(n - 2 * self.interval))

    def resume(self, state: State, validation: Validation | None, max_iter: int) -> None:
        """Make `state` the latest that all tasks have saved, if there is one."""
        flags = np.array([n % self.interval == 0 and is_there(self._place(n)) for n in range(max_iter + 1)])
        common = np.flatnonzero(self.peers.gather(flags).all(axis=0))
        if not common.size:
            return
        with np.load(io.BytesIO(read_whole(self._place(int(common[-1]))) or b"")) as kept:
            state.users[:], state.items[self._own] = kept["users"], kept["items"]
            state.losses, state.seconds = kept["losses"].tolist(), kept["seconds"].tolist()
            if validation is not None and "figures" in kept:
                validation.figures = kept["figures"].tolist()
                validation.best = (kept["best_users"], kept["best_items"])
        self.peers.share_blocks(state.items, self.bounds)
