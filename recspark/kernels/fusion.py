"""One list out of several: reciprocal rank fusion."""

from __future__ import annotations

import numpy as np
from numba import njit

from recspark.columns import NOT_FOUND
from recspark.kernels.frozen import frozen
from recspark.kernels.heaps import enters, push, sort_heap


@njit(cache=True)
def _fuse(offsets, items, scores, n_sources, n, k_rrf):  # type: ignore[no-untyped-def]
    n_rows = (offsets.size - 1) // n_sources
    out_offsets = np.zeros(n_rows + 1, np.int64)
    room = min(items.size, n_rows * n)
    out_items, out_positions = np.empty(room, np.int32), np.full(room * n_sources, NOT_FOUND, np.int32)
    out_scores = np.zeros(room * n_sources, np.float32)
    heap_items, heap_fused = np.empty(n, np.int32), np.empty(n, np.float64)
    terms = np.empty(n_sources, np.int64)
    for row in range(n_rows):
        first = row * n_sources
        distinct = np.unique(items[offsets[first] : offsets[first + n_sources]])
        positions = np.full((distinct.size, n_sources), NOT_FOUND, np.int32)
        kept_scores = np.zeros((distinct.size, n_sources), np.float32)
        for source in range(n_sources):
            start = offsets[first + source]
            for position in range(offsets[first + source + 1] - start):
                place = np.searchsorted(distinct, items[start + position])
                positions[place, source], kept_scores[place, source] = position, scores[start + position]
        size = 0
        for place in range(distinct.size):
            # Added up in order of position: the same positions make the same sum, whichever sources they are from.
            n_terms = 0
            for source in range(n_sources):
                if positions[place, source] != NOT_FOUND:
                    terms[n_terms] = positions[place, source]
                    n_terms += 1
            ordered = np.sort(terms[:n_terms])
            fused = 0.0
            for position in ordered:
                fused += 1.0 / (k_rrf + position + 1)
            if enters(heap_items, heap_fused, size, fused, distinct[place]):
                size = push(heap_items, heap_fused, size, fused, distinct[place])
        sort_heap(heap_items, heap_fused, size)
        start = out_offsets[row]
        for entry in range(size):
            place = np.searchsorted(distinct, heap_items[entry])
            out_items[start + entry] = heap_items[entry]
            for source in range(n_sources):
                out_positions[(start + entry) * n_sources + source] = positions[place, source]
                out_scores[(start + entry) * n_sources + source] = kept_scores[place, source]
        out_offsets[row + 1] = start + size
    total = out_offsets[-1]
    return out_offsets, out_items[:total], out_positions[: total * n_sources], out_scores[: total * n_sources]


def fuse_lists(
    offsets: np.ndarray, items: np.ndarray, scores: np.ndarray, *, n_sources: int, n: int, k_rrf: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The n items of each row with the largest sum over sources of 1 / (k_rrf + position + 1), position counted from 0.

    Row r's list of source s is items[offsets[r * n_sources + s]:offsets[r * n_sources + s + 1]], distinct and best first. Equal
    sums stand by item ascending. (Cormack, Clarke and Buettcher, SIGIR 2009.)

    Returns:
        offsets [n_rows + 1], items, and flat [n items x n_sources] positions (-1 where not found) and scores (0 where not found).
    """
    return _fuse(frozen(offsets, np.int64), frozen(items, np.int32), frozen(scores, np.float32), n_sources, n, float(k_rrf))
