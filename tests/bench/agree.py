"""Do both sides say the same? Each check compares arrays, and can fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from tests.bench.rows import Check

# Pairs whose predictions are made at once.
AT_ONCE = 1 << 20


class Lists(NamedTuple):
    """One list a row: ids and scores [n x k], best first; -1 where a list is shorter."""

    ids: np.ndarray
    scores: np.ndarray


def implicit_loss(
    users: np.ndarray, items: np.ndarray, user_vectors: np.ndarray, item_vectors: np.ndarray, *, alpha: float, reg: float
) -> float:
    """The objective of implicit ALS (Hu, Koren and Volinsky, ICDM 2008), every given pair of strength 1:

    sum over all (p - x.y)^2 c + reg (|X|^2 + |Y|^2), with p = 1 and c = 1 + alpha for a given pair, else p = 0 and c = 1.
    """
    loss = float(np.sum((user_vectors.T @ user_vectors) * (item_vectors.T @ item_vectors), dtype=np.float64))
    for first in range(0, len(users), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        said = np.einsum("nf,nf->n", user_vectors[users[part]], item_vectors[items[part]]).astype(np.float64)
        loss += float(((1 + alpha) * (1 - said) ** 2 - said**2).sum())
    squares = sum(float(np.square(vectors, dtype=np.float64).sum()) for vectors in (user_vectors, item_vectors))
    return loss + reg * squares


def losses_agree(ours: float, peer: float, *, tolerance: float = 0.01) -> Check:
    """Ours is at most `tolerance` above the peer's; a lower loss is no fault, but one so low that it solves something else is."""
    share = ours / peer - 1
    return Check(-10 * tolerance <= share <= tolerance, f"loss {ours:.6g} against {peer:.6g} ({share:+.3%})")


def neighbours_agree(
    found: Lists, supports: np.ndarray | None, rows: Sequence[int], matrix: csr_matrix, *, min_support: int, tolerance: float = 1e-4
) -> Check:
    """Are `found` the neighbours of the items `rows` (columns of the 0/1 `matrix`) by exact cosine, pairs below `min_support` left out?

    Compared with the whole sparse product: each score and support, that no better pair is missing, that no pair stands twice.
    """
    counts = np.asarray(matrix.sum(axis=0)).ravel()
    wrong: list[str] = []
    together = (matrix[:, rows].T @ matrix).toarray()
    for place, row in enumerate(rows):
        support = together[place]
        exact = support / np.sqrt(np.maximum(counts[row] * counts, 1))
        exact[(support < max(min_support, 1)) | (np.arange(len(exact)) == row)] = -1.0
        taken = found.ids[place] >= 0
        ids, scores = found.ids[place][taken], found.scores[place][taken]
        n_wanted = min(len(found.ids[place]), int((exact > 0).sum()))
        best = np.sort(exact)[::-1][:n_wanted]
        if len(ids) != n_wanted or len(np.unique(ids)) != n_wanted:
            wrong.append(f"item {row} has {len(np.unique(ids))} neighbours, not {n_wanted}")
        elif n_wanted and not np.allclose(scores, exact[ids], atol=tolerance):
            wrong.append(f"item {row}: a score is {np.abs(scores - exact[ids]).max():.2g} off")
        elif n_wanted and not np.allclose(np.sort(scores)[::-1], best, atol=tolerance):
            wrong.append(f"item {row}: a better neighbour is missing")
        elif supports is not None and not np.array_equal(supports[place][taken], support[ids]):
            wrong.append(f"item {row}: a support is wrong")
    return Check(not wrong, wrong[0] if wrong else f"neighbours of {len(rows)} items exact")


def lists_agree(ours: Lists, peer: Lists, seen: Sequence[np.ndarray], *, tolerance: float = 1e-4) -> Check:
    """The same lists but for ties: scores equal place by place, items equal but for those that tie with the last; nothing seen."""
    for row, hidden in enumerate(seen):
        (own, own_scores), (other, other_scores) = (
            (lists.ids[row][lists.ids[row] >= 0], lists.scores[row][lists.ids[row] >= 0]) for lists in (ours, peer)
        )
        if len(own) != len(other) or len(np.unique(own)) != len(own):
            return Check(False, f"list {row}: {len(own)} items against {len(other)}, or one stands twice")
        if np.isin(own, hidden).any():
            return Check(False, f"list {row}: an item that was seen is proposed")
        if not len(own):
            continue
        near = tolerance * max(1.0, float(np.abs(other_scores).max()))
        if not np.allclose(own_scores, other_scores, rtol=0, atol=near):
            return Check(False, f"list {row}: scores differ by {np.abs(own_scores - other_scores).max():.2g}")
        if (own_scores[~np.isin(own, other)] > other_scores[-1] + near).any():
            return Check(False, f"list {row}: items differ that do not tie with the last")
    return Check(True, f"{len(seen)} lists equal up to ties")


def tables_agree(one: pa.Table, other: pa.Table, *, tolerance: float = 1e-3) -> Check:
    """Every row of `vectors` or `neighbours`, in any order; floats within `tolerance` of the column's largest."""
    keys = [(name, "ascending") for name in ("kind", "idx", "position") if name in one.column_names]
    if (one.num_rows, one.schema) != (other.num_rows, other.schema):
        return Check(False, f"{one.num_rows} rows of {one.column_names} against {other.num_rows} of {other.column_names}")
    one, other = one.sort_by(keys), other.sort_by(keys)
    for name in one.column_names:
        left, right = (column.combine_chunks() for column in (one.column(name), other.column(name)))
        if pa.types.is_list(left.type):
            left, right = left.flatten(), right.flatten()
        if pa.types.is_floating(left.type):
            left, right = left.to_numpy(zero_copy_only=False), right.to_numpy(zero_copy_only=False)
            near = tolerance * float(np.abs(left).max(initial=0))
            if len(left) != len(right) or not np.allclose(left, right, rtol=0, atol=near):
                return Check(False, f"{name} differs")
        elif not left.equals(right):
            return Check(False, f"{name} differs")
    return Check(True, f"{one.num_rows:,} rows equal")
