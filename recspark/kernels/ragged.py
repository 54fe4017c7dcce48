"""Lists of different lengths, as one flat array and where each list begins in it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

Ragged = tuple[np.ndarray, np.ndarray]  # offsets [n + 1] int64, values


def as_ragged(column: pa.ListArray) -> Ragged:
    """An Arrow column of lists without nulls as (offsets [n + 1], values): list i is values[offsets[i]:offsets[i + 1]]."""
    offsets = column.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    return offsets, column.values.to_numpy(zero_copy_only=False)


def allow_lists(column: pa.ListArray) -> tuple[Ragged, np.ndarray]:
    """A column of lists of which some are null: the lists, and [n] bool, which of them are there."""
    return as_ragged(column), column.is_valid().to_numpy(zero_copy_only=False)
