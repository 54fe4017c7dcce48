from datetime import UTC, datetime, timedelta

import pytest

from jobs.seen import JOB
from recspark.errors import ConfigError
from recspark.examples.seen import build_seen
from recspark.interactions.roles import keep_rows
from recspark.tables import INTERACTIONS, REQUESTS, SEEN, USER_LISTS
from recspark.tables.contract import check_rows, conform
from recspark.tables.horizon import Horizon

NOW = datetime(2024, 5, 31, tzinfo=UTC)
NIGHT = Horizon("2024-05-31", 1, closed=True, cut=NOW)
# user, item, type, days before NOW
EVENTS = [
    (0, 9, "buy", 40),
    (0, 5, "browse", 10),
    (0, 5, "browse", 3),
    (0, 2, "buy", 10),
    (0, 3, "buy", None),
    (0, 4, "buy", -1),  # after as_of
    (1, 2, "browse", 10.5),
]


@pytest.fixture
def events(table):
    rows = [
        {"user_idx": u, "item_idx": i, "event_type": kind, "event_at": None if days is None else NOW - timedelta(days=days)}
        for u, i, kind, days in EVENTS
    ]
    return table(INTERACTIONS, rows)


@pytest.fixture
def requests(table):
    return table(REQUESTS, [{"request_idx": 10 + user, "user_idx": user, "as_of": NOW, "k": 5} for user in range(3)])


def items(frame):
    return {row.request_idx: row["items"] for row in frame.collect()}


def test_never_again_hides_everything_up_to_as_of(events, requests):
    seen = build_seen(events, requests, None, horizon=NIGHT)
    check_rows(conform(seen.selectExpr("'d' as horizon", "*"), SEEN, "build_seen"), SEEN)
    assert items(seen) == {10: [2, 3, 5, 9], 11: [2]}


def test_window_counts_back_from_as_of_and_keeps_events_without_time(events, requests):
    assert items(build_seen(events, requests, None, horizon=NIGHT, policy="window", window_days=10)) == {10: [2, 3, 5]}
    assert items(build_seen(events, requests, None, horizon=NIGHT, policy="window", window_days=10.5)) == {10: [2, 3, 5], 11: [2]}
    assert items(build_seen(events, requests, None, horizon=NIGHT, policy="window", window_days=5)) == {10: [3, 5]}


def test_a_repeat_within_the_window_hides_what_was_first_seen_long_ago(table, requests):
    rows = [(400, 1), (3, 2)]  # days before NOW, event_key: the view keeps the earliest of repeats for models
    bought = [
        {"user_idx": 0, "item_idx": 7, "event_type": "buy", "event_at": NOW - timedelta(days=days), "event_order": -days, "event_key": key}
        for days, key in rows
    ]
    marker = next(one.marker for one in JOB.inputs if one.parameter == "interactions")
    view = keep_rows(
        table(INTERACTIONS, bought), None, None, horizon=NIGHT, roles=marker.roles, repeats="earliest", every_repeat=marker.every_repeat
    )
    assert items(build_seen(view, requests, None, horizon=NIGHT, policy="window", window_days=30)) == {10: [7]}
    assert items(build_seen(view, requests, None, horizon=NIGHT, policy="window", window_days=2)) == {}


def test_only_the_named_types_hide(events, requests):
    assert items(build_seen(events, requests, None, horizon=NIGHT, types=["browse"])) == {10: [5], 11: [2]}
    assert items(build_seen(events, requests, None, horizon=NIGHT, types=[])) == {}


def test_allowed_hides_nothing(events, requests):
    seen = build_seen(events, requests, None, horizon=NIGHT, policy="allowed")
    assert items(seen) == {}
    conform(seen.selectExpr("'d' as horizon", "*"), SEEN, "build_seen")


def test_a_request_without_a_moment_hides_everything(events, requests):
    timeless = requests.selectExpr("request_idx", "user_idx", "cast(null as timestamp) as_of", "k")
    assert items(build_seen(events, timeless, None, horizon=NIGHT, policy="window", window_days=1)) == {10: [2, 3, 4, 5, 9], 11: [2]}


@pytest.mark.parametrize(("days", "words"), [(None, "window_days is not set"), (0, "window_days is 0"), (-1.5, "window_days is -1.5")])
def test_refuses_a_window_without_days(events, requests, days, words):
    with pytest.raises(ConfigError, match=words):
        build_seen(events, requests, None, horizon=NIGHT, policy="window", window_days=days)


LISTS = [
    (0, 7, "block"),
    (0, 9, "block"),  # seen too
    (0, 5, "allow"),  # seen: hidden stays hidden
    (0, 8, "allow"),
    (0, 1, "allow"),
    (1, None, "block"),  # an unknown item
    (2, None, "allow"),
    (None, 3, "block"),  # an unknown user
    (99, 3, "allow"),  # no request
]


@pytest.fixture
def user_lists(table):
    return table(USER_LISTS, [dict(zip(("user_idx", "item_idx", "kind"), row, strict=True)) for row in LISTS])


def lists(frame):
    return {row.request_idx: (row["items"], row.allowed) for row in frame.collect()}


def test_block_lists_hide_and_allow_lists_restrict(events, requests, user_lists):
    seen = build_seen(events, requests, user_lists, horizon=NIGHT)
    check_rows(conform(seen.selectExpr("'d' as horizon", "*"), SEEN, "build_seen"), SEEN)
    # User 2 is allowed nothing that anybody knows.
    assert lists(seen) == {10: ([2, 3, 5, 7, 9], [1, 5, 8]), 11: ([2], None), 12: ([], [])}
    # For lists that hold what was seen.
    assert lists(build_seen(events, requests, user_lists, horizon=NIGHT, policy="allowed")) == {
        10: ([7, 9], [1, 5, 8]),
        11: ([], None),
        12: ([], []),
    }


def test_lists_hold_at_the_named_horizons_only(events, requests, user_lists):
    plain, restricted = {10: ([2, 3, 5, 9], None), 11: ([2], None)}, {10: ([2, 3, 5, 7, 9], [1, 5, 8]), 11: ([2], None), 12: ([], [])}
    for name, expected in (("last_1/test", restricted), ("last_1/tune", plain), ("2024-05-31", restricted)):
        horizon = Horizon(name, 1, closed=True)
        assert lists(build_seen(events, requests, user_lists, horizon=horizon, lists_at=["test", "2024-05-31"])) == expected
