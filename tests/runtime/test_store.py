"""Writes replace their slice only, build on the committed version, and say so when somebody else writes too."""

from __future__ import annotations

from pathlib import Path

import pytest

from recspark.errors import ContractError, StoreError
from recspark.runtime.store import Store
from recspark.tables import Column, Table

SLICED = Table(
    "sliced",
    "A table of two slices; it's for tests.",
    (
        Column("horizon", "string", "The cut."),
        Column("n", "int", "A number that isn't negative.", check="n >= 0"),
        Column("t", "string", "Text.", nullable=True),
    ),
    key=("horizon", "n"),
    slices=("horizon",),
)
MERGED = Table(
    "merged",
    "By key.",
    (Column("id", "string", "Id."), Column("v", "array<int>", "Values."), Column("run_id", "string", "Run.", volatile=True)),
    key=("id",),
    merge=True,
)


@pytest.fixture
def store(spark, tmp_path: Path) -> Store:
    return Store(spark, str(tmp_path / "warehouse"))


def frame(spark, rows, table=SLICED):
    return spark.createDataFrame(rows, table.ddl())


def contents(store, name="sliced", version=None):
    return sorted((row[0], row[1]) for row in store.read(name, version).collect())


def test_a_write_replaces_its_slice_and_nothing_else(spark, store):
    first = store.write(frame(spark, [("a", 1, None), ("b", 2, None)]), SLICED, replace="horizon IN ('a', 'b')", base=None, run_id="r1")
    second = store.write(frame(spark, [("a", 3, None)]), SLICED, replace="horizon IN ('a')", base=first.version, run_id="r2")
    assert (first.n_rows, second.n_rows) == (2, 1)
    assert contents(store, version=second.version) == [("a", 3), ("b", 2)]
    assert contents(store, version=first.version) == [("a", 1), ("b", 2)]


def test_what_an_unfinished_run_left_is_dropped_before_the_next_write(spark, store):
    committed = store.write(frame(spark, [("a", 1, None), ("b", 2, None)]), SLICED, replace=None, base=None, run_id="r1")
    store.write(frame(spark, [("b", 99, None)]), SLICED, replace="horizon IN ('b')", base=committed.version, run_id="killed")
    again = store.write(frame(spark, [("a", 5, None)]), SLICED, replace="horizon IN ('a')", base=committed.version, run_id="r2")
    assert contents(store, version=again.version) == [("a", 5), ("b", 2)]


def test_a_row_that_breaks_a_check_or_a_not_null_is_named(spark, store):
    with pytest.raises(ContractError, match=r"sliced.*n_valid.*n >= 0"):
        store.write(frame(spark, [("a", -1, None)]), SLICED, replace=None, base=None, run_id="r1")
    nullable = spark.createDataFrame([(None, 1, None)], SLICED.ddl())
    with pytest.raises(ContractError, match="sliced.*horizon"):
        store.write(nullable, SLICED, replace=None, base=None, run_id="r1")


def test_a_merge_touches_only_rows_that_differ(spark, store):
    first = store.write(
        frame(spark, [("x", [1], "r1"), ("y", [2], "r1"), ("z", [3], "r1")], MERGED), MERGED, replace=None, base=None, run_id="r1"
    )
    second = store.write(
        frame(spark, [("x", [1], "r2"), ("y", [9], "r2"), ("w", [4], "r2")], MERGED), MERGED, replace=None, base=first.version, run_id="r2"
    )
    assert {row.id: (row.v, row.run_id) for row in store.read("merged", second.version).collect()} == {
        "x": ([1], "r1"),
        "y": ([9], "r2"),
        "w": ([4], "r2"),
    }
    assert second.n_rows == 3  # one updated, one inserted, one deleted


def test_documents_and_constraints_reach_delta(spark, store):
    store.create(SLICED)
    described = {row.col_name: row.comment for row in spark.sql(f"DESCRIBE TABLE delta.`{store.location('sliced')}`").collect()}
    assert described["n"] == "A number that isn't negative."
    assert store.head("sliced") == 0
    assert store.head("nothing") is None


def test_a_table_that_is_not_there_is_said_in_one_sentence(store):
    with pytest.raises(StoreError, match="'nothing' at version 3 cannot be read"):
        store.read("nothing", 3)


def test_tables_can_live_in_a_catalog(spark, tmp_path):
    spark.sql(f"CREATE SCHEMA IF NOT EXISTS recs LOCATION '{tmp_path / 'recs'}'")
    store = Store(spark, str(tmp_path / "staging"), catalog="recs")
    try:
        first = store.write(frame(spark, [("a", 1, None)]), SLICED, replace=None, base=None, run_id="r1")
        second = store.write(frame(spark, [("b", 2, None)]), SLICED, replace="horizon IN ('b')", base=first.version, run_id="r2")
        assert contents(store, version=first.version) == [("a", 1)]
        assert contents(store, version=second.version) == [("a", 1), ("b", 2)]
    finally:
        spark.sql("DROP SCHEMA recs CASCADE")
