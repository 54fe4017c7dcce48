"""Dense indexes: the same whatever the partitions, and for ever."""

from __future__ import annotations

import pytest

from recspark.interactions.index import build_item_index, build_user_index
from recspark.interactions.interactions import index_events
from recspark.tables import CLEAN_EVENTS, CLEAN_ITEMS, CLEAN_USERS, INTERACTIONS, ITEM_INDEX, USER_INDEX
from recspark.tables.contract import STAMPED

USERS = [f"u{i}" for i in range(40)] + ["007", "7", " x ", "é", "99999999999999999999"]


def events(table, users, items=("i1",)):
    return table(CLEAN_EVENTS, [{"user_id": u, "item_id": i} for u in users for i in items])


def as_dict(frame):
    rows = frame.collect()
    found = {row[0]: row[1] for row in rows}
    assert len(found) == len(rows)
    return found


def test_indexes_are_dense_and_do_not_depend_on_partitions_or_order(table):
    nothing = table(USER_INDEX, [])
    found = [
        as_dict(build_user_index(events(table, users).repartition(n), None, nothing))
        for n, users in ((1, USERS), (2, USERS[::-1]), (7, USERS * 2))
    ]
    assert found[0] == found[1] == found[2]
    assert sorted(found[0].values()) == list(range(45))


@pytest.mark.parametrize("n_buckets", [1, 3])
def test_known_ids_keep_their_index_and_new_ones_follow(table, n_buckets):
    known = table(USER_INDEX, [{"user_id": "u1", "user_idx": 0}, {"user_id": "u0", "user_idx": 1}])
    fresh = as_dict(build_user_index(events(table, ["u0", "u1", "b", "a", "c"]), None, known, n_buckets=n_buckets))
    assert sorted(fresh) == ["a", "b", "c"]
    assert sorted(fresh.values()) == [2, 3, 4]
    if n_buckets == 1:  # in one bucket, ids in their order
        assert fresh == {"a": 2, "b": 3, "c": 4}


def test_the_users_source_brings_users_without_events(table):
    users = table(CLEAN_USERS, [{"user_id": "quiet", "attributes": {}}, {"user_id": "u", "attributes": {}}])
    assert sorted(as_dict(build_user_index(events(table, ["u"]), users, table(USER_INDEX, []), n_buckets=2))) == ["quiet", "u"]


def test_nothing_new_is_nothing(table):
    assert as_dict(build_user_index(events(table, []), None, table(USER_INDEX, []))) == {}


def test_items_are_ints_and_too_many_are_null(table):
    items = table(CLEAN_ITEMS, [{"item_id": "shelf", "categories": [], "attributes": {}, "available": True}])
    fresh = build_item_index(events(table, ["u"]), items, table(ITEM_INDEX, []))
    assert fresh.schema["item_idx"].dataType.simpleString() == "int"
    assert sorted(as_dict(fresh)) == ["i1", "shelf"]
    full = table(ITEM_INDEX, [{"item_id": "last", "item_idx": 2**31 - 2}])
    assert sorted(as_dict(build_item_index(events(table, ["u"]), items, full)).values(), key=str) == [2**31 - 1, None]


def test_every_event_finds_its_indexes(table):
    clean = table(CLEAN_EVENTS, [{"user_id": "007", "item_id": "b", "event_type": "view", "value": 2.0, "event_order": 5, "event_key": 9}])
    users = table(USER_INDEX, [{"user_id": "7", "user_idx": 0}, {"user_id": "007", "user_idx": 1}])
    items = table(ITEM_INDEX, [{"item_id": "b", "item_idx": 3}])
    found = index_events(clean, users, items)
    assert [(f.name, f.dataType.simpleString()) for f in found.schema.fields] == [
        (c.name, c.type) for c in INTERACTIONS.columns if c.name not in STAMPED
    ]
    assert [tuple(row) for row in found.collect()] == [(1, 3, "view", 2.0, None, 5, None, 9)]
