"""Sizes of a next-item model, and what is known of the items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class SequenceDimensions:
    """What a next-item model takes from the tables that it is fitted on; 0 where a table has none of it.

    n_items: the catalogue at the time of training. length: the most events of a row. n_item_codes and n_user_codes: one more
    than the largest category code. n_item_vector: the size of the items' given vectors (text, images).
    """

    n_items: int
    length: int
    n_event_types: int = 0
    has_times: bool = False
    n_item_codes: int = 0
    n_item_numbers: int = 0
    n_item_vector: int = 0
    n_user_codes: int = 0
    n_user_numbers: int = 0


@dataclass(frozen=True)
class ItemContent:
    """What is known of all items, by item index: categories n x C int64 (0 padding), numbers n x N, vectors n x V float32.

    It may hold more items than a model was trained with: those that came later.
    """

    categories: Tensor
    numbers: Tensor
    vectors: Tensor

    @property
    def n_items(self) -> int:
        return len(self.categories)


def item_content(
    n_items: int, categories: np.ndarray | None = None, numbers: np.ndarray | None = None, vectors: np.ndarray | None = None
) -> ItemContent:
    """The content of n items, of whichever parts exist."""
    none = np.zeros((n_items, 0))
    parts = [none if part is None else part for part in (categories, numbers, vectors)]
    dtypes = (np.int64, np.float32, np.float32)
    return ItemContent(*(torch.from_numpy(part.astype(dtype)) for part, dtype in zip(parts, dtypes, strict=True)))
