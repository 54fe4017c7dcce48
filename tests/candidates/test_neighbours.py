from __future__ import annotations

import numpy as np
from pyspark.sql import functions as F

from recspark.candidates.neighbours import score_neighbour_candidates
from recspark.tables import HISTORIES, REQUESTS, SOURCE_CANDIDATES
from recspark.tables.contract import conform


def test_candidates_are_sums_over_the_latest_history(table, seen, features, arrays) -> None:  # type: ignore[no-untyped-def]
    requests = table(REQUESTS, [{"request_idx": r, "user_idx": r, "k": 1} for r in range(6)])
    lists = {0: [0, 1], 1: [1, 0], 2: [], 3: [5], 4: [0, 1], 5: [0, 1]}
    histories = table(
        HISTORIES, [{"request_idx": r, "items": [*items, *[-1] * (3 - len(items))], "length": len(items)} for r, items in lists.items()]
    )
    # 0 -> 2 (.5), 3 (.25), 1 (.125); 1 -> 3 (.5), 4 (.5).
    neighbours = arrays(
        idx=np.array([0, 0, 0, 1, 1]), neighbour_idx=np.array([2, 3, 1, 3, 4]), score=np.array([0.5, 0.25, 0.125, 0.5, 0.5], np.float32)
    )
    masked = seen({0: [0, 1], 4: [1, 2, 3]}, {5: [0, 1, 2, 4]})
    frame = score_neighbour_candidates(histories, requests, masked, neighbours, features(6, {4}), n_candidates=2)
    conform(frame.withColumns({"horizon": F.lit("h"), "source": F.lit("item_knn")}), SOURCE_CANDIDATES, "the function")
    # Requests 2 (no history) and 3 (no neighbours) have no row; for 4 all is seen or not available; 5 may not get 3.
    found = {row.request_idx: (row["items"], row.scores) for row in frame.collect()}
    assert found == {0: ([3, 2], [0.75, 0.5]), 1: ([3, 2], [0.75, 0.5]), 5: ([2, 1], [0.5, 0.125])}
    short = score_neighbour_candidates(histories, requests, masked, neighbours, features(6), n_candidates=9, max_history=1)
    assert {row.request_idx: row["items"] for row in short.collect()} == {0: [3, 4], 1: [2, 3, 1], 4: [4], 5: [4]}


def test_the_candidates_own_lists(table, seen, features, arrays) -> None:  # type: ignore[no-untyped-def]
    requests = table(REQUESTS, [{"request_idx": 0, "user_idx": 0, "k": 1}])
    histories = table(HISTORIES, [{"request_idx": 0, "items": [0, 1], "length": 2}])
    # 2 holds 0 (.5) and 1 (.25), 3 holds 1 (.625); what 0 and 1 themselves hold does not count.
    neighbours = arrays(
        idx=np.array([0, 2, 2, 3]), neighbour_idx=np.array([4, 0, 1, 1]), score=np.array([0.875, 0.5, 0.25, 0.625], np.float32)
    )
    frame = score_neighbour_candidates(histories, requests, seen({}), neighbours, features(5), lists_of="candidates")
    assert [(row["items"], row.scores) for row in frame.collect()] == [([2, 3], [0.75, 0.625])]
