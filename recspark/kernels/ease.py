"""EASE's weights: co-occurrence counts, one dense inverse in place, the strongest weights on each item.

Steck, Embarrassingly shallow autoencoders for sparse data, WWW 2019: with P = (X^T X + reg * I)^-1, the weight of item i in
the score of item j is B(i, j) = -P(i, j) / P(j, j), and 0 on the diagonal. X is binary, so X^T X counts shared users and is exact.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numba import njit
from scipy.linalg import get_lapack_funcs

from recspark.kernels.frozen import frozen
from recspark.kernels.heaps import enters, push, sort_heap
from recspark.kernels.lists import NeighbourRows

# Rows whose weights are gathered at once: the inverse is read along both of its triangles, in runs of so many.
_ROWS_AT_ONCE = 256


@njit(cache=True)
def _count_pairs(offsets, items, block, n_blocks, counts):  # type: ignore[no-untyped-def]
    for row in range(offsets.size - 1):
        end = offsets[row + 1]
        for entry in range(offsets[row], end):
            if items[entry] % n_blocks == block:
                line = counts[items[entry] // n_blocks]
                for other in range(entry, end):
                    line[items[other]] += 1


def count_pairs(offsets: np.ndarray, items: np.ndarray, block: int, n_blocks: int, counts: np.ndarray) -> None:
    """Add the pairs (i, j >= i) of each history, i in `block` (i modulo n_blocks), to counts[i // n_blocks, j] (int32).

    Histories are compressed rows of ascending, distinct items.
    """
    _count_pairs(frozen(offsets, np.int64), frozen(items, np.int32), block, n_blocks, counts)


def invert_upper(matrix: np.ndarray, reg: float) -> None:
    """matrix + reg * I -> its inverse, on and above the diagonal, in place; what stands below the diagonal stays.

    n^3 multiplications by LAPACK's potrf and potri, no copy of the n x n `matrix` (float32 or float64, rows contiguous).

    Raises:
        ValueError: not positive definite to the type's precision.
    """
    if not len(matrix):
        return
    matrix[np.diag_indices(len(matrix))] += reg
    factorise, invert = get_lapack_funcs(("potrf", "potri"), (matrix,))
    # LAPACK reads columns: the upper triangle of rows is its lower one.
    factor, problem = factorise(matrix.T, lower=1, clean=0, overwrite_a=1)
    if problem == 0:
        _, problem = invert(factor, lower=1, overwrite_c=1)
    if problem:
        raise ValueError(f"counts + {reg:g} on the diagonal are not positive definite in {matrix.dtype}: raise reg, or use float64")


@njit(cache=True)
def _gather(matrix, first, last):  # type: ignore[no-untyped-def]
    """Rows first to last of the inverse and of the counts, both whole."""
    inverse, counts = matrix[first:last].copy(), matrix[first:last].copy()
    for other in range(matrix.shape[0]):
        for row in range(first, min(last, other)):
            counts[row - first, other] = matrix[other, row]
        for row in range(max(first, other + 1), last):
            inverse[row - first, other] = matrix[other, row]
    return inverse, counts


@njit(cache=True)
def _find_least(inverse, diagonal, first, n, least, least_rows):  # type: ignore[no-untyped-def]
    """For each column of B (a row of the symmetric inverse) its n-th strongest weight and where it stands."""
    strengths, rows = np.empty(n, np.float32), np.empty(n, np.int32)
    for line in range(inverse.shape[0]):
        column, size = first + line, 0
        for row in range(inverse.shape[1]):
            strength = np.float32(abs(inverse[line, row] / diagonal[column]))
            if row != column and enters(rows, strengths, size, strength, row):
                size = push(rows, strengths, size, strength, row)
        if size == n:
            least[column], least_rows[column] = strengths[0], rows[0]


@njit(cache=True)
def _select(inverse, diagonal, first, least, least_rows):  # type: ignore[no-untyped-def]
    """For each row the columns among whose strongest weights it is, by (weight descending, column)."""
    n_rows, n_items = inverse.shape
    columns, weights, sizes = np.empty((n_rows, n_items), np.int32), np.empty((n_rows, n_items), np.float32), np.zeros(n_rows, np.int64)
    for line in range(n_rows):
        row, size = first + line, 0
        for column in range(n_items):
            strength = np.float32(abs(inverse[line, column] / diagonal[column]))
            kept = strength > least[column] or (strength == least[column] and row <= least_rows[column])
            if kept and column != row and strength > 0:
                weight = np.float32(-inverse[line, column] / diagonal[column])
                size = push(columns[line], weights[line], size, weight, column)
        sort_heap(columns[line], weights[line], size)
        sizes[line] = size
    return columns, weights, sizes


def top_weights(matrix: np.ndarray, ids: np.ndarray, n: int | None) -> Iterator[NeighbourRows]:
    """The weights B(i, j) that are not 0 and, in absolute value, among the n largest on item j (all: None).

    By (i, weight descending, j). `matrix` holds P on and above the diagonal, as `invert_upper` leaves it, and the counts below
    it; `ids` are ascending item indexes. What an item is scored by is cut at one length, however many lists that leaves it in.
    """
    n_items = len(matrix)
    diagonal = matrix.diagonal().copy()
    least, least_rows = np.zeros(n_items, np.float32), np.full(n_items, n_items, np.int32)
    tiles = [(first, min(first + _ROWS_AT_ONCE, n_items)) for first in range(0, n_items, _ROWS_AT_ONCE)]
    for first, last in tiles if n is not None and n < n_items else ():
        _find_least(_gather(matrix, first, last)[0], diagonal, first, n, least, least_rows)
    for first, last in tiles:
        inverse, counts = _gather(matrix, first, last)
        columns, weights, sizes = _select(inverse, diagonal, first, least, least_rows)
        filled = np.arange(n_items) < sizes[:, None]
        row, position = np.nonzero(filled)
        chosen = columns[filled]
        supports = counts[row, chosen].astype(np.int32)
        yield NeighbourRows(
            ids[first + row].astype(np.int64), ids[chosen].astype(np.int64), weights[filled], supports, position.astype(np.int32)
        )
