"""Few rows of the driver's as a frame."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from recspark.runtime.rows import as_frame

SCHEMA = "n bigint, at timestamp, counts map<string,bigint>, pairs array<struct<item:int,score:float>>, one struct<a:int,b:string>"


def test_every_kind_of_column(spark):
    rows = [
        (1, datetime(2024, 5, 1, 2, tzinfo=UTC), {"a": 1, "b": 2}, [(3, 0.5), (4, None)], {"a": 1, "b": "x"}),
        (None, None, None, None, None),
        (2, datetime(2024, 5, 1, 2), {}, [], {"a": 5, "b": None}),  # without a zone: of UTC
    ]
    frame = as_frame(spark, rows, SCHEMA)
    assert [(field.name, field.dataType.simpleString()) for field in frame.schema.fields] == [
        ("n", "bigint"),
        ("at", "timestamp"),
        ("counts", "map<string,bigint>"),
        ("pairs", "array<struct<item:int,score:float>>"),
        ("one", "struct<a:int,b:string>"),
    ]
    first, nothing, last = frame.selectExpr("n", "date_format(at, 'yyyy-MM-dd HH') AS at", "counts", "pairs", "one").collect()
    assert (first.n, first.at, first.counts, first.pairs, first.one) == (
        1,
        "2024-05-01 02",
        {"a": 1, "b": 2},
        [(3, 0.5), (4, None)],
        (1, "x"),
    )
    assert tuple(nothing) == (None,) * 5
    assert (last.n, last.at, last.counts, last.pairs, last.one) == (2, "2024-05-01 02", {}, [], (5, None))


def test_no_rows(spark):
    frame = as_frame(spark, [], "n bigint, m map<string,int>")
    assert (frame.columns, frame.count()) == (["n", "m"], 0)


@pytest.mark.parametrize("value", ["x", "5", 1.5])
def test_a_value_that_does_not_fit_is_refused(spark, value):
    with pytest.raises(pa.ArrowInvalid):
        as_frame(spark, [(value,)], "n bigint")
