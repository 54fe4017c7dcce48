from __future__ import annotations

import pytest

from recspark.candidates.weights import keep_latest_ratings, with_weight
from recspark.errors import ConfigError


def _weights(frame) -> dict[int, float]:  # type: ignore[no-untyped-def]
    return {row.item_idx: row.weight for row in frame.collect()}


def test_weight_is_type_times_value_and_a_missing_value_counts_one(events) -> None:  # type: ignore[no-untyped-def]
    learnt = [(0, 0, "buy", 2.0), (0, 1, "buy"), (0, 2, "browse", 4.0)]
    left_out = [(0, 3, "ignored"), (0, 4, "zero"), (0, 5, "buy", 0.0), (0, 6, "buy", -1.0)]
    frame = events([*learnt, *left_out])
    assert _weights(with_weight(frame, {"buy": 3.0, "browse": 0.5, "zero": 0.0}, None)) == {0: 6.0, 1: 3.0, 2: 2.0}


def test_weight_halves_with_each_half_life_before_the_latest_event(events) -> None:  # type: ignore[no-untyped-def]
    frame = events([(0, 0, "use", None, 20), (0, 1, "use", None, 10), (0, 2, "use", 8.0, 0)])
    assert _weights(with_weight(frame, {"use": 1.0}, 10.0)) == {0: 1.0, 1: 0.5, 2: 2.0}


def test_the_latest_rating_with_a_value_stands(events) -> None:  # type: ignore[no-untyped-def]
    frame = events([(0, 0, "rate", 2.0), (0, 0, "rate", 5.0), (0, 0, "rate"), (0, 0, "other", 1.0), (1, 0, "rate"), (1, 1, "off", 3.0)])
    rows = keep_latest_ratings(frame, {"rate": 1.0, "off": 0.0}).collect()
    assert [tuple(row) for row in rows] == [(0, 0, 5.0)]


def test_guards(events) -> None:  # type: ignore[no-untyped-def]
    frame = events([(0, 0, "use")])
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="below 0 or not finite"):
            with_weight(frame, {"use": wrong}, None)
    for nothing in ({}, {"use": 0.0}):
        with pytest.raises(ConfigError, match="nothing could be learnt"):
            keep_latest_ratings(frame, nothing)
    with pytest.raises(ConfigError, match="half-life is above 0"):
        with_weight(frame, {"use": 1.0}, 0.0)
    with pytest.raises(Exception, match="decay needs times"):
        with_weight(frame, {"use": 1.0}, 1.0).collect()
