"""Splits, and who sees which events."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from recspark.errors import LineageError, SplitError
from recspark.interactions.flagged import build_flagged_users
from recspark.interactions.horizons import SplitSpec
from recspark.interactions.roles import keep_rows
from recspark.interactions.splits import build_splits
from recspark.tables import FLAGGED_USERS, INTERACTIONS, SPLITS
from recspark.tables.horizon import Horizon

LAST_N = SplitSpec(kind="last_n", n_fit=1, n_tune=1, n_test=2)
ALL = ("learn", "context", "label", "hidden")


def at(part, stem="last_2"):
    return Horizon(f"{stem}/{part}", 1, closed=True, stored_roles=True)


def event(key, user=0, item=None, order=None, event_type="view", day=None):
    moment = datetime(2025, 1, day, tzinfo=UTC) if day else None
    return {
        "user_idx": user,
        "item_idx": key if item is None else item,
        "event_type": event_type,
        "event_order": key if order is None else order,
        "event_key": key,
        "event_at": moment,
    }


def roles_of(splits):
    return {row["event_key"]: row["role"] for row in splits.collect()}


def keys(frame):
    return sorted(row["event_key"] for row in frame.collect())


@pytest.mark.parametrize("n_partitions", [1, 2, 7])
def test_last_n_nests_the_parts(table, n_partitions):
    rows = table(INTERACTIONS, [event(key) for key in (5, 3, 1, 4, 2, 6)] + [event(7, user=1)]).repartition(n_partitions)
    found = {part: roles_of(build_splits(rows, horizon=at(part), spec=LAST_N)) for part in ("fit", "tune", "test")}
    assert found == {
        "test": {7: "label", 6: "label", 5: "label"},
        "tune": {7: "hidden", 6: "hidden", 5: "hidden", 4: "label"},
        "fit": {7: "hidden", 6: "hidden", 5: "hidden", 4: "hidden", 3: "label"},
    }
    assert roles_of(build_splits(rows, horizon=Horizon("serve", 1, False), spec=LAST_N)) == {}


def test_ties_of_order_fall_to_item_then_type(table):
    rows = [event(1, item=9, order=5), event(2, item=8, order=5, event_type="a"), event(3, item=8, order=5, event_type="b")]
    spec = SplitSpec(kind="last_n", n_fit=1, n_tune=1, n_test=1)
    frame = table(INTERACTIONS, rows)
    assert [roles_of(build_splits(frame, horizon=at(part, "last_1"), spec=spec)) for part in ("test", "tune")] == [
        {1: "label"},
        {1: "hidden", 3: "label"},
    ]


def test_without_an_order_nothing_is_last(table):
    with pytest.raises(SplitError, match=r"events.order: none"):
        build_splits(table(INTERACTIONS, []), horizon=at("test"), spec=LAST_N, order="none")


def test_random_draws_shares_by_key_and_seed(table):
    frame = table(INTERACTIONS, [event(key * 7919) for key in range(2000)])
    spec = SplitSpec(kind="random", share_test=0.2, share_tune=0.1, share_fit=0.1)
    found = {
        part: roles_of(build_splits(frame, horizon=at(part, "random_0.2"), spec=spec, order="none")) for part in ("fit", "tune", "test")
    }
    labels = {part: {key for key, role in roles.items() if role == "label"} for part, roles in found.items()}
    assert 340 < len(labels["test"]) < 460  # 400 expected, standard deviation 18
    assert 140 < len(labels["tune"]) < 260
    assert {key for key, role in found["fit"].items() if role == "hidden"} == labels["tune"] | labels["test"]
    other = SplitSpec(kind="random", share_test=0.2, seed=1)
    assert set(roles_of(build_splits(frame, horizon=at("test", "random_0.2"), spec=other))) != labels["test"]


CUT = Horizon("2025-01-10", 1, True, cut=datetime(2025, 1, 10, tzinfo=UTC), label_until=datetime(2025, 1, 12, tzinfo=UTC))
BY_TIME = [
    event(1, item=1, day=1),
    event(2, item=2, day=9),
    event(3, item=3, day=10),  # at the cut itself: a label
    event(4, item=1, day=11),  # a repeat after the cut
    event(5, item=4, day=12),  # after the window
    event(6, item=2, day=3, order=0, event_type="buy"),
    event(7, item=2, day=4, user=1),
    event(8, item=9),  # no time at all
]


@pytest.mark.parametrize(
    ("roles", "repeats", "expected"),
    [
        (("learn",), "earliest", [1, 2, 6, 7]),
        (("label",), "earliest", [3]),
        (("hidden",), "earliest", [5]),
        (("label",), "latest", [3, 4]),
        (("label",), "all", [3, 4]),
        (("learn", "label"), "earliest", [1, 2, 3, 6, 7]),
        (("learn", "label"), "latest", [1, 2, 3, 4, 6, 7]),
    ],
)
def test_a_cut_in_time(table, roles, repeats, expected):
    frame = table(INTERACTIONS, BY_TIME)
    kept = keep_rows(frame, None, None, horizon=CUT, roles=roles, repeats=repeats)
    assert keys(kept) == expected
    assert kept.columns == frame.columns


def test_repeats_keep_the_earliest_or_the_latest_visible(table):
    rows = [event(1, item=1, day=1), event(2, item=1, day=2), event(3, item=1, day=11)]
    found = {
        kind: keys(keep_rows(table(INTERACTIONS, rows), None, None, horizon=CUT, roles=("learn",), repeats=kind))
        for kind in ("earliest", "latest", "all")
    }
    assert found == {"earliest": [1], "latest": [2], "all": [1, 2]}


def test_a_late_event_that_is_old_moves_in_front(table):
    rows = [event(1, item=1, day=5, order=50), event(2, item=1, day=2, order=20)]  # the second was delivered later
    assert keys(keep_rows(table(INTERACTIONS, rows), None, None, horizon=CUT, roles=("learn",))) == [2]


def test_stored_roles(table):
    rows = table(INTERACTIONS, [event(1), event(2), event(3), event(4, item=1)])
    splits = table(
        SPLITS,
        [
            {"user_idx": 0, "event_key": 2, "role": "label"},
            {"user_idx": 0, "event_key": 3, "role": "hidden"},
            {"user_idx": 9, "event_key": 1, "role": "label"},
        ],
    )
    wanted = {("learn",): [1], ("learn", "context"): [1], ("label",): [2], ("hidden",): [3], ("learn", "hidden"): [1, 3], ALL: [1, 2, 3]}
    assert {roles: keys(keep_rows(rows, splits, None, horizon=at("test"), roles=roles)) for roles in wanted} == wanted
    assert keys(keep_rows(rows, splits, None, horizon=at("test"), roles=("learn",), repeats="all")) == [1, 4]
    assert keys(keep_rows(rows, splits, None, horizon=at("test"), roles=("learn",), repeats="latest")) == [4]
    # The job that writes the split sees everything, and at serve there is nothing to hold out.
    assert keys(keep_rows(rows, None, None, horizon=at("test"), roles=ALL)) == [1, 2, 3]
    assert keys(keep_rows(rows, None, None, horizon=Horizon("serve", 1, False), roles=("label",))) == []


def test_every_repeat_lies_where_its_first_event_lies(table):
    # By order: items 1, 2, 1 again, 3; the label 4, again 4; then 1 again, after the label.
    rows = table(INTERACTIONS, [event(key, item=item) for key, item in enumerate([1, 2, 1, 3, 4, 4, 1], start=1)])
    splits = table(SPLITS, [{"user_idx": 0, "event_key": 5, "role": "label"}])
    past = {"horizon": at("test"), "roles": ("learn", "context"), "every_repeat": True}
    kept = keep_rows(rows, splits, None, **past)
    assert keys(kept) == [1, 2, 3, 4]
    assert kept.columns == rows.columns
    assert keys(keep_rows(rows, splits, None, **(past | {"every_repeat": False}))) == [1, 2, 4]
    assert keys(keep_rows(rows, splits, None, **(past | {"roles": ("label",)}))) == [5]
    # Drawn at random: a first event that is a label hides its repeats, wherever they lie.
    drawn = table(SPLITS, [{"user_idx": 0, "event_key": 1, "role": "label"}])
    assert keys(keep_rows(rows, drawn, None, **past)) == [2, 4, 5]
    # Nothing is held out; and by time, what lies before the cut.
    assert keys(keep_rows(rows, None, None, **(past | {"horizon": Horizon("serve", 1, False)}))) == [1, 2, 3, 4, 5, 6, 7]
    timed = table(INTERACTIONS, [event(1, item=1, day=1), event(2, item=1, day=9), event(3, item=1, day=10)])
    for repeats in ("earliest", "latest", "all"):
        assert keys(keep_rows(timed, None, None, **(past | {"horizon": CUT}), repeats=repeats)) == [1, 2]


def test_flagged_users_give_context_only(table):
    rows = table(INTERACTIONS, [event(1), event(2, user=1), event(3, user=1, day=None)])
    splits = table(SPLITS, [{"user_idx": 1, "event_key": 3, "role": "label"}])
    flagged = table(FLAGGED_USERS, [{"user_idx": 1, "n_events": 2, "reason": "r"}])
    wanted = {
        ("learn",): [1],
        ("context",): [2],
        ("learn", "context"): [1, 2],
        ("label",): [3],
        ("learn", "label"): [1, 3],
        ("context", "label"): [2, 3],
    }
    assert {roles: keys(keep_rows(rows, splits, flagged, horizon=at("test"), roles=roles)) for roles in wanted} == wanted
    assert keys(keep_rows(rows, splits, None, horizon=at("test"), roles=("context",))) == []


def test_learnt_rows_do_not_depend_on_what_comes_after_the_cut(table):
    before = [row for row in BY_TIME if row["event_key"] in (1, 2, 6, 7)]
    for repeats in ("earliest", "latest", "all"):
        whole, past = (
            keep_rows(table(INTERACTIONS, rows), None, None, horizon=CUT, roles=("learn",), repeats=repeats) for rows in (BY_TIME, before)
        )
        assert keys(whole) == keys(past)


def test_unknown_roles_are_refused(table):
    with pytest.raises(LineageError, match="there are learn, context, label and hidden"):
        keep_rows(table(INTERACTIONS, []), None, None, horizon=CUT, roles=("train",))


def test_too_active_users_are_flagged(table):
    rows = table(INTERACTIONS, [event(key, user=key % 2 if key < 4 else 0) for key in range(6)])  # user 0: keys 0, 2, 4, 5
    plain = {"horizon": at("test"), "spec": LAST_N}
    found = build_flagged_users(rows, **plain, max_events=3).collect()
    assert [tuple(row) for row in found] == [(0, 4, "more than 3 events at the cut (flagged_users.max_events)")]
    assert build_flagged_users(rows, **plain, max_events=4).collect() == []
    assert build_flagged_users(rows, **plain).collect() == []
