"""Random numbers that belong to a row, not to a process: the same whoever draws them, in whatever order."""

from __future__ import annotations

import numpy as np

# What draws are for; see `uniform_draws`.
WINDOW, CROP, MASK, REORDER, SHUFFLE, CHOICE, LAST, HELD_OUT = range(8)

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def _mixed(state: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64 (Steele et al. 2014): 64 bits in, 64 bits out."""
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))


def uniform_draws(rows: np.ndarray, n: int, *, seed: int, epoch: int, purpose: int) -> np.ndarray:
    """B x n float64 in [0, 1), by (seed, epoch, purpose, row) alone: `rows` is B, what identifies each row.

    Different purposes have draws that know nothing of each other.
    """
    with np.errstate(over="ignore"):
        key = np.asarray(_STEP)
        for number in (seed, epoch, purpose):
            key = _mixed(np.asarray(key + np.uint64(number) + _STEP))
        of_row = _mixed(rows.astype(np.uint64) * _STEP + key)
        bits = _mixed(of_row[:, None] + np.arange(1, n + 1, dtype=np.uint64) * _STEP)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
