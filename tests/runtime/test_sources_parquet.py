"""Parquet as pandas writes it: nanoseconds, columns of nulls, types that change from file to file."""

from __future__ import annotations

from datetime import UTC, datetime, time

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recspark.errors import SourceError
from recspark.interactions.land import land_events
from recspark.interactions.mapping import EventsMapping
from recspark.runtime.sources import list_files, read_source

NOW = datetime(2025, 1, 1, tzinfo=UTC)
NOON = int(datetime(2024, 7, 1, 12, tzinfo=UTC).timestamp()) * 1_000_000


def mapping(path, **columns):
    return EventsMapping(
        path=str(path),
        format="parquet",
        columns={"user_id": "user", "item_id": "item", **columns},
        types={"view": 1},
        time={"zone": "+02:00"},
    )


def read(spark, wanted):
    return read_source(spark, wanted, list_files(spark, wanted))


def land(spark, wanted, *names):
    landed = land_events(read(spark, wanted), mapping=wanted, now=NOW)
    return sorted((tuple(row[name] for name in names) for row in landed.collect()), key=str)


def events(**columns):
    return pd.DataFrame({"user": ["u1", "u2"], "item": ["007", "8"], **columns})


@pytest.mark.parametrize(("zone", "expected"), [(None, NOON - 7_200_000_000), ("UTC", NOON), ("Asia/Tokyo", NOON - 32_400_000_000)])
def test_times_in_nanoseconds(spark, tmp_path, zone, expected):
    """Naive times are read in the mapping's zone, which is two hours east; others say theirs."""
    at = pd.Series(pd.to_datetime(["2024-07-01 12:00:00.000001999", None], format="ISO8601")).dt.tz_localize(zone)
    assert str(at.dtype).startswith("datetime64[ns")
    events(at=at).to_parquet(tmp_path / "e.parquet")
    assert land(spark, mapping(tmp_path, event_at="at"), "user_id", "item_id", "event_order", "problem") == [
        ("u1", "007", expected + 1, None),
        ("u2", "8", None, "event_at is missing"),
    ]


def test_times_before_1970_round_down_as_others_do(spark, tmp_path):
    events(at=pd.to_datetime(["1969-12-31 23:59:59.999999999", "1969-12-31 23:59:59.999998"], format="ISO8601")).to_parquet(
        tmp_path / "e.parquet"
    )
    rows = read(spark, mapping(tmp_path)).selectExpr("unix_micros(cast(at as timestamp)) as micros").collect()
    assert sorted(row.micros for row in rows) == [-2, -1]


def test_a_column_of_nulls_is_there_and_empty(spark, tmp_path):
    frame = events(nothing=[None, None], lists=[[], []], opens=[time(9), time(10)], n=pd.Series([1, 2], dtype="uint32"))
    frame = frame.assign(at=pd.to_datetime(["2024-07-01 12:00", "2024-07-01 13:00"]), kind=pd.Categorical(["a", "b"]))
    frame.to_parquet(tmp_path / "e.parquet", index=False)
    rows = read(spark, mapping(tmp_path))
    types = {field.name: field.dataType.simpleString() for field in rows.schema.fields if not field.name.startswith("_")}
    assert types == {
        "user": "string",
        "item": "string",
        "n": "bigint",
        "at": "timestamp_ntz",
        "kind": "string",
        "nothing": "string",
        "lists": "string",
    }
    assert sorted((row.n, row.kind, row.nothing, row.lists) for row in rows.collect()) == [(1, "a", None, None), (2, "b", None, None)]
    assert land(spark, mapping(tmp_path, value="nothing"), "user_id", "value", "problem") == [("u1", None, None), ("u2", None, None)]
    with pytest.raises(SourceError, match=r"columns\.event_at: 'opens' is no column there that Spark can read"):
        read(spark, mapping(tmp_path, event_at="opens"))


def test_each_night_may_write_its_own_types(spark, tmp_path):
    """A column empty on one night; ids that became floats because one was missing; another unit of time."""
    pd.DataFrame({"user": [1, 2], "item": ["a", "b"], "stars": [None, None], "note": [1, 2]}).to_parquet(tmp_path / "1.parquet")
    pd.DataFrame({"user": [3, None], "item": ["c", "d"], "stars": [4.5, 5.0], "note": ["x", None]}).to_parquet(tmp_path / "2.parquet")
    assert land(spark, mapping(tmp_path, value="stars"), "user_id", "item_id", "value", "problem") == [
        ("1", "a", None, None),
        ("2", "b", None, None),
        ("3", "c", 4.5, None),
        (None, "d", 5.0, "user_id is missing"),
    ]
    assert sorted(row.note for row in read(spark, mapping(tmp_path)).collect() if row.note) == ["1", "2", "x"]


def test_units_of_time_may_differ_between_files(spark, tmp_path):
    at = pd.to_datetime(["2024-07-01 12:00", "2024-07-01 12:00"]).tz_localize("UTC")
    events(at=at).to_parquet(tmp_path / "1.parquet")
    events(at=at).to_parquet(tmp_path / "2.parquet", coerce_timestamps="us")
    pq.write_table(pa.Table.from_pandas(events(at=at)), tmp_path / "3.parquet", use_deprecated_int96_timestamps=True)
    assert land(spark, mapping(tmp_path, event_at="at"), "event_order", "problem") == [(NOON, None)] * 6


def test_types_that_do_not_go_together_are_named(spark, tmp_path):
    events(at=pd.to_datetime(["2024-07-01", "2024-07-02"])).to_parquet(tmp_path / "1.parquet")
    events(at=["2024-07-01", "2024-07-02"]).to_parquet(tmp_path / "2.parquet")
    with pytest.raises(SourceError, match=r"events: columns\.event_at: 'at' is timestamp_ntz in some files and string in others"):
        read(spark, mapping(tmp_path, event_at="at"))


def test_a_column_that_a_later_file_lacks_is_named_with_the_file(spark, tmp_path):
    events().to_parquet(tmp_path / "1.parquet")
    events().drop(columns="item").to_parquet(tmp_path / "2.parquet")
    with pytest.raises(SourceError, match=r"2\.parquet does not fit its mapping:\n  columns\.item_id: 'item' is no column there"):
        read(spark, mapping(tmp_path))


def test_a_cut_off_file_is_named_before_anything_is_read(spark, tmp_path):
    events().to_parquet(tmp_path / "1.parquet")
    whole = (tmp_path / "1.parquet").read_bytes()
    (tmp_path / "2.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"events: the file file:\S+/2\.parquet cannot be read: .*; mend or remove it"):
        read(spark, mapping(tmp_path))
