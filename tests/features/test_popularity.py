from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import functions as F

from recspark.errors import ConfigError
from recspark.features.popularity import build_popularity
from recspark.tables import INTERACTIONS, POPULARITY
from recspark.tables.contract import check_rows, conform

LATEST = datetime(2024, 5, 31, tzinfo=UTC)
WEIGHTS = {"browse": 1.0, "buy": 5.0}
# user, item, type, days before the latest event
EVENTS = [
    (0, 1, "buy", 0),
    (1, 1, "browse", 10),
    (1, 1, "browse", 20),
    (2, 2, "browse", 5),
    (3, 2, "browse", 5),
    (4, 3, "wish", 1.5),  # no weight
]


def frame(table, events=EVENTS):
    rows = [
        {"user_idx": u, "item_idx": i, "event_type": kind, "event_at": None if days is None else LATEST - timedelta(days=days)}
        for u, i, kind, days in events
    ]
    return table(INTERACTIONS, rows)


def rows(popularity):
    return {row.item_idx: (row.n_events, row.n_users, row.score, row.age) for row in popularity.collect()}


def test_counts_weights_and_age(table):
    popularity = build_popularity(frame(table), weights=WEIGHTS)
    check_rows(conform(popularity.selectExpr("'d' as horizon", "*"), POPULARITY, "build_popularity"), POPULARITY)
    assert rows(popularity) == {1: (3, 2, 7.0, 0.0), 2: (2, 2, 2.0, 5.0), 3: (1, 1, 0.0, 1.5)}


def test_a_half_life_halves_with_age(table):
    popularity = rows(build_popularity(frame(table), weights=WEIGHTS, half_life_days=10))
    assert popularity[1][2] == 5 + 1 / 2 + 1 / 4
    assert popularity[2][2] == pytest.approx(2 * 2**-0.5, abs=1e-12)


def test_without_any_times(table):
    timeless = frame(table, [(user, item, kind, None) for user, item, kind, _ in EVENTS])
    assert rows(build_popularity(timeless, weights=WEIGHTS)) == {
        1: (3, 2, 7.0, 0.0),
        2: (2, 2, 2.0, 0.0),
        3: (1, 1, 0.0, 0.0),
    }
    with pytest.raises(ConfigError, match="decay needs times"):
        build_popularity(timeless, weights=WEIGHTS, half_life_days=10)


def test_values_enter_as_told(table):
    valued = frame(table).withColumn("value", F.lit(3.0))
    scores = {
        value_as: rows(build_popularity(valued, weights=WEIGHTS, value_as=value_as))[1][2] for value_as in ("ignore", "linear", "log")
    }
    assert scores == {"ignore": 7.0, "linear": 21.0, "log": 14.0}


@pytest.mark.parametrize("n", [1, 2, 7])
def test_partitions_and_row_order_change_nothing(table, n):
    many = [(user, user % 3, "browse", 0.1 * user) for user in range(90)]
    expected = rows(build_popularity(frame(table, many), weights={"browse": 0.1}, half_life_days=3))
    assert rows(build_popularity(frame(table, many[::-1]).repartition(n), weights={"browse": 0.1}, half_life_days=3)) == expected


def test_no_weights_and_no_events(table):
    with pytest.raises(ConfigError, match="nothing could be learnt"):
        build_popularity(frame(table), weights={})
    assert rows(build_popularity(frame(table, []), weights=WEIGHTS, half_life_days=1)) == {}


@pytest.mark.parametrize("days", [0, -3])
def test_refuses_a_half_life_of_nothing(table, days):
    with pytest.raises(ConfigError, match=f"half_life_days is {days}"):
        build_popularity(frame(table), weights=WEIGHTS, half_life_days=days)
