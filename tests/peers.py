"""Tasks that pass arrays to each other, as threads of one process: what a barrier stage does, without Spark."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from recspark.handover.peers import Peers, meet

Found = TypeVar("Found")


class _Board:
    """Gives every thread's word to all of them, once all have spoken."""

    def __init__(self, n: int) -> None:
        self._words, self._barrier = [""] * n, threading.Barrier(n)

    def tell(self, rank: int) -> Callable[[str], Sequence[str]]:
        def tell_all(word: str) -> Sequence[str]:
            self._words[rank] = word
            self._barrier.wait()
            words = list(self._words)
            self._barrier.wait()
            return words

        return tell_all


def as_peers(n: int, work: Callable[[Peers], Found]) -> list[Found]:
    """What `work` returns at each of n connected peers, by rank."""
    board = _Board(n)

    def run(rank: int) -> Found:
        with meet(rank, "127.0.0.1", board.tell(rank)) as peers:
            return work(peers)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(run, range(n)))
