"""Petastorm as it is on a bad day: a reader that loses a row group, or hands one out twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import petastorm

from recspark.ranking.train import train_ranker

_make_batch_reader = petastorm.make_batch_reader


class FaultyReader:
    """A real reader whose row groups pass through `spoil`."""

    def __init__(self, spoil: Callable[[Iterator[Any]], Iterator[Any]], *arguments: Any, **options: Any) -> None:
        self._real = _make_batch_reader(*arguments, **options)
        self._groups = spoil(self._real)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._groups)

    def stop(self) -> None:
        self._real.stop()

    def join(self) -> None:
        self._real.join()


def lose_first(groups: Iterator[Any]) -> Iterator[Any]:
    next(groups)
    yield from groups


def repeat_first(groups: Iterator[Any]) -> Iterator[Any]:
    first = next(groups)
    yield first
    yield first
    yield from groups


def train_with_a_reader_that_loses(**arguments: Any) -> dict[str, Any] | None:
    """For training processes: what they import, they read with."""
    petastorm.make_batch_reader = lambda *a, **o: FaultyReader(lose_first, *a, **o)
    return train_ranker(**arguments)
