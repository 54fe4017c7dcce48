from __future__ import annotations

import numpy as np
from pyspark.sql import functions as F

from recspark.candidates.by_vectors import score_als_candidates, score_next_item_candidates
from recspark.tables import REQUESTS, SOURCE_CANDIDATES, VECTORS
from recspark.tables.contract import conform

# Items 0, 2, 3 and 5, of which 5 is not available in the tests.
ITEMS = {
    "idx": np.array([0, 2, 3, 5]),
    "vector": np.array([[1, 0], [2, 1], [2, 0], [9, 9]], np.float32),
    "bias": np.array([0, 0, 1, 0], np.float32),
}


def vectors_of(table, rows):
    return table(VECTORS, [dict(zip(("kind", "idx", "vector", "bias"), row, strict=True)) for row in rows])


def lists(frame, source):
    conform(frame.withColumns({"horizon": F.lit("h"), "source": F.lit(source)}), SOURCE_CANDIDATES, "the function")
    return {row.request_idx: (row["items"], row.scores) for row in frame.collect()}


def test_candidates_are_the_items_nearest_to_the_users_vector(table, seen, features, arrays):
    requests = table(REQUESTS, [{"request_idx": 10 + r, "user_idx": r, "k": 1} for r in range(4)]).repartition(2)
    rows = [("user", 0, [1.0, 0.0], 0.5), ("user", 1, [0.0, 1.0], 0.0), ("user", 3, [1.0, 1.0], 0.0), ("item", 2, [9.0, 9.0], 0.0)]
    hidden, allowed = {11: [2], 13: [0, 2, 3]}, {10: [0, 1, 2, 5]}
    frame = score_als_candidates(
        vectors_of(table, rows), requests, seen(hidden, allowed), arrays(**ITEMS), features(6, {5}), n_candidates=2
    )
    # User 0 may get 2 (2 + .5) and 0 (1 + .5), 1 has no vector, 5 is not available. User 1: 2 is seen, so 3 (its bias 1) and 0 (0).
    # User 2 has no vector, user 3 nothing left.
    assert lists(frame, "als") == {10: ([2, 0], [2.5, 1.5]), 11: ([3, 0], [1.0, 0.0])}


def test_a_next_item_models_candidates_are_those_of_each_requests_own_vector(table, seen, features, arrays):
    # Users and requests are numbered alike here: a user's vector must not be taken for a request's.
    rows = [("request", 7, [1.0, 0.0], 0.0), ("request", 8, [0.0, 1.0], 0.0), ("user", 9, [1.0, 1.0], 0.0), ("item", 2, [9.0, 9.0], 0.0)]
    frame = score_next_item_candidates(vectors_of(table, rows), seen({8: [2]}), arrays(**ITEMS), features(6, {5}), n_candidates=2)
    # 7: 3 (2 + 1), 2 (2). 8: 3 (0 + 1), 0 (0), as 2 is seen.
    assert lists(frame, "next_item") == {7: ([3, 2], [3.0, 2.0]), 8: ([3, 0], [1.0, 0.0])}
