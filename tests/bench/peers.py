"""The peer's side: `implicit` from arrays in memory, with as many threads as recspark has cores."""

from __future__ import annotations

import time
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from recspark.columns import ITEM, USER
from recspark.handover.arrays import Published
from tests.bench.agree import Lists, implicit_loss, lists_agree, neighbours_agree
from tests.bench.data import Size, read_matrix, write_factors
from tests.bench.outputs import read_lists, read_neighbours, read_vectors
from tests.bench.rows import Check


@lru_cache(maxsize=1)
def _matrix(folder: str, size: Size) -> tuple[csr_matrix, float]:
    began = time.perf_counter()
    matrix = read_matrix(folder, size)
    return matrix, time.perf_counter() - began


def load(folder: str, size: Size) -> float:
    """The matrix into memory, where it stays; returns the seconds that reading it took."""
    return _matrix(folder, size)[1]


_models: dict[str, Any] = {}


def als(
    folder: str, size: Size, *, rank: int, iterations: int, alpha: float, reg: float, seed: int, threads: int
) -> tuple[float, dict[str, Any]]:
    """Seconds of one full iteration (median); in the result `whole`, the seconds of the whole fit and of reading the matrix."""
    from implicit.cpu.als import AlternatingLeastSquares

    matrix, reading = _matrix(folder, size)
    seconds: list[float] = []
    # implicit's alpha is the whole confidence of a given pair, ours what is added to 1.
    knobs = {"factors": rank, "regularization": reg, "alpha": 1 + alpha, "random_state": seed, "num_threads": threads}
    model = AlternatingLeastSquares(iterations=iterations, use_cg=True, **knobs)
    began = time.perf_counter()
    model.fit(matrix, show_progress=False, callback=lambda _, took, __: seconds.append(took))
    whole = time.perf_counter() - began
    _models["als"] = model
    return float(np.median(seconds)), {"whole": reading + whole}


def _vectors(size: Size, written: str | None) -> tuple[np.ndarray, np.ndarray]:
    if written is None:
        return _models["als"].user_factors, _models["als"].item_factors
    return read_vectors(written, USER, size.n_users), read_vectors(written, ITEM, size.n_items)


def als_loss(folder: str, size: Size, *, alpha: float, reg: float, written: str | None = None) -> float:
    """The objective of the `vectors` that were written to a folder, or of the last fit here."""
    matrix = _matrix(folder, size)[0]
    users = np.repeat(np.arange(size.n_users), np.diff(matrix.indptr))
    return implicit_loss(users, matrix.indices, *_vectors(size, written), alpha=alpha, reg=reg)


def write_tables(folder: str, size: Size, target: str, *, written: str | None = None) -> dict[str, Published]:
    """What top-k starts from: of the `vectors` that were written to a folder, or of the last fit here."""
    return write_factors(*_vectors(size, written), _matrix(folder, size)[0], Path(target))


def topk(folder: str, size: Size, *, k: int, threads: int) -> tuple[float, dict[str, Any]]:
    """All users' k best items by the last fit, without those they have."""
    matrix, reading = _matrix(folder, size)
    model = _models["als"]
    model.num_threads = threads
    began = time.perf_counter()
    ids, scores = model.recommend(np.arange(matrix.shape[0]), matrix, N=k, filter_already_liked_items=True)
    seconds = time.perf_counter() - began
    _models["lists"] = Lists(ids, scores)
    return seconds, {"whole": reading + seconds}


def check_lists(folder: str, size: Size, rows: list[int], written: str, *, k: int, peer_written: str | None = None) -> Check:
    """The lists that were written to a folder against those that a peer wrote to another, or those of the last top-k here."""
    matrix = _matrix(folder, size)[0]
    seen = [matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]] for row in rows]
    if peer_written is not None:
        return lists_agree(read_lists(written, rows, k), read_lists(peer_written, rows, k), seen)
    ids, scores = (values[rows] for values in _models["lists"])
    # What implicit fills short lists with has the lowest score there is.
    theirs = Lists(np.where(scores > np.finfo(np.float32).min, ids, -1), scores)
    return lists_agree(read_lists(written, rows, k), theirs, seen)


def cosine(folder: str, size: Size, *, n_neighbours: int, threads: int, users: bool = False) -> tuple[float, dict[str, Any]]:
    """CosineRecommender; an item is its own first neighbour there."""
    from implicit.nearest_neighbours import CosineRecommender

    matrix, reading = _matrix(folder, size)
    if users:
        matrix = matrix.T.tocsr()
    model = CosineRecommender(K=n_neighbours, num_threads=threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own conversions
        began = time.perf_counter()
        model.fit(matrix, show_progress=False)
        seconds = time.perf_counter() - began
    _models["similarity"] = model.similarity
    return seconds, {"whole": reading + seconds}


def check_neighbours(folder: str, size: Size, rows: list[int], written: str, *, k: int, min_support: int, users: bool = False) -> Check:
    """The neighbours that were written to a folder, and the last fit's less each item itself, against the exact product."""
    matrix = _matrix(folder, size)[0]
    if users:
        matrix = matrix.T.tocsr()
    found, supports = read_neighbours(written, rows, k)
    own = neighbours_agree(found, supports, rows, matrix, min_support=min_support)
    theirs = Lists(np.full((len(rows), k - 1), -1, np.int64), np.zeros((len(rows), k - 1), np.float32))
    for place, row in enumerate(rows):
        similar = _models["similarity"][row]
        others = np.flatnonzero(similar.indices != row)
        best = others[np.argsort(-similar.data[others], kind="stable")][: k - 1]
        theirs.ids[place, : len(best)], theirs.scores[place, : len(best)] = similar.indices[best], similar.data[best]
    peer = neighbours_agree(theirs, None, rows, matrix, min_support=1)
    return Check(
        own.ok and peer.ok, f"{own.said}, supports >= {min_support}" if own.ok and peer.ok else f"ours: {own.said}; peer: {peer.said}"
    )
