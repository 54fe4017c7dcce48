"""Plans of real Delta tables: only the live files of one version and one horizon, or a refusal in words."""

from pathlib import Path

import pytest

from recspark.errors import HandoverError
from recspark.handover.export import plan_table
from recspark.handover.reader import read_rows
from recspark.tables.contract import Column, Table

TABLE = Table(
    "examples",
    "A small hand-over table.",
    (
        Column("horizon", "string", "The cut."),
        Column("request_idx", "bigint", "The request."),
        Column("items", "array<int>", "Two items."),
        Column("weight", "float", "Weight."),
    ),
    key=("horizon", "request_idx"),
    slices=("horizon",),
)
PLAIN = {"delta.enableDeletionVectors": "false"}


def write(spark, path: Path, first: int, stop: int, horizon: str, properties=PLAIN, select="array(int(id), 1) items", partition="horizon"):
    frame = spark.range(first, stop, 1, 2).selectExpr(f"'{horizon}' horizon", "id request_idx", select, "float(1) weight")
    writer = frame.write.format("delta").mode("overwrite").option("replaceWhere", f"horizon = '{horizon}'").partitionBy(partition)
    for name, value in properties.items():
        writer = writer.option(name, value)
    writer.save(str(path))


def requests(plan) -> list[int]:
    return sorted(int(i) for batch in read_rows(plan, plan.scoring_share(0, 1), 64) for i in batch["request_idx"])


@pytest.fixture(scope="module")
def location(spark, tmp_path_factory) -> Path:
    """Version 0: last_5/test; 1: fit; 2: fit again, so that version 1's files of it are dead."""
    path = tmp_path_factory.mktemp("a warehouse") / "examples"
    write(spark, path, 100, 103, "last_5/test")
    write(spark, path, 0, 5, "fit")
    write(spark, path, 10, 17, "fit")
    return path


def test_only_live_files_of_the_pinned_version_and_horizon(spark, location):
    assert requests(plan_table(spark, str(location), 2, horizon="fit", table=TABLE)) == list(range(10, 17))
    assert requests(plan_table(spark, str(location), 1, horizon="fit", table=TABLE)) == list(range(5))
    # The horizon's slash is escaped in the folder's name, and the warehouse's name has a space.
    assert requests(plan_table(spark, str(location), 2, horizon="last_5/test", table=TABLE)) == [100, 101, 102]


def test_the_plan_says_columns_lengths_and_rows(spark, location):
    plan = plan_table(spark, f"file://{location}", 2, horizon="fit", table=TABLE)
    assert [(c.name, c.type, c.length) for c in plan.columns] == [
        ("request_idx", "bigint", 0),
        ("items", "array<int>", 2),
        ("weight", "float", 0),
    ]
    assert (plan.table, plan.version, plan.horizon, plan.n_rows) == ("examples", 2, "fit", 7)


def test_a_horizon_without_rows_is_refused(spark, location):
    with pytest.raises(HandoverError, match="has no rows at horizon 'serve'"):
        plan_table(spark, str(location), 2, horizon="serve", table=TABLE)


def test_deletion_vectors_and_column_mapping_are_refused(spark, tmp_path):
    write(spark, tmp_path / "dv", 0, 5, "fit", {"delta.enableDeletionVectors": "true"})
    with pytest.raises(HandoverError, match="has deletion vectors"):
        plan_table(spark, str(tmp_path / "dv"), 0, horizon="fit", table=TABLE)
    write(spark, tmp_path / "named", 0, 5, "fit", {"delta.columnMapping.mode": "name", **PLAIN})
    with pytest.raises(HandoverError, match="has column mapping 'name'"):
        plan_table(spark, str(tmp_path / "named"), 0, horizon="fit", table=TABLE)


def test_a_table_that_does_not_fit_is_refused(spark, tmp_path):
    write(spark, tmp_path / "typed", 0, 5, "fit", select="array(id, 1L) items")
    with pytest.raises(HandoverError, match="items: expected array<int>, got array<bigint>"):
        plan_table(spark, str(tmp_path / "typed"), 0, horizon="fit", table=TABLE)
    write(spark, tmp_path / "ragged", 0, 5, "fit", select="if(id = 0, array(1), array(1, 2)) items")
    with pytest.raises(HandoverError, match="column 'items': lists have lengths"):
        plan_table(spark, str(tmp_path / "ragged"), 0, horizon="fit", table=TABLE)
    write(spark, tmp_path / "mixed", 0, 5, "fit", partition="weight")
    with pytest.raises(HandoverError, match=r"partitioned by \['weight'\]"):
        plan_table(spark, str(tmp_path / "mixed"), 0, horizon="fit", table=TABLE)


def test_nested_columns_cannot_be_handed_over(spark, location):
    nested = Table(
        "examples",
        "Nested.",
        (*TABLE.columns[:2], Column("items", "array<array<int>>", "Nested.")),
        key=("horizon", "request_idx"),
        slices=("horizon",),
    )
    with pytest.raises(HandoverError, match="array<array<int>> cannot be handed over; flatten it"):
        plan_table(spark, str(location), 2, horizon="fit", table=nested)


def test_a_vacuumed_version_is_refused(spark, tmp_path):
    path = tmp_path / "examples"
    write(spark, path, 0, 5, "fit")
    dead = [Path(file.removeprefix("file:")) for file in spark.read.format("delta").load(str(path)).inputFiles()]
    write(spark, path, 5, 9, "fit")
    for file in dead:
        file.unlink()
    with pytest.raises(HandoverError, match="is gone, VACUUM removed it"):
        plan_table(spark, str(path), 0, horizon="fit", table=TABLE)
