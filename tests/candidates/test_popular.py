from __future__ import annotations

import numpy as np
from pyspark.sql import functions as F

from recspark.candidates.popular import score_popular_candidates
from recspark.tables import REQUESTS, SOURCE_CANDIDATES
from recspark.tables.contract import conform


def test_most_popular_first_without_seen_and_unavailable_items(table, seen, features, arrays) -> None:  # type: ignore[no-untyped-def]
    requests = table(REQUESTS, [{"request_idx": r, "user_idx": 0, "k": 1} for r in range(5)]).repartition(2)
    popularity = arrays(item_idx=np.array([0, 1, 3, 4], np.int32), score=np.array([1.0, 5.0, 5.0, 9.0]))
    frame = score_popular_candidates(
        requests, seen({1: [1], 2: [0, 1, 3], 3: [3]}, {3: [0, 2, 3, 4], 4: []}), popularity, features(5, {4}), n_candidates=2
    )
    conform(frame.withColumns({"horizon": F.lit("h"), "source": F.lit("popular")}), SOURCE_CANDIDATES, "the function")
    # Items 1 and 3 tie; 2 was never used; 4 is not available; request 2 has seen all; of what 3 may get only 0 is left; 4 may get nothing.
    assert {row.request_idx: (row["items"], row.scores) for row in frame.collect()} == {
        0: ([1, 3], [5.0, 5.0]),
        1: ([3, 0], [5.0, 1.0]),
        3: ([0], [1.0]),
    }


def test_nothing_is_popular(table, seen, features, arrays) -> None:  # type: ignore[no-untyped-def]
    requests = table(REQUESTS, [{"request_idx": 0, "user_idx": 0, "k": 1}])
    popularity = arrays(item_idx=np.zeros(0, np.int32), score=np.zeros(0))
    assert score_popular_candidates(requests, seen({}), popularity, features(2)).collect() == []


def test_at_most_so_many_of_a_category(table, seen, features, arrays) -> None:  # type: ignore[no-untyped-def]
    requests = table(REQUESTS, [{"request_idx": 0, "user_idx": 0, "k": 1}])
    popularity = arrays(item_idx=np.arange(5, dtype=np.int32), score=np.arange(5.0))
    # 4 and 3 are of category 0, 2 of both, 1 of 1, 0 of none.
    of_one = features(5, categories=[[-1, -1], [1, -1], [0, 1], [0, -1], [0, -1]])
    assert [row["items"] for row in score_popular_candidates(requests, seen({}), popularity, of_one).collect()] == [[4, 1, 0]]
