from datetime import UTC, datetime, timedelta

import pytest

from recspark.errors import ConfigError
from recspark.features.histories import build_histories
from recspark.tables import HISTORIES, INTERACTIONS, REQUESTS
from recspark.tables.contract import check_rows, conform

NOW = datetime(2024, 5, 31, tzinfo=UTC)
TYPES = ["browse", "buy"]


def event(user, item, kind, days, key=0, order=None):
    at = None if days is None else NOW - timedelta(days=days)
    micros = int(at.timestamp() * 1_000_000) if at else 0
    return {
        "user_idx": user,
        "item_idx": item,
        "event_type": kind,
        "event_at": at,
        "event_order": micros if order is None else order,
        "event_key": key,
    }


EVENTS = [
    event(0, 30, "buy", 1.5),
    event(0, 10, "browse", 20),
    event(0, 20, "browse", 4),
    event(0, 40, "wish", 0),
    event(0, 50, "buy", -1),  # after as_of
    # Same moment: by item, then type, then key.
    event(1, 7, "buy", 2, key=5),
    event(1, 7, "browse", 2, key=9),
    event(1, 3, "buy", 2, key=7),
    event(1, 7, "buy", 2, key=4),
    # No times: the declared order.
    event(2, 1, "browse", None, order=2),
    event(2, 2, "buy", None, order=1),
]


@pytest.fixture
def requests(table):
    return table(REQUESTS, [{"request_idx": 100 + user, "user_idx": user, "as_of": NOW, "k": 5} for user in range(4)])


def rows(frame):
    return {row.request_idx: (row["items"], row.event_types, row.ages, row.length) for row in frame.collect()}


def test_the_latest_events_oldest_first(table, requests):
    histories = build_histories(table(INTERACTIONS, EVENTS), requests, max_length=5, types=TYPES)
    check_rows(conform(histories.selectExpr("'d' as horizon", "*"), HISTORIES, "build_histories"), HISTORIES)
    assert rows(histories) == {
        100: ([10, 20, 30, 40, -1], [1, 1, 2, 0, 0], [20.0, 4.0, 1.5, 0.0, 0.0], 4),
        101: ([3, 7, 7, 7, -1], [2, 1, 2, 2, 0], [2.0, 2.0, 2.0, 2.0, 0.0], 4),
        102: ([2, 1, -1, -1, -1], [2, 1, 0, 0, 0], [0.0] * 5, 2),
        103: ([-1] * 5, [0] * 5, [0.0] * 5, 0),
    }


def test_a_full_history_forgets_the_oldest(table, requests):
    histories = rows(build_histories(table(INTERACTIONS, EVENTS), requests, max_length=2, types=TYPES))
    assert histories[100] == ([30, 40], [2, 0], [1.5, 0.0], 2)
    assert histories[101] == ([7, 7], [2, 2], [2.0, 2.0], 2)


def test_requests_of_one_user_at_two_moments(table):
    requests = table(
        REQUESTS, [{"request_idx": i, "user_idx": 0, "as_of": NOW - timedelta(days=days)} for i, days in ((0, 10), (1, 2), (2, 30))]
    )
    histories = rows(build_histories(table(INTERACTIONS, EVENTS), requests, max_length=3, types=TYPES))
    assert histories == {
        0: ([10, -1, -1], [1, 0, 0], [10.0, 0.0, 0.0], 1),
        1: ([10, 20, -1], [1, 1, 0], [18.0, 2.0, 0.0], 2),
        2: ([-1, -1, -1], [0, 0, 0], [0.0, 0.0, 0.0], 0),
    }


@pytest.mark.parametrize("n", [1, 2, 7])
def test_partitions_and_row_order_change_nothing(table, requests, n):
    expected = rows(build_histories(table(INTERACTIONS, EVENTS), requests, max_length=3, types=TYPES))
    shuffled = table(INTERACTIONS, EVENTS[::-1][3:] + EVENTS[::-1][:3]).repartition(n)
    assert rows(build_histories(shuffled, requests.repartition(n), max_length=3, types=TYPES)) == expected


def test_no_listed_types(table, requests):
    assert rows(build_histories(table(INTERACTIONS, EVENTS), requests, max_length=2, types=[]))[101] == ([7, 7], [0, 0], [2.0, 2.0], 2)


def test_refuses_no_length(table, requests):
    with pytest.raises(ConfigError, match=r"histories\.max_length is 0"):
        build_histories(table(INTERACTIONS, EVENTS), requests, max_length=0, types=TYPES)
