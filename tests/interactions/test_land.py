"""Landing: every rule by a row that breaks it, every type of column by its values."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from recspark.interactions.land import count_rows, land_events, land_items, land_users
from recspark.interactions.mapping import EventsMapping, ItemsMapping, UsersMapping
from recspark.runtime.rows import as_frame
from recspark.tables import CLEAN_ITEMS, CLEAN_USERS, LANDED_EVENTS
from recspark.tables.contract import STAMPED

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
SEP_1 = 1_725_148_800  # 2024-09-01 00:00:00 UTC


@pytest.fixture
def source(spark):
    """Rows of a source; columns typed by DDL; `_file` and `_position` added."""

    def make(ddl, *rows):
        return as_frame(spark, [(*row, "f.csv", i) for i, row in enumerate(rows)], f"{ddl}, _file string, _position bigint")

    return make


def mapping(**more):
    given = {"path": "e.csv", "types": {"view": 1.0, "buy": 3.0}, "event_type": "view", **more}
    given["columns"] = {"user_id": "u", "item_id": "i", **given.get("columns", {})}
    if "event_type" in given["columns"]:
        given["event_type"] = None
    return EventsMapping.model_validate(given)


def land(frame, wanted, *names):
    landed = land_events(frame, mapping=wanted, now=NOW)
    fits = [(c.name, c.type) for c in LANDED_EVENTS.columns if c.name not in STAMPED]
    assert [(field.name, field.dataType.simpleString()) for field in landed.schema.fields] == fits
    return [tuple(row[name] for name in names) for row in landed.collect()]


def micros(*parts):
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000


def test_ids_stay_the_text_they_are(source):
    ids = ["007", " x ", "Ünïcødé 🎬", "99999999999999999999", "1.0"]
    frame = source("u string, i string", *((one, one) for one in ids))
    assert land(frame, mapping(), "user_id", "item_id", "problem") == [(one, one, None) for one in ids]


def test_missing_ids_are_named_and_the_row_is_kept(source):
    frame = source("u string, i string", (None, "i"), ("u", ""), (" \t\u00a0\u200b", "i"), ("u", "i"))
    assert land(frame, mapping(), "problem", "row") == [
        ("user_id is missing", '{"u":null,"i":"i"}'),
        ("item_id is missing", '{"u":"u","i":""}'),
        ("user_id is missing", json.dumps({"u": " \t\u00a0\u200b", "i": "i"}, ensure_ascii=False, separators=(",", ":"))),
        (None, None),
    ]


def test_reasons_are_rules_however_many_values_break_them(source):
    wanted = mapping(
        columns={"event_at": "t", "value": "v", "event_type": "k"}, time={"format": "yyyy-MM"}, value_bounds={"min": 0, "max": 5}
    )
    rows = [("u", "i", f"no {n}", "1", "view") for n in range(30)]
    rows += [("u", "i", "2024-07", f"{n + 6}", "view") for n in range(30)] + [("u", "i", "2024-07", "1", f"kind {n}") for n in range(30)]
    reasons = [row[0] for row in land(source("u string, i string, t string, v string, k string", *rows), wanted, "problem")]
    assert sorted(set(reasons)) == [
        "event_at is no time of the format 'yyyy-MM'",
        "event_type is not one of view, buy (events.types, events.aliases)",
        "value is above value_bounds.max 5",
    ]
    assert [reasons.count(reason) for reason in sorted(set(reasons))] == [30, 30, 30]


def test_ids_that_were_no_text_are_refused_not_merged(source):
    """Latin-1 read as UTF-8: Zoë and Zoé would be one user."""
    names = [name.encode("latin-1").decode("utf-8", errors="replace") for name in ("Zoë", "Zoé")]
    assert names[0] == names[1]
    frame = source("u string, i string", (names[0], "i"), (names[1], "i"), ("u", names[0]), ("Zoë", "i"))
    assert land(frame, mapping(), "problem") == [
        ("user_id is not UTF-8; set events.options.encoding",),
        ("user_id is not UTF-8; set events.options.encoding",),
        ("item_id is not UTF-8; set events.options.encoding",),
        (None,),
    ]
    users = UsersMapping(path="u.csv", columns={"user_id": "u"})
    assert [row.user_id for row in land_users(frame.limit(1), mapping=users).collect()] == []
    assert count_rows(frame, mapping=users).first().asDict() == {"rows_in": 4, "kept": 2, "refused": 2, "repeated": 0}


def test_ids_of_numeric_columns(source):
    frame = source(
        "u double, i decimal(10,2)",
        (3.0, Decimal("12.00")),
        (2.0**40, Decimal("12.50")),
        (1.5, Decimal("-1.00")),
        (float("nan"), Decimal("1.00")),
        (1e20, Decimal("1.00")),
    )
    assert land(frame, mapping(), "user_id", "item_id", "problem") == [
        ("3", "12", None),
        ("1099511627776", "12.50", None),
        ("1.5", "-1", None),
        (None, "1", "user_id is missing"),
        ("1.0E20", "1", None),
    ]
    longs = source("u bigint, i int", (2**40, 7))
    assert land(longs, mapping(), "user_id", "item_id") == [("1099511627776", "7")]


def test_types_are_known_or_aliased(source):
    wanted = mapping(columns={"event_type": "t"}, aliases={"1": "view", "purchase": "buy"})
    frame = source("u string, i string, t string", *(("u", "i", t) for t in ("view", "purchase", "1", "View", None, "like")))
    known = "is not one of view, buy (events.types, events.aliases)"
    assert land(frame, wanted, "event_type", "problem") == [
        ("view", None),
        ("buy", None),
        ("view", None),
        ("View", f"event_type {known}"),
        (None, "event_type is missing"),
        ("like", f"event_type {known}"),
    ]
    numbers = source("u string, i string, t int", ("u", "i", 1))
    assert land(numbers, wanted, "event_type") == [("view",)]


def test_values_are_finite_numbers_within_bounds_or_missing(source):
    wanted = mapping(columns={"value": "v"}, value_bounds={"min": 0.5, "max": 5})
    texts = [" 4.5 ", "", None, "abc", "4,5", "NaN", "Infinity", "1e999", "3d", "0", "5.1"]
    frame = source("u string, i string, v string", *(("u", "i", text) for text in texts))
    assert land(frame, wanted, "value", "problem") == [
        (4.5, None),
        (None, None),
        (None, None),
        (None, "value is no number"),
        (None, "value is no number"),
        (None, "value is not finite"),
        (None, "value is not finite"),
        (None, "value is not finite"),
        (None, "value is no number"),
        (0.0, "value is below value_bounds.min 0.5"),
        (5.1, "value is above value_bounds.max 5"),
    ]
    doubles = source("u string, i string, v double", ("u", "i", 2.0), ("u", "i", float("inf")), ("u", "i", None))
    assert land(doubles, wanted, "value", "problem") == [(2.0, None), (None, "value is not finite"), (None, None)]


@pytest.mark.parametrize(("unit", "factor"), [("seconds", 1), ("milliseconds", 1_000), ("microseconds", 1_000_000)])
def test_times_since_1970(source, unit, factor):
    wanted = mapping(columns={"event_at": "t"}, time={"format": unit})
    expected = [(SEP_1 * 1_000_000, None)]
    assert land(source("u string, i string, t string", ("u", "i", f" {SEP_1 * factor} ")), wanted, "event_order", "problem") == expected
    assert land(source("u string, i string, t bigint", ("u", "i", SEP_1 * factor)), wanted, "event_order", "problem") == expected
    assert land(source("u string, i string, t double", ("u", "i", float(SEP_1 * factor))), wanted, "event_order", "problem") == expected


def test_fractions_of_seconds_are_kept(source):
    wanted = mapping(columns={"event_at": "t"}, time={"format": "seconds"})
    assert land(source("u string, i string, t string", ("u", "i", f"{SEP_1}.25")), wanted, "event_order") == [
        (SEP_1 * 1_000_000 + 250_000,)
    ]


def test_iso_times_and_their_zones(source):
    wanted = mapping(columns={"event_at": "t"}, time={"zone": "Europe/Paris"})  # UTC+2 in summer, UTC+1 in winter
    cases = {
        "2024-07-01T12:00:00Z": micros(2024, 7, 1, 12),
        "2024-07-01T12:00:00+05:30": micros(2024, 7, 1, 6, 30),
        "2024-07-01 12:00:00 UTC": micros(2024, 7, 1, 12),
        "2024-07-01 12:00:00": micros(2024, 7, 1, 10),
        "2024-01-01T12:00": micros(2024, 1, 1, 11),
        "2024-07-02": micros(2024, 7, 1, 22),
    }
    frame = source("u string, i string, t string", *(("u", "i", text) for text in cases))
    assert land(frame, wanted, "event_order", "problem") == [(at, None) for at in cases.values()]


def test_times_by_pattern(source):
    naive = mapping(columns={"event_at": "t"}, time={"format": "dd/MM/yyyy HH:mm", "zone": "+02:00"})
    frame = source("u string, i string, t string", ("u", "i", "01/07/2024 12:00"), ("u", "i", "07/31/2024 12:00"))
    assert land(frame, naive, "event_order", "problem") == [
        (micros(2024, 7, 1, 10), None),
        (None, "event_at is no time of the format 'dd/MM/yyyy HH:mm'"),
    ]
    zoned = mapping(columns={"event_at": "t"}, time={"format": "yyyyMMdd HHmm xx", "zone": "+02:00"})
    assert land(source("u string, i string, t string", ("u", "i", "20240701 1200 +0100")), zoned, "event_order") == [
        (micros(2024, 7, 1, 11),)
    ]


def test_typed_times(source):
    wanted = mapping(columns={"event_at": "t"}, time={"zone": "+02:00"})
    instants = source("u string, i string, t timestamp", ("u", "i", datetime(2024, 7, 1, 12, tzinfo=UTC)))
    assert land(instants, wanted, "event_order") == [(micros(2024, 7, 1, 12),)]
    naive = source("u string, i string, t timestamp_ntz", ("u", "i", datetime(2024, 7, 1, 12)))
    assert land(naive, wanted, "event_order") == [(micros(2024, 7, 1, 10),)]
    days = source("u string, i string, t date", ("u", "i", date(2024, 7, 1)))
    assert land(days, wanted, "event_order") == [(micros(2024, 6, 30, 22),)]


def test_impossible_times_are_refused(source):
    wanted = mapping(columns={"event_at": "t"})
    texts = ["12:30", "2024-02-30", "soon", None, " ", "2025-06-01T12:00:00Z", "2025-06-01T12:00:01Z", "1970-01-20T00:00:00Z"]
    frame = source("u string, i string, t string", *(("u", "i", text) for text in texts))
    assert [row[0] for row in land(frame, wanted, "problem")] == [
        "event_at is no time of the format 'iso'",
        "event_at is no time of the format 'iso'",
        "event_at is no time of the format 'iso'",
        "event_at is missing",
        "event_at is missing",
        None,
        "event_at is after the run's now; check time.format",
        "event_at is before 1990-01-01; check time.format, or lower time.earliest",
    ]
    old = mapping(columns={"event_at": "t"}, time={"earliest": "1960-01-01"})
    assert land(source("u string, i string, t string", ("u", "i", "1965-01-01")), old, "problem") == [(None,)]
    huge = mapping(columns={"event_at": "t"}, time={"format": "seconds"})
    assert "after the run's now" in land(source("u string, i string, t bigint", ("u", "i", SEP_1 * 1000)), huge, "problem")[0][0]


def test_order_by_column_by_file_and_none(source):
    by_column = mapping(columns={"event_order": "n"})
    frame = source("u string, i string, n string", ("u", "i", "12"), ("u", "i", "1.5"), ("u", "i", None), ("u", "i", "-3"))
    assert land(frame, by_column, "event_order", "problem") == [
        (12, None),
        (None, "event_order is no whole number"),
        (None, "event_order is no whole number"),
        (-3, None),
    ]
    assert land(frame, mapping(order="file"), "event_order") == [(0,), (1,), (2,), (3,)]
    assert land(frame, mapping(), "event_order", "event_at") == [(0, None)] * 4


def test_the_first_rule_that_breaks_wins_and_damage_comes_first(source):
    wanted = mapping(columns={"event_type": "t", "value": "v"})
    frame = source(
        "u string, i string, t string, v string, _damaged string", ("u", None, "x", "y", "u,,x,y,z"), ("u", None, "x", "y", None)
    )
    assert land(frame, wanted, "problem", "row", "source_file") == [
        ("the line does not parse: too few or too many fields, or broken quotes", '{"line":"u,,x,y,z"}', "f.csv"),
        ("item_id is missing", '{"u":"u","i":null,"t":"x","v":"y"}', "f.csv"),
    ]


def test_columns_with_odd_names(source):
    wanted = mapping(columns={"user_id": "user.id", "item_id": "the `item`"})
    assert land(source("`user.id` string, `the ``item``` string", ("u", "i")), wanted, "user_id", "item_id") == [("u", "i")]


def test_items(source):
    wanted = ItemsMapping(
        path="i.csv",
        columns={"item_id": "id", "title": "name", "categories": "cats", "available": "on"},
        category_separator="|",
        attributes=["year", "size"],
    )
    frame = source(
        "id string, name string, cats string, on string, year int, size double",
        ("1", "old", "Drama", "1", 1990, 2.0),
        ("1", "new", " Action | Drama||Action", "No", 1995, 2.5),
        ("2", " ", None, None, None, None),
        (None, "lost", "Drama", "1", 1, 1.0),
    )
    landed = land_items(frame, mapping=wanted)
    assert [(f.name, f.dataType.simpleString()) for f in landed.schema.fields] == [(c.name, c.type) for c in CLEAN_ITEMS.columns]
    assert sorted(tuple(row) for row in landed.collect()) == [
        ("1", "new", ["Action", "Drama"], {"year": "1995", "size": "2.5"}, False),
        ("2", None, [], {}, True),
    ]
    assert count_rows(frame, mapping=wanted).first().asDict() == {"rows_in": 4, "kept": 2, "refused": 1, "repeated": 1}


def test_items_with_lists_and_without_an_order_of_rows(spark):
    wanted = ItemsMapping(path="i", format="delta", columns={"item_id": "id", "categories": "cats"})
    rows = [(1, ["a", None, "b"], "f", 0), (1, ["c"], "f", 0)]
    found = []
    for data in (rows, rows[::-1]):
        frame = as_frame(spark, data, "id bigint, cats array<string>, _file string, _position bigint").repartition(2)
        found.append([tuple(row) for row in land_items(frame, mapping=wanted).collect()])
    assert found[0] == found[1]
    assert len(found[0]) == 1


def test_users(source):
    wanted = UsersMapping(path="u.csv", columns={"user_id": "id"}, attributes=["age", "tags"])
    frame = source("id double, age string, tags array<string>", (1.0, "30", ["a"]), (2.0, None, None))
    landed = land_users(frame, mapping=wanted)
    assert [(f.name, f.dataType.simpleString()) for f in landed.schema.fields] == [(c.name, c.type) for c in CLEAN_USERS.columns]
    assert sorted(tuple(row) for row in landed.collect()) == [("1", {"age": "30", "tags": '["a"]'}), ("2", {})]


def test_what_is_held_out_is_told_by_the_file_or_by_a_column(spark):
    files = ["file:/data/train.csv", "file:/data/test.csv", "file:/data/latest.csv", "s3://logs/valid/part-1.csv"]
    frame = as_frame(spark, [("u", f"i{n}", file, n) for n, file in enumerate(files)], "u string, i string, _file string, _position bigint")
    by_file = mapping(parts={"test": "test.csv", "tune": ["no.csv", "valid/*.csv"]})
    assert land(frame, by_file, "part") == [(None,), ("test",), (None,), ("tune",)]
    by_path = mapping(parts={"test": "/data/*test.csv"})
    assert land(frame, by_path, "part") == [(None,), ("test",), ("test",), (None,)]
    by_column = mapping(columns={"part": "i"}, parts={"context": "i[01]", "fit": "i3"})
    assert land(frame, by_column, "part") == [("context",), ("context",), (None,), ("fit",)]
    assert land(frame, mapping(), "part") == [(None,)] * 4
    with pytest.raises(ValueError, match="parts does not say what its values mean"):
        mapping(columns={"part": "i"})
    with pytest.raises(ValueError, match="the files of a Delta table are nobody's choice"):
        mapping(format="delta", path="d", parts={"test": "test.csv"})
