from __future__ import annotations

import pytest
from pyspark.sql import functions as F

from recspark.candidates.ratings import build_predictions
from recspark.errors import ConfigError
from recspark.tables import LABELS, PREDICTIONS, REQUESTS, VECTORS
from recspark.tables.contract import check_rows, conform


def test_each_rung_of_the_ladder_by_hand(table, events) -> None:  # type: ignore[no-untyped-def]
    nan = float("nan")
    requests = table(REQUESTS, [{"request_idx": 10 + r, "user_idx": r, "k": 1} for r in range(3)])
    labels = table(
        LABELS,
        [
            {"request_idx": 10, "items": [0, 1, 2, 9], "values": [3.0, 1.0, 4.0, nan]},
            {"request_idx": 11, "items": [1, 9], "values": [2.0, 5.0]},
            {"request_idx": 12, "items": [9], "values": [1.0]},
        ],
    )
    rows = [("user", 0, [1.0, 2.0], 0.5), ("item", 0, [1.0, 0.5], 1.0), ("item", 2, [9.0, 0.0], 0.0)]
    vectors = table(VECTORS, [{"source": "als", **dict(zip(("kind", "idx", "vector", "bias"), row, strict=True))} for row in rows])
    # Learnt: item 1 has mean 3 (ratings 2 and 4), user 1 mean 2.5 (4 and 1); all: (2 + 4 + 1) / 3.
    learnt = events([(0, 1, "rate", 2.0), (1, 1, "rate", 4.0), (1, 5, "rate", 1.0), (2, 1, "other", 5.0)])
    frame = build_predictions(labels, requests, vectors, learnt, weights={"rate": 1.0}, minimum=1.0, maximum=5.0)
    frame = conform(frame.withColumn("horizon", F.lit("h")), PREDICTIONS, "the function")
    check_rows(frame, PREDICTIONS)
    found = {(row.request_idx, row.item_idx): (row.value, row.predicted, row.fallback) for row in frame.collect()}
    assert found == {
        (10, 0): (3.0, 3.5, "none"),  # 1 * 1 + 2 * .5 + .5 + 1
        (10, 1): (1.0, 3.0, "item_mean"),
        (10, 2): (4.0, 5.0, "none"),  # 9.5, clipped
        (11, 1): (2.0, 3.0, "item_mean"),
        (11, 9): (5.0, 2.5, "user_mean"),
        (12, 9): (1.0, pytest.approx(7 / 3), "global_mean"),
    }


def test_nothing_learnt_predicts_the_middle_of_the_bounds(table, events) -> None:  # type: ignore[no-untyped-def]
    requests = table(REQUESTS, [{"request_idx": 0, "user_idx": 0, "k": 1}])
    labels = table(LABELS, [{"request_idx": 0, "items": [1], "values": [4.0]}])
    inputs = (labels, requests, table(VECTORS, []), events([]))
    row = build_predictions(*inputs, weights={"rate": 1.0}, minimum=0.0, maximum=5.0).collect()[0]
    assert (row.predicted, row.fallback) == (2.5, "global_mean")
    assert build_predictions(*inputs, weights={"rate": 1.0}, maximum=5.0).collect() == []


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [({}, (10.0, 0.5)), ({"minimum": 1.0}, (10.0, 1.0)), ({"maximum": 9.0}, (9.0, 0.5)), ({"minimum": 0.0}, (10.0, 0.0))],
)
def test_bounds_are_the_learnt_ones_unless_given(table, events, bounds, expected) -> None:  # type: ignore[no-untyped-def]
    # A scale from 0 to 10, of which .5 to 10 was learnt; the vectors predict 12 and -1.
    requests = table(REQUESTS, [{"request_idx": 0, "user_idx": 0, "k": 1}])
    labels = table(LABELS, [{"request_idx": 0, "items": [0, 1], "values": [9.0, 2.0]}])
    rows = [("user", 0, 1.0), ("item", 0, 12.0), ("item", 1, -1.0)]
    vectors = table(VECTORS, [{"source": "als", "kind": kind, "idx": idx, "vector": [x], "bias": 0.0} for kind, idx, x in rows])
    learnt = events([(1, 0, "rate", 10.0), (2, 1, "rate", 0.5)])
    found = build_predictions(labels, requests, vectors, learnt, weights={"rate": 1.0}, **bounds).collect()
    assert tuple(row.predicted for row in sorted(found, key=lambda row: row.item_idx)) == expected


def test_guard(table, events) -> None:  # type: ignore[no-untyped-def]
    labels, requests = table(LABELS, []), table(REQUESTS, [])
    with pytest.raises(ConfigError, match="minimum = 5"):
        build_predictions(labels, requests, table(VECTORS, []), events([]), weights={"rate": 1.0}, minimum=5.0, maximum=1.0)
