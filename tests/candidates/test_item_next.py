from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from pyspark.sql import functions as F

from recspark.candidates import item_next
from recspark.tables import NEIGHBOURS
from recspark.tables.contract import conform
from tests import dense
from tests.candidates.test_item_knn import USE, rows

build_item_next = partial(item_next.build_item_next, n_slots=4)


def test_only_what_came_strictly_later(events) -> None:  # type: ignore[no-untyped-def]
    # User 0: 0 then 1; user 1: 0 and 1 at once, then 2; user 2: 1, then 0, then 1 again (its first time counts).
    frame = events([(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 0), (2, 1)])
    frame = frame.withColumn("event_order", F.when((F.col("user_idx") == 1) & (F.col("item_idx") < 2), 0).otherwise(F.col("event_order")))
    found = build_item_next(frame, weights=USE, min_support=1, shrinkage=0.0, popularity_damping=0.0)
    conform(found.withColumns({"horizon": F.lit("h"), "source": F.lit("item_next")}), NEIGHBOURS, "the function")
    # Items 0 and 1 have three users each; one of them came to the other later, either way.
    third = pytest.approx(1 / 3)
    assert rows(found) == [(0, 1, third, 1, 0), (0, 2, third, 1, 1), (1, 0, third, 1, 0), (1, 2, third, 1, 1)]


@pytest.mark.parametrize(("similarity", "max_gap"), [("conditional", None), ("llr", 2)])
def test_directed_counts_equal_a_count_by_hand(events, similarity, max_gap) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(2)
    log = [(int(user), int(item)) for user, item in zip(rng.integers(0, 20, 200), rng.integers(0, 12, 200), strict=True)]
    first: dict[int, dict[int, int]] = {}
    for user, item in log:
        first.setdefault(user, {}).setdefault(item, len(first.get(user, {})))
    after, held = np.zeros((12, 12), int), np.zeros((20, 12))
    for user, steps in first.items():
        held[user, list(steps)] = 1
        for one, start in steps.items():
            for other, step in steps.items():
                after[one, other] += 0 < step - start <= (max_gap or 99)
    knobs: dict[str, Any] = {"n_neighbours": 5, "shrinkage": 2.0, "n_blocks": 3, "popularity_damping": 0.5, "max_gap": max_gap}
    found = rows(build_item_next(events(log).repartition(4), weights=USE, similarity=similarity, **knobs))
    n, total = held.sum(0), len(first)
    score = after / n[:, None] / np.sqrt(n)
    if similarity == "llr":
        tables = np.array([[[a, n[i] - a, n[j] - a, total - n[i] - n[j] + a] for j, a in enumerate(row)] for i, row in enumerate(after)])
        chance = [
            [[n[i] * n[j], n[i] * (total - n[j]), n[j] * (total - n[i]), (total - n[i]) * (total - n[j])] for j in range(12)]
            for i in range(12)
        ]
        ratio = np.maximum(tables, 1e-300) * total / np.maximum(chance, 1e-300)
        score = np.where(after * total > np.outer(n, n), 2 * np.where(tables > 0, tables * np.log(ratio), 0).sum(-1), 0)
    dense.assert_close(found, dense.top(score, after, 5, 2, 2.0))
