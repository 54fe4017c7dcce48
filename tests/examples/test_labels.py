import math

import pytest

from recspark.examples.labels import build_labels
from recspark.tables import INTERACTIONS, LABELS, REQUESTS, SEEN
from recspark.tables.contract import check_rows, conform

# user, item, type, value
EVENTS = [
    (0, 8, "rate", 3.0),
    (0, 8, "rate", 4.5),
    (0, 2, "rate", 2.0),
    (0, 2, "like", None),
    (0, 5, "rate", 5.0),  # seen
    (1, 6, "browse", None),
    (2, 1, "rate", 5.0),  # all of it seen
    (7, 1, "rate", 5.0),  # no request
]


@pytest.fixture
def frames(table):
    events = table(INTERACTIONS, [{"user_idx": u, "item_idx": i, "event_type": kind, "value": value} for u, i, kind, value in EVENTS])
    requests = table(REQUESTS, [{"request_idx": 10 + user, "user_idx": user, "k": 5} for user in range(4)])
    seen = table(SEEN, [{"request_idx": 10, "items": [1, 5, 9]}, {"request_idx": 12, "items": [1]}])
    return events, requests, seen


def rows(frame):
    return {
        row.request_idx: (row["items"], [None if math.isnan(v) else v for v in row["values"]], row.positive, row.n_seen)
        for row in frame.collect()
    }


def test_every_event_is_positive_by_default_and_seen_items_are_counted(frames):
    labels = build_labels(*frames)
    check_rows(conform(labels.selectExpr("'d' as horizon", "*"), LABELS, "build_labels"), LABELS)
    assert rows(labels) == {
        10: ([2, 8], [2.0, 4.5], [True, True], 1),
        11: ([6], [None], [True], 0),
        12: ([], [], [], 1),
    }


def test_type_and_value_must_hold_for_the_same_event(frames):
    labels = rows(build_labels(*frames, types=["rate"], min_value=4.0))
    assert labels[10] == ([2, 8], [2.0, 4.5], [False, True], 1)
    assert labels[11] == ([6], [None], [False], 0)


def test_a_missing_value_counts_as_one(frames):
    labels = rows(build_labels(*frames, types=["like", "browse"], min_value=1.0))
    assert labels[10] == ([2, 8], [2.0, 4.5], [True, False], 1)
    assert labels[11][2] == [True]
    assert rows(build_labels(*frames, types=["like", "browse"], min_value=1.5))[11][2] == [False]


def test_items_outside_an_allow_list_are_left_out_and_counted(table, frames):
    events, requests, _ = frames
    # 10 has labels 2, 5 and 8: 5 is seen, and not allowed either; 2 is not allowed. 11 may get nothing.
    lists = [{"request_idx": 10, "items": [1, 5], "allowed": [7, 8]}, {"request_idx": 11, "items": [], "allowed": []}]
    found = {row.request_idx: (row["items"], row.n_seen) for row in build_labels(events, requests, table(SEEN, lists)).collect()}
    assert found == {10: ([8], 2), 11: ([], 1), 12: ([1], 0)}
