"""Petastorm as it is on a bad day: a worker that loses a row group, gives one for another, or mixes them up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from petastorm.arrow_reader_worker import ArrowReaderWorker

from recspark.ranking.train import train_ranker

_process = ArrowReaderWorker.process
# Asked for row group i of n: the numbers of those that are handed out.
Spoil = Callable[[int, int], Sequence[int]]


def spoiled(spoil: Spoil) -> Callable[..., None]:
    """What stands in for the worker's `process`: the real one, with the row groups that `spoil` says."""

    def process(self: ArrowReaderWorker, piece_index: int, *arguments: Any) -> None:
        for piece in spoil(piece_index, len(self._split_pieces)):
            _process(self, piece, *arguments)

    return process


def lose_first(piece: int, n: int) -> list[int]:
    return [piece] if piece else []


def repeat_first(piece: int, n: int) -> list[int]:
    """Instead of the second."""
    return [0 if piece == 1 else piece]


def last_first(piece: int, n: int) -> list[int]:
    return [n - 1 - piece]


def train_with_a_reader_that_loses(**arguments: Any) -> dict[str, Any] | None:
    """For training processes: what they import, they read with."""
    ArrowReaderWorker.process = spoiled(lose_first)
    return train_ranker(**arguments)
