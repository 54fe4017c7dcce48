"""The sections that describe sources: what is filled in, and every refusal."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from recspark.interactions.mapping import EventsMapping, ItemsMapping, UsersMapping, format_of

EVENTS = {"path": "e.csv", "columns": {"user_id": "u", "item_id": "i"}, "types": {"view": 1.0}}


def events(**more):
    return EventsMapping.model_validate({**EVENTS, **more})


def columns(**more):
    return {"user_id": "u", "item_id": "i", **more}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/e.csv", "csv"),
        ("e.TSV.gz", "csv"),
        ("u.data", "csv"),
        ("x.jsonl", "json"),
        ("d/*.parquet", "parquet"),
        ("d/", None),
        ("a.zip", None),
    ],
)
def test_the_extension_says_the_format(path, expected):
    assert format_of(path) == expected


def test_order_is_time_then_column_then_none():
    assert events(columns=columns(event_at="t", event_order="n")).resolved_order == "time"
    assert events(columns=columns(event_order="n")).resolved_order == "column"
    assert events().resolved_order == "none"
    assert events(columns=columns(event_at="t"), order="file").resolved_order == "file"


def test_the_only_type_is_the_constant():
    assert events().constant_type == "view"
    assert events(types={"view": 1, "buy": 3}, event_type="buy").constant_type == "buy"
    assert events(columns=columns(event_type="what")).constant_type is None


def test_a_table_is_delta_and_options_keep_their_types():
    assert events(path=None, table="main.shop.events").format == "delta"
    assert events(options={"header": False, "sep": "\t"}).options == {"header": False, "sep": "\t"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"path": None}, "say where the source lies"),
        ({"table": "a.b"}, "not both"),
        ({"path": "folder"}, "does not say which format"),
        ({"path": ["a.csv", "b.json"]}, "does not say which format"),
        ({"path": ["a", "b"], "format": "delta"}, "a Delta source is one table"),
        ({"path": None, "table": "a.b", "format": "csv"}, "does not go with `table`"),
        ({"options": {"mode": "DROPMALFORMED"}}, "recspark sets this itself"),
        ({"kolumns": {}}, "Extra inputs are not permitted"),
        ({"types": {}}, "at least one event type"),
        ({"types": {"view": float("nan")}}, "finite number"),
        ({"types": {"view": 1, "buy": 2}}, "nothing says which of the types"),
        ({"event_type": "buy"}, "not among the types"),
        ({"event_type": "view", "columns": columns(event_type="w")}, "keep one"),
        ({"aliases": {"1": "buy"}}, "aliases lead to buy"),
        ({"columns": {"user_id": "u", "item_id": "u"}}, "name two columns"),
        ({"order": "time"}, "map columns.event_at"),
        ({"order": "column"}, "map columns.event_order"),
        ({"order": "file", "path": "d", "format": "delta"}, "keeps no order of rows"),
        ({"value_bounds": {"min": 5, "max": 1}}, "min 5.0 is above max 1.0"),
        ({"time": {"format": "sekunden"}}, "neither seconds"),
        ({"time": {"format": "yyyy-mm-dd"}}, "mm are minutes"),
        ({"time": {"format": "dd/MM HH:mm"}}, "lacks a year"),
        ({"time": {"zone": "Mars/Olympus"}}, "zone 'Mars/Olympus' is unknown"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(more, words):
    with pytest.raises(ValidationError, match=words):
        events(**more)


def test_patterns_and_zones_that_fit():
    for time in ({"format": "dd/MM/yyyy'T'HH:mm:ss.SSS"}, {"format": "yyyyDDD"}, {"zone": "+02:00"}, {"zone": "Europe/Paris"}):
        assert events(columns=columns(event_at="t"), time=time).time


def test_items_and_users():
    items = ItemsMapping(path="i.csv", columns={"item_id": "id", "title": "name"}, category_separator="|", attributes=["year"])
    assert (items.roles, items.kept) == ({"item_id": "id", "title": "name"}, ["year"])
    assert UsersMapping(path="u.csv", columns={"user_id": "id"}).roles == {"user_id": "id"}
    with pytest.raises(ValidationError, match="category_separator is empty"):
        ItemsMapping(path="i.csv", columns={"item_id": "id"}, category_separator="")
