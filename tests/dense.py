"""Item neighbours of small worlds by dense products: what every kernel is held against."""

from __future__ import annotations

from typing import Any

import numpy as np

Row = tuple[int, int, float, int, int]


def world(seed: int, n: int = 24, high: int = 4) -> np.ndarray:
    """Values [users x items] of n worlds side by side, none touching another; 0 is no event. Hostile ones among them."""
    rng = np.random.default_rng(seed)
    blocks = []
    for number in range(n):
        used = rng.random(rng.integers(1, 12, 2)) < rng.random()
        used[:, 0] |= number % 3 == 0  # an item that everyone has
        used[0] |= number % 4 == 0  # a user with everything
        used |= number % 8 == 7  # ties everywhere
        blocks.append(used * rng.integers(1, high, used.shape))
    full = np.zeros(np.sum([block.shape for block in blocks], axis=0))
    at = np.zeros(2, int)
    for block in blocks:
        full[at[0] : at[0] + block.shape[0], at[1] : at[1] + block.shape[1]] = block
        at += block.shape
    return full


def scores(
    x: np.ndarray, similarity: str, weighting: str = "none", alpha: float = 0.5, norm: float | None = None, asymmetry: float = 0.5
) -> np.ndarray:
    """Before shrinkage on support: [items x items] of `x` [users x items], in which 0 is no event."""
    held = (x > 0).astype(float)
    both, n, n_users = held.T @ held, held.sum(0), held.any(1).sum()
    n = np.maximum(n, 1e-300)
    if weighting != "none":
        n_items = held.any(0).sum()
        idf = np.maximum(np.log(n_items) - np.log(1 + held.sum(1)), 0)
        length = x.sum(0)
        x = np.sqrt(x) if weighting == "tf_idf" else x * 2.2 / (1.2 * (0.25 + 0.75 * length / length[length > 0].mean()) + x)
        x = x * idf[:, None]
    if similarity == "jaccard":
        return both / np.maximum(n[:, None] + n - both, 1)
    if similarity == "lift":
        return both * n_users / np.outer(n, n)
    if similarity == "conditional":
        return both / n[:, None] / n**alpha
    if similarity == "llr":
        expected = np.outer(n, n) / n_users
        total = np.zeros_like(both)
        for rows, columns in ((held, held), (held, 1 - held), (1 - held, held), (1 - held, 1 - held)):
            rows, columns = rows[held.any(1)], columns[held.any(1)]
            seen, chance = rows.T @ columns, np.outer(rows.sum(0), columns.sum(0)) / n_users
            total += np.where(seen > 0, seen * np.log(np.maximum(seen, 1) / np.maximum(chance, 1e-300)), 0)
        return np.where(both > expected + 1e-9, 2 * total, 0)
    if similarity == "pearson":
        centred = (x - x.sum(0) / n) * held
        squares = np.square(centred).T @ held
        product = np.sqrt(squares * squares.T)
        return np.where(product > 1e-12, centred.T @ centred / np.maximum(product, 1e-300), 0)
    norms = np.linalg.norm(x, axis=0)
    product = np.outer(norms ** (2 * asymmetry), norms ** (2 - 2 * asymmetry))
    return x.T @ x / np.maximum(product + (0 if norm is None else norm + 1e-6), 1e-300)


def walks(x: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """RP3beta's [items x items]."""
    users, items = np.maximum(x.sum(1), 1e-300)[:, None], np.maximum(x.sum(0), 1e-300)
    return ((x / items) ** alpha).T @ (x / users) ** alpha / items**beta


def top(score: np.ndarray, support: np.ndarray, n: int, min_support: int = 1, shrinkage: float = 0.0) -> list[Row]:
    """idx, neighbour_idx, score, support, position of each item's n best of positive scores."""
    shrunk = (score * support / np.maximum(support + shrinkage, 1)).astype(np.float32)
    found: list[Row] = []
    for i in range(len(shrunk)):
        near = [j for j in range(len(shrunk)) if j != i and support[i, j] >= max(1, min_support) and shrunk[i, j] > 1e-7]
        best = sorted((-shrunk[i, j], j) for j in near)[:n]
        found += [(i, j, float(-score), int(support[i, j]), place) for place, (score, j) in enumerate(best)]
    return found


def assert_close(found: list[Any], expected: list[Row]) -> None:
    """Lists equal but for rounding: scores to 1e-5, and items of one score (to 1e-5) may stand in either order, or either side of the cut; few do."""
    assert [(row[0], row[4]) for row in found] == [(row[0], row[4]) for row in expected]
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in expected], rtol=1e-5, atol=1e-6)
    supports = {row[:2]: row[3] for row in expected}
    assert all(row[3] == supports.get(row[:2], row[3]) for row in found)
    scores = {row[:2]: row[2] for row in expected}
    places = [(row[2], scores[row[:2]]) for row in found if row[:2] in scores]
    np.testing.assert_allclose([own for own, _ in places], [other for _, other in places], rtol=1e-5, atol=1e-6)
    assert sum(a[:2] != b[:2] for a, b in zip(found, expected, strict=True)) <= 0.02 * len(expected)
