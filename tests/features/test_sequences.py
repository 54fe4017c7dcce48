from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from recspark.features.sequences import build_sequences
from recspark.tables import INTERACTIONS, SEQUENCES, USER_FEATURES
from recspark.tables.contract import check_rows, conform

NOW = datetime(2024, 5, 31, tzinfo=UTC)


def event(user, item, days, kind="browse"):
    at = None if days is None else NOW - timedelta(days=days)
    order = item if days is None else int(at.timestamp() * 1_000_000)
    return {"user_idx": user, "item_idx": item, "event_type": kind, "event_at": at, "event_order": order, "event_key": 0}


@pytest.fixture
def user_features(table):
    return table(USER_FEATURES, [{"user_idx": user, "numbers": [user / 2], "categories": [user]} for user in range(2)])


@pytest.fixture
def rows(table, user_features):
    def build(events, **knobs):
        sequences = build_sequences(table(INTERACTIONS, events), user_features, types=["browse", "buy"], **knobs)
        check_rows(conform(sequences.selectExpr("'d' as horizon", "0 as shard", "*"), SEQUENCES, "build_sequences"), SEQUENCES)
        return {
            (row.user_idx, row.window): (row["items"][: row.length], row.event_types[: row.length], row.ages[: row.length])
            for row in sequences.collect()
        }

    return build


def test_learnt_events_oldest_first_with_ages_from_the_latest(rows):
    events = [event(0, 30, 1.0, "buy"), event(0, 10, 20), event(0, 20, 4), event(1, 5, None), event(1, 6, None, "wish")]
    assert rows(events, max_length=4) == {
        (0, 0): ([10, 20, 30], [1, 1, 2], [19.0, 3.0, 0.0]),
        (1, 0): ([5, 6], [1, 0], [0.0, 0.0]),
    }


def test_windows_share_an_event_so_that_every_step_stands_once(rows):
    events = [event(0, item, 10 - item) for item in range(8)] + [event(1, item, 10 - item) for item in range(5)]
    found = rows(events, max_length=3, max_windows=9)
    assert {key: row[0] for key, row in found.items()} == {
        (0, 0): [5, 6, 7],
        (0, 1): [3, 4, 5],
        (0, 2): [1, 2, 3],
        (0, 3): [0, 1],
        # Five events are two whole windows: the oldest event of the second begins no third.
        (1, 0): [2, 3, 4],
        (1, 1): [0, 1, 2],
    }
    steps = [(user, step) for (user, _), (items, _, _) in found.items() for step in pairwise(items)]
    assert sorted(steps) == [(0, (i, i + 1)) for i in range(7)] + [(1, (i, i + 1)) for i in range(4)]


def test_events_before_the_last_window_are_not_learnt_from_and_single_events_have_no_step(rows):
    events = [event(0, item, 10 - item) for item in range(8)] + [event(1, 4, 0)]
    found = rows(events, max_length=3, max_windows=2)
    assert {key: row[0] for key, row in found.items()} == {(0, 0): [5, 6, 7], (0, 1): [3, 4, 5]}


def test_padding(table, user_features):
    row = build_sequences(table(INTERACTIONS, [event(0, 1, 2), event(0, 2, 1)]), user_features, max_length=4, types=[]).collect()[0]
    assert (row["items"], row.event_types, row.ages, row.length) == ([1, 2, -1, -1], [0] * 4, [1.0, 0.0, 0.0, 0.0], 2)


def test_what_is_known_of_the_user_stands_in_each_window(table, user_features):
    """Seen are the latest event's item, then those of all events before: 7 again, as it was there before."""
    days = {7: 9, 3: 8, 5: 7}
    events = [*(event(1, item, at) for item, at in days.items()), event(1, 7, 1)]
    frame = build_sequences(table(INTERACTIONS, events), user_features, max_length=3, max_windows=2, types=[])
    known = {row.window: (row["items"], row.seen_items, row.user_numbers, row.user_categories) for row in frame.collect()}
    assert known == {
        0: ([3, 5, 7], [7, 3, 5, 7, -1, -1], [0.5], [1]),
        1: ([7, 3, -1], [7, 3, 5, 7, -1, -1], [0.5], [1]),
    }
