"""Splits of other protocols than last-n: what a file says, users held out, folds."""

from __future__ import annotations

import math
from datetime import datetime

import pytest

from recspark.errors import SplitError
from recspark.interactions.flagged import build_flagged_users
from recspark.interactions.horizons import SplitSpec, plan_horizons, require_stored
from recspark.interactions.roles import keep_rows
from recspark.interactions.splits import build_splits
from recspark.tables import INTERACTIONS
from recspark.tables.horizon import Horizon

N_USERS, N_EVENTS = 60, 7  # so many events of each user


def event(key, user=0, part=None):
    return {"user_idx": user, "item_idx": key, "event_type": "view", "event_order": key, "event_key": key, "part": part}


def at(part, stem="stored"):
    return Horizon(f"{stem}/{part}", 1, closed=True, stored_roles=True)


def keys(frame):
    return sorted(row["event_key"] for row in frame.collect())


def views(frame, horizon, spec, order="time"):
    """The keys that are learnt from, known of the users that are not, to be predicted, and hidden."""
    splits = build_splits(frame, horizon=horizon, spec=spec, order=order)
    unflagged = keep_rows(frame, splits, None, horizon=horizon, roles=("learn",))
    flagged = build_flagged_users(unflagged, horizon=horizon, spec=spec)
    roles = ("learn", "context", "label", "hidden")
    return {role: keys(keep_rows(frame, splits, flagged, horizon=horizon, roles=(role,))) for role in roles}


def test_what_the_source_holds_out(table):
    rows = [event(1), event(2), event(3, part="tune"), event(4, part="test"), event(5, 1, "context"), event(6, 1, "test"), event(7, 2)]
    frame = table(INTERACTIONS, rows)
    spec = SplitSpec(kind="stored", share_fit=0, share_tune=0)
    assert spec.parts({"test": "t.csv", "tune": "v.csv", "context": "c.csv"}) == ("tune", "test")
    assert views(frame, at("test"), spec, "none") == {"learn": [1, 2, 3, 7], "context": [5], "label": [4, 6], "hidden": []}
    assert views(frame, at("tune"), spec, "none") == {"learn": [1, 2, 7], "context": [5], "label": [3], "hidden": [4, 6]}
    # At serve nothing is held out, and nobody.
    assert build_flagged_users(frame, horizon=Horizon("serve", 1, closed=False), spec=spec).collect() == []


def test_further_parts_are_taken_from_the_rest_only(table):
    rows = [event(key) for key in range(1, 7)] + [event(7, part="test"), event(8, 1, "context"), event(9, 1, "context")]
    frame = table(INTERACTIONS, rows)
    counted = SplitSpec(kind="stored", n_tune=1, n_fit=2)
    assert counted.parts({"test": "t.csv"}) == ("fit", "tune", "test")
    assert views(frame, at("test"), counted)["learn"] == [1, 2, 3, 4, 5, 6]
    assert views(frame, at("tune"), counted) == {"learn": [1, 2, 3, 4, 5], "context": [8, 9], "label": [6], "hidden": [7]}
    assert views(frame, at("fit"), counted) == {"learn": [1, 2, 3], "context": [8, 9], "label": [4, 5], "hidden": [6, 7]}
    with pytest.raises(SplitError, match="stored asks for each user's last events"):
        build_splits(frame, horizon=at("test"), spec=counted, order="none")
    many = table(INTERACTIONS, [event(key * 7919, part="test" if key % 2 else None) for key in range(2000)])
    drawn = views(many, at("tune"), SplitSpec(kind="stored", share_tune=0.2, seed=1), "none")
    assert len(drawn["hidden"]) == 1000
    assert 150 < len(drawn["label"]) < 250  # 200 of 1,000 expected, the standard deviation is 13


def test_a_part_that_no_event_is_of_is_named(table):
    frame = table(INTERACTIONS, [event(1), event(2, part="test")])
    require_stored(frame, ["test"])
    with pytest.raises(SplitError, match="events.parts.tune matches no event"):
        require_stored(frame, ["test", "tune"])


@pytest.mark.parametrize("latest", [False, True])
def test_nothing_is_learnt_from_held_out_users(table, latest):
    rows = [event(user * 100 + place, user) for user in range(N_USERS) for place in range(N_EVENTS)]
    spec = SplitSpec(kind="users", share_fit=0, share_tune=0.3, share_test=0.3, share_labels=0.4, latest=latest, seed=5)
    found = views(table(INTERACTIONS, rows).repartition(3), at("test", "users_0.3"), spec)
    users = {role: {key // 100 for key in own} for role, own in found.items()}
    assert users["context"] == users["label"]
    assert not users["learn"] & (users["label"] | users["hidden"])
    assert not users["label"] & users["hidden"]
    assert sum(map(len, found.values())) == N_USERS * N_EVENTS
    assert min(len(users["label"]), len(users["hidden"])) >= 8  # 18 of 60 expected, the standard deviation is 3.5
    for user in users["label"]:
        labels = [key % 100 for key in found["label"] if key // 100 == user]
        assert len(labels) == math.floor(0.4 * N_EVENTS)
        assert not latest or labels == [N_EVENTS - 2, N_EVENTS - 1]
    other = views(table(INTERACTIONS, rows), at("tune", "users_0.3"), spec)
    assert {key // 100 for key in other["label"]} == users["hidden"]
    assert {key // 100 for key in other["learn"]} == users["learn"]


def test_who_has_one_event_only_must_be_predicted_from_nothing(table):
    rows = [event(user, user) for user in range(20)]
    found = views(table(INTERACTIONS, rows), at("test", "users_0.5"), SplitSpec(kind="users", share_test=0.5, share_fit=0, share_tune=0))
    assert found["context"] == []
    assert 4 <= len(found["label"]) <= 16
    with pytest.raises(SplitError, match="latest: true asks for"):
        build_splits(table(INTERACTIONS, rows), horizon=at("test", "users"), spec=SplitSpec(kind="users", latest=True), order="none")


def test_every_event_is_a_label_in_one_fold(table):
    frame = table(INTERACTIONS, [event(key * 7919) for key in range(1500)])
    spec = SplitSpec(kind="folds", n_folds=3, seed=2)
    planned = plan_horizons(spec, delivery=1, now=datetime(2025, 1, 1))
    assert [horizon.name for horizon in planned.values()] == ["folds_3/fold_1", "folds_3/fold_2", "folds_3/fold_3", "serve"]
    labels = [views(frame, planned[f"fold_{fold}"], spec, "none") for fold in (1, 2, 3)]
    assert sorted(key for found in labels for key in found["label"]) == keys(frame)
    for found in labels:
        assert 430 < len(found["label"]) < 570  # 500 expected, the standard deviation is 18
        assert sorted(found["learn"] + found["label"]) == keys(frame)
