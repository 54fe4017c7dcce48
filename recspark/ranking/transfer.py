"""Batches on their way to where the model is: made ahead by a thread, pinned for a GPU, and the time waited for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from recspark.handover.ahead import read_ahead

B = TypeVar("B")
# Batches that stand ready: enough to bridge a file's decoding, few enough to fit beside the model.
BATCHES_AHEAD = 4


def map_tensors(data: B, change: Callable[[Tensor], Tensor]) -> B:
    """The same dataclass with every tensor in it, at any depth, changed."""
    values = {field.name: getattr(data, field.name) for field in fields(data)}  # type: ignore[arg-type]
    changed = {
        name: change(value) if isinstance(value, Tensor) else map_tensors(value, change) if is_dataclass(value) else value
        for name, value in values.items()
    }
    return type(data)(**changed)


class Feed(Generic[B]):
    """Iterates over `batches` on `device`; `waited` are the seconds that the consumer has waited for them.

    `batches` is run by a thread of its own, so it must take chance from a generator of its own. For a GPU the thread
    pins the memory too, so that nobody waits for the copy.
    """

    def __init__(self, batches: Iterable[B], device: torch.device) -> None:
        self.device, self.waited = device, 0.0
        made = iter(batches)
        if device.type == "cuda":
            made = (map_tensors(batch, Tensor.pin_memory) for batch in made)
        self._made = read_ahead(made, BATCHES_AHEAD)

    def __iter__(self) -> Iterator[B]:
        try:
            while True:
                began = time.perf_counter()
                batch = next(self._made, None)
                self.waited += time.perf_counter() - began
                if batch is None:
                    return
                if self.device.type == "cuda":
                    batch = map_tensors(batch, lambda tensor: tensor.to(self.device, non_blocking=True))
                yield batch
        finally:
            self._made.close()
