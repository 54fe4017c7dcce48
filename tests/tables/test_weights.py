from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from recspark.errors import ConfigError
from recspark.tables import INTERACTIONS
from recspark.tables.weights import with_weight

DAY_0 = datetime(2025, 1, 1)


@pytest.fixture
def events(table):
    """One event an item: (event_type, value, day)."""

    def make(*rows):
        found = [(*row, *(None,) * (3 - len(row))) for row in rows]
        return table(
            INTERACTIONS,
            [
                {"item_idx": i, "event_type": kind, "value": value, "event_at": None if day is None else DAY_0 + timedelta(days=day)}
                for i, (kind, value, day) in enumerate(found)
            ],
        )

    return make


def weights_of(frame):
    return [row.weight for row in sorted(frame.collect(), key=lambda row: row.item_idx)]


@pytest.mark.parametrize(
    ("value_as", "expected"),
    [
        ("ignore", [3.0, 3.0, 0.5, 3.0, 3.0]),
        ("linear", [6.0, 3.0, 1.5, 0.0, 0.0]),
        ("log", [3.0 * 1.584962500721156, 3.0, 1.0, 0.0, 0.0]),  # log2(3); log2(4) = 2
    ],
)
def test_weight_is_that_of_the_type_times_the_values_strength_and_a_missing_value_is_1(events, value_as, expected):
    frame = events(("buy", 2.0), ("buy",), ("browse", 3.0), ("buy", 0.0), ("buy", -1.0), ("other", 9.0), ("off", 9.0))
    found = weights_of(with_weight(frame, {"buy": 3.0, "browse": 0.5, "off": 0.0}, value_as=value_as))
    assert found == pytest.approx([*expected, 0.0, 0.0])
    assert found[1] == 3.0


def test_an_hour_in_seconds_weighs_about_twelve_times_a_second(events):
    assert weights_of(with_weight(events(("play", 3600.0), ("play", 1.0)), {"play": 1.0})) == pytest.approx([11.814182, 1.0])


def test_weight_halves_with_each_half_life_before_the_latest_event(events):
    frame = events(("use", None, 20), ("use", None, 10), ("use", 7.0, 0))
    assert weights_of(with_weight(frame, {"use": 1.0}, half_life_days=10.0)) == [1.0, 0.5, 0.75]
    assert weights_of(with_weight(events(), {"use": 1.0}, half_life_days=10.0)) == []


def test_guards(events):
    frame = events(("use",))
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="below 0 or not finite"):
            with_weight(frame, {"use": wrong})
    for nothing in ({}, {"use": 0.0}):
        with pytest.raises(ConfigError, match="nothing could be learnt"):
            with_weight(frame, nothing)
    with pytest.raises(ConfigError, match="half-life is longer than 0 days"):
        with_weight(frame, {"use": 1.0}, half_life_days=0.0)
    with pytest.raises(ConfigError, match="1 events have no event_at: decay needs times"):
        with_weight(frame, {"use": 1.0}, half_life_days=1.0)
