"""Masks of small worlds, and the lists that sorting everything gives."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from recspark.kernels.masks import NO_QUOTA, Mask, Quota, mask_of, quota_of

Lists = list[list[tuple[int, float]]]


def csr(rows: Any) -> tuple[np.ndarray, np.ndarray]:
    rows = [list(row) for row in rows]
    return np.cumsum([0, *map(len, rows)]), np.array([item for row in rows for item in row], np.int32)


class World(NamedTuple):
    """Of each row what it has seen, and what alone it may be offered (None: anything); of each item its categories."""

    available: np.ndarray
    seen: list[list[int]]
    allow: list[list[int] | None]
    categories: list[list[int]]
    most: int  # 0: no quota

    def quota(self) -> Quota:
        pairs = [(item, category) for item, some in enumerate(self.categories) for category in some]
        items, categories = (np.array(column, np.int32) for column in zip(*pairs, strict=True)) if pairs else (np.empty(0, np.int32),) * 2
        return quota_of(items, categories, self.most) if self.most else NO_QUOTA

    def mask(self) -> Mask:
        allow = csr(one or [] for one in self.allow)
        return mask_of(self.available, csr(self.seen), allow, np.array([one is not None for one in self.allow]), self.quota())

    def fits(self, row: int, item: int) -> bool:
        allow = self.allow[row]
        is_available = 0 <= item < len(self.available) and bool(self.available[item])
        return is_available and item not in self.seen[row] and (allow is None or item in allow)

    def within_quota(self, ordered: list[int], n: int) -> list[int]:
        chosen: list[int] = []
        taken: Counter[int] = Counter()
        for item in ordered:
            mine = self.categories[item] if self.most and item < len(self.categories) else []
            if len(chosen) < n and all(taken[category] < self.most for category in mine):
                chosen.append(item)
                taken.update(mine)
        return chosen

    def best(self, scores: np.ndarray, ids: np.ndarray, n: int) -> Lists:
        """The lists: everything sorted by (score descending, item), what is masked left out, quotas met from the best on."""
        lists = []
        for row, row_scores in enumerate(scores):
            by_item = {int(i): float(np.float32(s)) for i, s in zip(ids, row_scores, strict=True) if not np.isnan(s)}
            ordered = [item for item in sorted(by_item, key=lambda item: (-by_item[item], item)) if self.fits(row, item)]
            lists.append([(item, by_item[item]) for item in self.within_quota(ordered, n)])
        return lists


def some_world(rng: np.random.Generator, n_rows: int, n_items: int) -> World:
    """Of all kinds: nobody has an allow list or everybody, nothing seen or everything, no quotas or such that bind."""

    def some() -> list[int]:
        return sorted(rng.choice(n_items, rng.choice([0, n_items, rng.integers(0, n_items + 1)]), replace=False).tolist())

    share = rng.choice([0.0, 0.5, 1.0])
    n_categories = rng.integers(1, 5)
    return World(
        rng.random(rng.integers(0, n_items + 1)) < rng.choice([0.5, 1.0]),
        [some() if rng.random() < 0.7 else [] for _ in range(n_rows)],
        [some() if rng.random() < share else None for _ in range(n_rows)],
        [sorted(set(rng.integers(0, n_categories, rng.integers(0, 3)).tolist())) for _ in range(rng.integers(0, n_items + 1))],
        int(rng.integers(0, 4)),
    )


def free_world(n_rows: int, n_items: int, seen: list[list[int]] | None = None) -> World:
    return World(np.ones(n_items, np.bool_), seen or [[]] * n_rows, [None] * n_rows, [], 0)


def lists_of(found: tuple[np.ndarray, np.ndarray]) -> Lists:
    items, scores = found
    for row, row_scores in zip(items, scores, strict=True):
        filled = row >= 0
        assert not np.any(np.diff(filled.astype(int)) > 0), "padding stands last"
        assert np.all(row_scores[~filled] == 0)
    return [[(int(i), float(s)) for i, s in zip(*pair, strict=True) if i >= 0] for pair in zip(items, scores, strict=True)]
