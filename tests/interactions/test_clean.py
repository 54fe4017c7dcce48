"""Quarantine, duplicates and the account of a delivery."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from recspark.errors import ContractError
from recspark.interactions.clean import build_clean_events, build_intake, build_quarantine
from recspark.tables import CLEAN_EVENTS, INTAKE, LANDED_EVENTS
from recspark.tables.contract import Table, check_rows

T1, T2 = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)


def row(user="u1", item="i1", order=1, **more):
    return {"user_id": user, "item_id": item, "event_type": "view", "event_order": order, "source_file": "f", **more}


BAD = {"user_id": None, "item_id": "i", "source_file": "f", "row": '{"u":null}', "problem": "user_id is missing"}
LANDED = [
    row(order=7, event_at=T1, value=5.0),
    row(order=3, event_at=T1, value=5.0),  # the same again, earlier in the file
    row(order=1, event_at=T2, value=5.0),  # another time
    row(order=1, event_at=T1),  # no value
    row(order=1, event_at=None, value=5.0),  # no time
    row("u2", order=4),
    row("u2", order=9),  # nulls repeat too
    BAD,
    BAD,  # refused rows never collapse
]


def test_refused_rows_keep_their_reason(table):
    refused = build_quarantine(table(LANDED_EVENTS, LANDED))
    assert [tuple(r) for r in refused.collect()] == [("user_id is missing", '{"u":null}', "f")] * 2


@pytest.mark.parametrize("n_partitions", [1, 2, 7])
def test_exact_repetitions_collapse_to_the_one_that_sorts_first(table, n_partitions):
    landed = table(LANDED_EVENTS, LANDED).repartition(n_partitions)
    clean = build_clean_events(landed, table(CLEAN_EVENTS, []), order="file")
    found = sorted((r.user_id, str(r.value), r.event_at is None, r.event_order) for r in clean.collect())
    assert found == [
        ("u1", "5.0", False, 1),
        ("u1", "5.0", False, 3),
        ("u1", "5.0", True, 1),
        ("u1", "None", False, 1),
        ("u2", "None", True, 4),
    ]
    assert clean.select("event_key").distinct().count() == 5


def test_an_event_that_is_held_out_anywhere_is_held_out(table):
    landed = table(LANDED_EVENTS, [row(), row(part="test"), row("u2"), row("u3", part="context")])
    for order in ("none", "column"):
        clean = build_clean_events(landed, table(CLEAN_EVENTS, []), order=order)
        assert {r.user_id: r.part for r in clean.collect()} == {"u1": "test", "u2": None, "u3": "context"}
        assert clean.count() == 3


def test_a_column_of_order_tells_events_apart(table):
    landed = table(LANDED_EVENTS, [row(order=1), row(order=2), row(order=2)])
    clean = build_clean_events(landed, table(CLEAN_EVENTS, []), order="column")
    assert sorted(r.event_order for r in clean.collect()) == [1, 2]


def test_what_an_earlier_delivery_brought_is_no_news(table):
    nothing = table(CLEAN_EVENTS, [])
    first = build_clean_events(table(LANDED_EVENTS, [row(order=7), row("u2", order=8)]), nothing, order="file")
    late = table(LANDED_EVENTS, [row("u2", order=100), row("u2", order=101), row("u0", order=102), BAD])
    second = build_clean_events(late, first, order="file")
    assert [(r.user_id, r.event_order) for r in second.collect()] == [("u0", 102)]
    intake = build_intake(late, second, build_quarantine(late), first, order="file")
    assert intake.first().asDict() == {"rows_in": 4, "kept": 1, "quarantined": 1, "duplicates": 2}


def test_the_account_adds_up_and_an_empty_delivery_has_one(table):
    nothing, landed = table(CLEAN_EVENTS, []), table(LANDED_EVENTS, LANDED)
    clean = build_clean_events(landed, nothing)
    assert build_intake(landed, clean, build_quarantine(landed), nothing).first().asDict() == {
        "rows_in": 9,
        "kept": 5,
        "quarantined": 2,
        "duplicates": 2,
    }
    empty = table(LANDED_EVENTS, [])
    assert list(build_intake(empty, nothing, build_quarantine(empty), nothing).first()) == [0, 0, 0, 0]


def test_rows_that_go_missing_break_the_account(table):
    nothing, landed = table(CLEAN_EVENTS, []), table(LANDED_EVENTS, LANDED)
    lost_one = build_clean_events(landed, nothing).limit(4)
    intake = build_intake(landed, lost_one, build_quarantine(landed), nothing)
    unstamped = Table("intake", "", INTAKE.columns[1:], key=())
    with pytest.raises(ContractError, match="rows_in = kept"):
        check_rows(intake, unstamped)


def test_zeros_of_either_sign_are_one_event_and_nulls_are_not_values(table):
    nothing = table(CLEAN_EVENTS, [])
    micros = 1_735_689_600_000_000  # T1
    landed = table(LANDED_EVENTS, [row(value=None, event_at=T1), row(value=float(micros), event_at=None)])
    assert build_clean_events(landed, nothing).select("event_key").distinct().count() == 2
