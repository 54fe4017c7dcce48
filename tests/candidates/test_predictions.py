from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyspark.sql import functions as F

from recspark.candidates.ratings import build_predictions
from recspark.errors import ConfigError
from recspark.tables import LABELS, NEIGHBOURS, PREDICTIONS, REQUESTS, VECTORS
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
    frame = build_predictions(labels, requests, vectors, None, learnt, weights={"rate": 1.0}, method="als", minimum=1.0, maximum=5.0)
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
    inputs = (labels, requests, table(VECTORS, []), None, events([]))
    row = build_predictions(*inputs, weights={"rate": 1.0}, method="als", minimum=0.0, maximum=5.0).collect()[0]
    assert (row.predicted, row.fallback) == (2.5, "global_mean")
    assert build_predictions(*inputs, weights={"rate": 1.0}, method="als", maximum=5.0).collect() == []


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
    found = build_predictions(labels, requests, vectors, None, learnt, weights={"rate": 1.0}, method="als", **bounds).collect()
    assert tuple(row.predicted for row in sorted(found, key=lambda row: row.item_idx)) == expected


def _reference(ratings: np.ndarray, similar: np.ndarray, method: str, user: int, item: int) -> float | None:
    """Koren's neighbourhood model over a dense matrix (nan: not rated), 3 neighbours at most; None with fewer than 2."""
    mean, known = np.nanmean(ratings), ~np.isnan(ratings)
    item_bias = np.nansum(ratings - mean, 0) / (known.sum(0) + 5)
    user_bias = np.nansum(ratings - mean - item_bias, 1) / (known.sum(1) + 5)
    baseline = mean + item_bias + user_bias[:, None]
    own, deviations = (user, (ratings - baseline)[:, item]) if method == "user_knn" else (item, (ratings - baseline)[user])
    near = [other for other in np.argsort(-similar[own], kind="stable") if similar[own, other] > 0 and not np.isnan(deviations[other])][:3]
    weights = similar[own, near]
    return float(baseline[user, item] + weights @ deviations[near] / weights.sum()) if len(near) >= 2 else None


@pytest.mark.parametrize("method", ["user_knn", "item_knn"])
def test_neighbours_predict_weighted_deviations(table, events, method) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(8)
    ratings = np.where(rng.random((12, 9)) < 0.5, rng.integers(1, 6, (12, 9)).astype(float), np.nan)
    n = 12 if method == "user_knn" else 9
    similar = np.where(rng.random((n, n)) < 0.5, rng.integers(-8, 17, (n, n)) / 16, 0) * (1 - np.eye(n))
    rows = [
        {
            "source": method,
            "kind": method[:4],
            "idx": int(u),
            "neighbour_idx": int(v),
            "score": float(similar[u, v]),
            "support": 1,
            "position": int(v),
        }
        for u, v in np.argwhere(similar != 0)
    ]
    # Neighbours of another source and kind say nothing here.
    rows += [{**row, "source": "ease", "score": 1.0} for row in rows]
    requests = table(REQUESTS, [{"request_idx": 100 + u, "user_idx": u, "k": 1} for u in range(12)])
    labels = table(LABELS, [{"request_idx": 100 + u, "items": list(range(9)), "values": [3.0] * 9} for u in range(12)])
    learnt = events([(int(u), int(i), "rate", float(ratings[u, i])) for u, i in np.argwhere(~np.isnan(ratings))])
    knobs: dict[str, Any] = {"method": method, "minimum": -9.0, "maximum": 19.0, "max_neighbours": 3, "min_neighbours": 2}
    frame = build_predictions(labels, requests, None, table(NEIGHBOURS, rows), learnt, weights={"rate": 1.0}, **knobs)
    found = {(row.request_idx - 100, row.item_idx): (row.predicted, row.fallback) for row in frame.collect()}
    assert len(found) == 12 * 9
    expected = {pair: _reference(ratings, similar, method, *pair) for pair in found}
    assert {pair: fallback == "none" for pair, (_, fallback) in found.items()} == {pair: one is not None for pair, one in expected.items()}
    for pair, one in expected.items():
        assert found[pair][0] == pytest.approx(np.nanmean(ratings[:, pair[1]]) if one is None else one)
    assert 20 < sum(one is not None for one in expected.values()) < 100


def test_guard(table, events) -> None:  # type: ignore[no-untyped-def]
    labels, requests = table(LABELS, []), table(REQUESTS, [])
    with pytest.raises(ConfigError, match="minimum = 5"):
        build_predictions(
            labels, requests, table(VECTORS, []), None, events([]), weights={"rate": 1.0}, method="als", minimum=5.0, maximum=1.0
        )
    with pytest.raises(ConfigError, match="method is user_knn, .*switch on neighbours_user_knn"):
        build_predictions(labels, requests, table(VECTORS, []), None, events([]), weights={"rate": 1.0}, method="user_knn")
    with pytest.raises(ConfigError, match="method is als, .*switch on vectors_als"):
        build_predictions(labels, requests, None, table(NEIGHBOURS, []), events([]), weights={"rate": 1.0}, method="als")
    with pytest.raises(ConfigError, match="predictions.method is null"):
        build_predictions(labels, requests, None, None, events([]), weights={"rate": 1.0})
