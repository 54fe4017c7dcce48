from datetime import UTC, datetime, timedelta, timezone

import pytest

from recspark.errors import ConfigError
from recspark.examples.requests import build_requests
from recspark.tables import INTERACTIONS, REQUESTS, USER_INDEX
from recspark.tables.contract import check_rows, conform
from recspark.tables.horizon import Horizon

DAY_1, DAY_2, DAY_3 = (datetime(2024, 5, day, 12, 30, 0, 250_000, tzinfo=UTC) for day in (1, 2, 3))


@pytest.fixture
def users(table):
    return table(USER_INDEX, [{"user_id": name, "user_idx": i} for i, name in enumerate("abc")])


@pytest.fixture
def events(table):
    rows = [(0, DAY_1), (0, DAY_3), (0, DAY_2), (1, None)]
    return table(INTERACTIONS, [{"user_idx": user, "item_idx": 7, "event_at": at} for user, at in rows])


def micros(frame):
    rows = frame.selectExpr("request_idx", "user_idx", "unix_micros(as_of) as as_of", "k").collect()
    return sorted((row.request_idx, row.user_idx, row.as_of, row.k) for row in rows)


def test_as_of_is_the_cut_for_every_user_also_without_events(users, events):
    requests = build_requests(users, events, horizon=Horizon("d", 1, True, cut=DAY_2), k=3)
    assert conform(requests.selectExpr("'d' as horizon", "*"), REQUESTS, "build_requests")
    at = int(DAY_2.timestamp() * 1_000_000)
    assert micros(requests) == [(0, 0, at, 3), (1, 1, at, 3), (2, 2, at, 3)]


@pytest.mark.parametrize("cut", [datetime(2024, 5, 1), datetime(2024, 5, 1, 2, tzinfo=timezone(timedelta(hours=2)))])
def test_a_cut_without_a_zone_is_utc(users, events, cut):
    requests = build_requests(users, events, horizon=Horizon("d", 1, True, cut=cut))
    assert {row[2] for row in micros(requests)} == {1_714_521_600_000_000}  # 2024-05-01T00:00:00Z


def test_without_a_cut_as_of_is_the_latest_event(users, events):
    requests = build_requests(users, events, horizon=Horizon("last_1/test", 1, True, stored_roles=True))
    assert micros(requests) == [(0, 0, int(DAY_3.timestamp() * 1_000_000), 10), (1, 1, None, 10), (2, 2, None, 10)]
    check_rows(requests.selectExpr("'d' as horizon", "*"), REQUESTS)


def test_refuses_a_request_for_nothing(users, events):
    with pytest.raises(ConfigError, match=r"requests\.k is 0"):
        build_requests(users, events, horizon=Horizon("d", 1, True, cut=DAY_2), k=0)
