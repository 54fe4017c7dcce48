"""Two frames are equal whatever their order and the noise of their floats, and any other difference is found and shown."""

from __future__ import annotations

from typing import Any

import pytest

from recspark.runtime.compare import _hash_sum, difference
from recspark.runtime.rows import as_frame

NAN = float("nan")
INFINITY = float("inf")
SCHEMA = "name string, score double, scores array<float>, pairs array<struct<item: int, weight: float>>, note map<string, string>"


def row(name: str | None = "a", score: float | None = 1.0, scores: Any = (1.0, 2.0), pairs: Any = ((1, 0.5),), note: Any = None) -> tuple:
    return name, score, scores and list(scores), pairs and list(pairs), note


def found(spark: Any, one: list[tuple], other: list[tuple], schema: str = SCHEMA, key: tuple[str, ...] = ()) -> str:
    return difference(as_frame(spark, one, schema), as_frame(spark, other, schema), key)


def test_order_and_noise_are_no_difference(spark):
    one = [
        row("a", 1e9),
        row("b", 0.0),
        row(None, None, None, None),
        row("c", NAN),
        row("d", INFINITY),
        row("e", note={"x": "1", "y": "2"}),
    ]
    other = [
        row("e", note={"y": "2", "x": "1"}),
        row("d", INFINITY),
        row("c", NAN),
        row(None, None, None, None),
        row("b", 9e-6),
        row("a", 1e9 + 9e3),
    ]
    assert found(spark, one, other) == ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (row(score=0.00001), row(score=0.00003)),
        (row(score=1e9), row(score=1e9 + 2e4)),
        (row(score=1.0), row(score=None)),
        (row(score=None), row(score=0.0)),
        (row(score=NAN), row(score=0.0)),
        (row(score=INFINITY), row(score=-INFINITY)),
        (row(score=INFINITY), row(score=1.0)),
        (row(score=1.0), row(score=INFINITY)),
        (row(scores=(1.0, 2.0)), row(scores=(1.0, 2.1))),
        (row(scores=(1.0, 2.0)), row(scores=(1.0, 2.0, 3.0))),
        (row(scores=(1.0, 2.0)), row(scores=None)),
        (row(pairs=((1, 0.5),)), row(pairs=((1, 0.6),))),
        (row(pairs=((1, 0.5),)), row(pairs=((2, 0.5),))),
    ],
    ids=str,
)
def test_a_different_number_is_found_in_its_row(spark, one: tuple, other: tuple):
    assert found(spark, [one, row("b")], [row("b"), other]).startswith("1 rows different in both, such as Row(one=Row(name='a'")


def test_other_columns_decide_which_rows_meet(spark):
    said = found(spark, [row("a"), row("b")], [row("a"), row("c")])
    assert said.startswith("1 rows only in the first, 1 rows only in the second, such as Row(one=Row(name='b'")
    said = found(spark, [row(note={"x": "1"})], [row(note={"x": "2"})])
    assert said.startswith("1 rows only in the first, 1 rows only in the second")


def test_rows_that_stand_twice_are_counted(spark):
    assert found(spark, [row(), row()], [row(), row()]) == ""
    assert found(spark, [row(), row()], [row()]).startswith("1 rows only in the first, such as")
    assert found(spark, [row(score=1.0), row(score=5.0)], [row(score=5.0), row(score=1.0)]) == ""


def test_rows_meet_by_their_key(spark):
    schema = "item int, n int, score double"
    assert found(spark, [(1, 2, 3.0), (2, 2, 3.0)], [(2, 2, 3.0), (1, 2, 3.0)], schema, ("item",)) == ""
    said = found(spark, [(1, 2, 3.0)], [(1, 7, 3.0)], schema, ("item",))
    assert said == "1 rows different in both, such as Row(one=Row(item=1, n=2, score=3.0), other=Row(item=1, n=7, score=3.0))"


def test_equal_sums_of_hashes_are_equal_rows(spark):
    """What is compared first: the order of rows and of a map's entries is no difference; a null that moves is one, and so is a row twice."""
    kinds = "id int, a int, b int, list array<int>, map map<string, int>"

    def summed(*rows: tuple) -> object:
        return _hash_sum(as_frame(spark, rows, kinds)).first()

    first, second = (1, None, 5, [1, None], {"x": 1, "y": 2}), (2, 0, 0, [], {})
    assert summed(first, second) == summed(second, (1, None, 5, [1, None], {"y": 2, "x": 1}))
    assert summed(first) != summed((1, 5, None, [1, None], {"x": 1, "y": 2}))
    assert summed(first) != summed((1, None, 5, [None, 1], {"x": 1, "y": 2}))
    assert summed(second) != summed(second, second)
    assert summed(first)["n"] == 1
