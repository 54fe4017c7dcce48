from __future__ import annotations

import pytest
from pyspark.sql import functions as F

from recspark.candidates.blend import build_candidates
from recspark.errors import ConfigError
from recspark.tables import CANDIDATES, REQUESTS, SOURCE_CANDIDATES
from recspark.tables.contract import conform

PROPOSALS = [
    {"source": "a", "request_idx": 0, "items": [5, 9], "scores": [2.0, 1.0]},
    {"source": "b", "request_idx": 0, "items": [3, 5], "scores": [7.0, 6.0]},
    {"source": "b", "request_idx": 1, "items": [4], "scores": [8.0]},
    {"source": "other", "request_idx": 0, "items": [1], "scores": [1.0]},
    {"source": "a", "request_idx": 7, "items": [1], "scores": [1.0]},
]


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_union_by_reciprocal_ranks_with_positions_and_scores_kept(table, partitions: int) -> None:  # type: ignore[no-untyped-def]
    requests = table(REQUESTS, [{"request_idx": r, "user_idx": r, "k": 1} for r in range(3)]).repartition(partitions)
    proposals = table(SOURCE_CANDIDATES, PROPOSALS[:: 1 if partitions == 1 else -1]).repartition(partitions)
    frame = build_candidates(proposals, requests, sources=["a", "b"])
    conform(frame.withColumn("horizon", F.lit("h")), CANDIDATES, "the function")
    # Item 5: 1/61 + 1/62, item 3: 1/61, item 9: 1/62. Request 2 has no proposals; request 7 does not exist.
    assert {row.request_idx: tuple(row)[1:] for row in frame.collect()} == {
        0: ([5, 3, 9], [0, 1, -1, 0, 1, -1], [2.0, 6.0, 0.0, 7.0, 1.0, 0.0]),
        1: ([4], [-1, 0], [0.0, 8.0]),
        2: ([], [], []),
    }
    first = build_candidates(proposals, requests, sources=["b", "a"], n_candidates=1).filter("request_idx = 0").collect()[0]
    assert tuple(first)[1:] == ([5], [1, 0], [6.0, 2.0])


def test_guard(table) -> None:  # type: ignore[no-untyped-def]
    for sources in ([], ["a", "a"]):
        with pytest.raises(ConfigError, match="each once"):
            build_candidates(table(SOURCE_CANDIDATES, []), table(REQUESTS, []), sources=sources)
