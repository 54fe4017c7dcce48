"""Items that a row does not hold, to be told from its targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recspark.columns import PAD_ITEM
from recspark.errors import TrainingError
from recspark.ranking.draws import uniform_draws

# Draws that hit an item of the row are drawn again so often; what then still does moves on to the next free item.
ATTEMPTS = 16
# The first `purpose` of these draws; each attempt has its own.
_PURPOSE = 1000


@dataclass(frozen=True)
class NegativeSampler:
    """Draws `n_negatives` items a row, by `shares` (n, what each item is drawn with), never one that the row holds.

    They follow from (seed, epoch, row) alone: the same on any number of processes.
    """

    shares: np.ndarray
    n_negatives: int
    seed: int

    def add(self, columns: Mapping[str, np.ndarray], epoch: int) -> dict[str, np.ndarray]:
        """Add `negatives` and `negative_log_odds`: B x K, the logarithm of how often each is drawn for its row on average.

        A row holds its `seen_items` where that column exists, and its items and targets always.

        Raises:
            TrainingError: a row holds every item.
        """
        rows, n_items = columns["sequence_idx"], len(self.shares)
        held = np.concatenate([columns[name] for name in ("items", "targets", "seen_items") if name in columns], axis=1)
        held = np.where(held < n_items, held, PAD_ITEM).astype(np.int64)
        base = np.arange(len(rows), dtype=np.int64)[:, None] * n_items
        keys = np.unique((base + held)[held >= 0])
        row_of, item_of = np.divmod(keys, n_items)
        n_held = np.bincount(row_of, minlength=len(rows))
        if len(rows) and n_held.max() >= n_items:
            raise TrainingError(
                f"sequence_idx {rows[n_held.argmax()]} holds all {n_items} items, so it has no negatives; "
                "take the loss softmax, or leave the row out"
            )
        negatives = self._drawn(rows, epoch, 0)
        is_held = _contains(keys, base + negatives)
        for attempt in range(1, ATTEMPTS):
            if not is_held.any():
                break
            negatives = np.where(is_held, self._drawn(rows, epoch, attempt), negatives)
            is_held = _contains(keys, base + negatives)
        while is_held.any():
            negatives = np.where(is_held, (negatives + 1) % n_items, negatives)
            is_held = _contains(keys, base + negatives)
        free = 1 - np.bincount(row_of, self.shares[item_of], minlength=len(rows))
        odds = self.n_negatives * self.shares[negatives] / np.maximum(free, 1e-12)[:, None]
        return {**columns, "negatives": negatives, "negative_log_odds": np.log(odds).astype(np.float32)}

    def _drawn(self, rows: np.ndarray, epoch: int, attempt: int) -> np.ndarray:
        draws = uniform_draws(rows, self.n_negatives, seed=self.seed, epoch=epoch, purpose=_PURPOSE + attempt)
        return np.minimum(np.searchsorted(self._cumulative, draws, side="right"), len(self.shares) - 1)

    @cached_property
    def _cumulative(self) -> np.ndarray:
        cumulative = np.cumsum(self.shares)
        return cumulative / cumulative[-1]


def _contains(ascending: np.ndarray, values: np.ndarray) -> np.ndarray:
    if not len(ascending):
        return np.zeros(values.shape, bool)
    place = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return ascending[place] == values


def popularity_shares(counts: np.ndarray, alpha: float) -> np.ndarray:
    """n float64 that sum to 1: (1 + count)^alpha, so that an item without events can be drawn too; alpha 0 is uniform."""
    powers = (1.0 + counts) ** alpha
    return powers / powers.sum()
