"""What an item's histories add to its sums with all others: the innermost loop of co-occurrence."""

from __future__ import annotations

import numpy as np
from numba import njit

from recspark.kernels.prefetch import prefetch

# What is added up of a pair (i, j):
# COUNT: the histories that hold both; DOT: and their sum of a(u, i) a(u, j); MOMENTS: and of a(u, i)^2 and a(u, j)^2;
# STEPS: how often j comes after i, and i after j.
COUNT, DOT, MOMENTS, STEPS = range(4)
# Rows lie anywhere in memory: the first entries of a later row are asked for while one is added up, 16 of them a cache line.
_ROWS_AHEAD, _ENTRIES_AHEAD, _A_LINE = 4, 128, 16


@njit(cache=True)
def add_up(mode, max_gap, rank, triangle, histories, sums):  # type: ignore[no-untyped-def]
    """Add the rows that hold `rank` into the dense `sums` [width x N]; how many entries that were."""
    row_offsets, ranks, values, holders, rows, places = histories
    supports, dots = sums[0], sums[-1 if mode != MOMENTS else 1]
    n_added, last = 0, holders[rank + 1]
    for holder in range(holders[rank], last):
        if holder + _ROWS_AHEAD < last:
            soon = holder + _ROWS_AHEAD
            ahead = row_offsets[rows[soon]]
            end = min(places[soon], ahead + np.uint64(_ENTRIES_AHEAD))
            while ahead < end:
                prefetch(ranks, ahead)
                if values.size:
                    prefetch(values, ahead)
                ahead += np.uint64(_A_LINE)
        place = places[holder]
        start = row_offsets[rows[holder]]
        end = place if triangle else row_offsets[rows[holder] + np.uint32(1)]
        n_added += end - start
        if mode == COUNT:
            for entry in range(start, end):
                supports[ranks[entry]] += 1
        elif mode == DOT:
            weight = np.float64(values[place])
            for entry in range(start, end):
                supports[ranks[entry]] += 1
                dots[ranks[entry]] += weight * values[entry]
        elif mode == MOMENTS:
            weight = np.float64(values[place])
            for entry in range(start, end):
                other, value = ranks[entry], np.float64(values[entry])
                supports[other] += 1
                dots[other] += weight * value
                sums[2, other] += weight * weight
                sums[3, other] += value * value
        else:
            for entry in range(start, end):
                gap = values[entry] - values[place]
                supports[ranks[entry]] += 0 < gap <= max_gap
                dots[ranks[entry]] += 0 < -gap <= max_gap
    return n_added
