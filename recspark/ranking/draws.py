"""Random numbers that belong to a row, not to a process: the same whoever draws them, in whatever order."""

from __future__ import annotations

import numpy as np

# What draws of a sequence are for; see `uniform_draws`.
WINDOW, CROP, MASK, REORDER, SHUFFLE, CHOICE, LAST, HELD_OUT = range(8)


def uniform(*keys: np.ndarray | int) -> np.ndarray:
    """float64 in [0, 1), one for each combination of the keys (broadcast), without a state: SplitMix64 (Steele et al. 2014) over them.

    Different keys have draws that know nothing of each other.
    """
    mixed = np.zeros(1, np.uint64)
    for key in keys:
        mixed = mixed + np.asarray(key).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(11)) * 2.0**-53


def uniform_draws(rows: np.ndarray, n: int, *, seed: int, epoch: int, purpose: int) -> np.ndarray:
    """B x n float64 in [0, 1) for what identifies each row (B), by (seed, epoch, purpose, row) alone."""
    return uniform(seed, epoch, purpose, rows[:, None], np.arange(n))
