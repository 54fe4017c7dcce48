"""Writes replace their slice only, build on the committed version, and say so when somebody else writes too."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.errors import AnalysisException, PythonException

from recspark.errors import ConcurrentRunError, ContractError, GateError, StoreError
from recspark.runtime.rows import as_frame
from recspark.runtime.store import Store, in_words, own_errors
from recspark.tables import Column, Table
from recspark.tables.contract import SHARD

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

SLATES = Table(
    "slates",
    "For Petastorm.",
    (Column("horizon", "string", "The cut."), Column("request_idx", "bigint", "The request."), SHARD),
    key=("horizon", "request_idx"),
    slices=("horizon",),
)


@pytest.fixture
def store(spark, tmp_path: Path) -> Store:
    return Store(spark, str(tmp_path / "warehouse"))


def frame(spark, rows, table=SLICED):
    return as_frame(spark, rows, table.ddl())


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


@pytest.mark.parametrize("n_partitions", [1, 2, 7])
def test_a_hand_over_table_has_a_file_a_shard_and_its_rows_in_order(spark, store, n_partitions):
    rows = [("h", i, i // 3) for i in (7, 2, 5, 0, 8, 1, 3, 6, 4)]
    frame = as_frame(spark, rows, SLATES.ddl()).repartition(n_partitions)
    written = store.write(frame, SLATES, replace="horizon IN ('h')", base=None, run_id="r1")
    files = sorted(store.read("slates", written.version).inputFiles())
    assert [pq.read_table(file.removeprefix("file://"))["request_idx"].to_pylist() for file in files] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_a_table_of_others_is_not_emptied(spark, store):
    spark.range(3).write.format("delta").save(store.location("sliced"))
    with pytest.raises(StoreError, match="sliced holds a table that recspark did not make: give recspark"):
        store.write(frame(spark, [("a", 1, None)]), SLICED, replace=None, base=None, run_id="r1")
    assert spark.read.format("delta").load(store.location("sliced")).count() == 3


def test_a_creation_that_was_killed_before_its_first_commit_does_not_stand_in_the_way(spark, store):
    log = Path(store.location("sliced")) / "_delta_log"
    log.mkdir(parents=True)
    (log / ".00000000000000000000.json.1f.tmp").write_text("half")
    written = store.write(frame(spark, [("a", 1, None)]), SLICED, replace=None, base=None, run_id="r1")
    assert contents(store, version=written.version) == [("a", 1)]


def test_a_folder_of_other_files_is_no_place_for_a_table(spark, store):
    place = Path(store.location("sliced"))
    place.mkdir(parents=True)
    (place / "letters.txt").write_text("keep me")
    with pytest.raises(StoreError, match="'sliced' cannot be created"):
        store.create(SLICED)
    assert (place / "letters.txt").read_text() == "keep me"


def test_two_who_write_one_table_at_once_are_told_apart(spark, store):
    """What Delta itself says of two writers of one slice: the second to commit read what the first replaced."""
    base = store.write(frame(spark, [("a", 1, None)]), SLICED, replace=None, base=None, run_id="r0").version
    started, gone_on = threading.Event(), threading.Event()

    class Waiting(Store):
        def _replace(self, frame, table, replace, run_id):
            started.set()
            gone_on.wait(60)
            super()._replace(frame, table, replace, run_id)

    slow, outcome = Waiting(spark, store.warehouse), []
    write = lambda: outcome.append(  # noqa: E731
        slow.write(frame(spark, [("a", 2, None)]), SLICED, replace="horizon IN ('a')", base=base, run_id="slow")
    )
    thread = threading.Thread(target=write)
    thread.start()
    started.wait(60)
    fast = store.write(frame(spark, [("a", 3, None)]), SLICED, replace="horizon IN ('a')", base=base, run_id="fast")
    gone_on.set()
    thread.join()
    # The slow one saw that its commit did not follow on its base, went back to it, and wrote again: neither is mixed.
    assert contents(store, version=fast.version) == [("a", 3)]
    assert contents(store, version=outcome[0].version) == [("a", 2)]


def test_a_conflict_is_told_in_words():
    conflict = AnalysisException("[DELTA_CONCURRENT_APPEND.WITH_PARTITION_HINT] Transaction conflict detected. Files were added.")
    with pytest.raises(ConcurrentRunError, match="table 't': another run committed at the same moment"), in_words("table 't'"):
        raise conflict


def test_an_error_of_ours_within_a_task_comes_as_it_was_raised(spark):
    def refuse(batches):
        raise GateError("the figure is 3; make it 2")

    def fail(batches):
        raise ValueError("the figure is 3")

    with pytest.raises(GateError, match="^the figure is 3; make it 2$"), own_errors():
        spark.range(1).mapInArrow(refuse, "id bigint").collect()
    with pytest.raises(PythonException, match="ValueError: the figure is 3"), own_errors():
        spark.range(1).mapInArrow(fail, "id bigint").collect()


def test_nothing_written_is_counted_as_0_rows(spark, store):
    nothing = frame(spark, [("a", 1, None)]).filter("n > 1")
    first = store.write(frame(spark, [("a", 1, None), ("b", 2, None)]), SLICED, replace=None, base=None, run_id="r1")
    second = store.write(nothing, SLICED, replace="horizon IN ('a')", base=first.version, run_id="r2")
    third = store.write(nothing, SLICED, replace=None, base=second.version, run_id="r3")
    assert (first.n_rows, second.n_rows, third.n_rows) == (2, 0, 0)
