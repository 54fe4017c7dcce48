"""What alternating least squares minimises, and its exact half-step, on dense arrays."""

from __future__ import annotations

import numpy as np

from recspark.candidates.als_blocks import Recipe


def scales(counts: np.ndarray, n_others: int, recipe: Recipe) -> np.ndarray:
    return recipe.reg * (counts + recipe.unobserved * n_others) ** recipe.nu


def parts(x: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Factors and biases [n]."""
    return (x[:, :-1], x[:, -1]) if recipe.biased else (x, np.zeros(len(x)))


def loss(w: np.ndarray, t: np.ndarray, x: np.ndarray, y: np.ndarray, recipe: Recipe, hu: bool = False) -> float:
    """w, t [users x items], w 0 where nothing was observed."""
    (p, b), (q, c) = parts(x.astype(float), recipe), parts(y.astype(float), recipe)
    scores = p @ q.T + b[:, None] + c
    seen = w > 0
    total = (w * (t - scores) ** 2).sum() + recipe.unobserved * (scores**2).sum()
    if hu:
        total += recipe.unobserved * ((1 - scores) ** 2 - scores**2)[seen].sum()
    for factors, biases, axis in ((p, b, 1), (q, c, 0)):
        n_others = seen.any(1 - axis).sum()  # rows of the other side with any pair
        lam = scales(seen.sum(axis), n_others, recipe)
        total += (lam * ((factors**2).sum(1) + recipe.bias_reg * biases**2)).sum()
    return float(total)


def half_step(w: np.ndarray, t: np.ndarray, y: np.ndarray, recipe: Recipe, hu: bool = False) -> np.ndarray:
    """The exact rows of the users against items y, by their normal equations."""
    q, c = parts(y.astype(float), recipe)
    f = np.column_stack([q, np.ones(len(q))]) if recipe.biased else q
    ridge = np.ones(f.shape[1])
    if recipe.biased:
        ridge[-1] = recipe.bias_reg
    seen = w > 0
    lam = scales(seen.sum(1), seen.any(0).sum(), recipe)
    rows = []
    for user in range(len(w)):
        a = (f.T * w[user]) @ f + recipe.unobserved * f.T @ f + lam[user] * np.diag(ridge)
        pull = w[user] * (t[user] - c) + (recipe.unobserved * seen[user] if hu else 0)
        rows.append(np.linalg.solve(a, f.T @ pull) if seen[user].any() else np.zeros(f.shape[1]))
    return np.array(rows)
