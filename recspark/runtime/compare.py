"""Whether two warehouses hold the same: every column of every row, but for those that the contracts mark volatile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from recspark.runtime.ledger import Ledger
from recspark.runtime.store import Store
from recspark.tables import TABLES, Table

# Floats are equal when they differ by at most this, times the larger of 1 and the first one's size.
TOLERANCE = 1e-5


def compare_warehouses(one: Store, other: Store) -> dict[str, str]:
    """Table -> what differs; empty when everything is equal, floats to `TOLERANCE`.

    `runs` is left out: it says when and how, not what. Tables of which only volatile columns differ are equal.
    """
    left, right = Ledger(one, run_id="compare").versions, Ledger(other, run_id="compare").versions
    differences = dict.fromkeys(sorted(set(left) ^ set(right)), "is only in one of the two")
    for table in TABLES:
        if table.name in left and table.name in right and not _is_one_commit(one, left, other, right, table.name):
            found = _table_difference(one.read(table.name, left[table.name]), other.read(table.name, right[table.name]), table)
            if found:
                differences[table.name] = found
    return differences


def _is_one_commit(one: Store, left: Mapping[str, int], other: Store, right: Mapping[str, int], name: str) -> bool:
    """Whether one warehouse is a copy of the other that nobody has written this table in since."""
    commit = one.commit(name, left[name])
    return commit is not None and commit == other.commit(name, right[name])


def _table_difference(one: DataFrame, other: DataFrame, table: Table) -> str:
    columns = [column.name for column in table.columns if not column.volatile]
    one, other = one.select(*columns), other.select(*columns)
    hashes = _hash_sum(one).unionByName(_hash_sum(other)).collect()
    return "" if hashes[0] == hashes[1] else difference(one, other, table.key)


def _hash_sum(frame: DataFrame) -> DataFrame:
    """One row: how many rows, and the sum of their 64-bit hashes. Equal for the same rows; else a closer look says what differs."""
    row = F.struct(*(_without_maps(F.col(f"`{field.name}`"), field.dataType).alias(field.name) for field in frame.schema.fields))
    # As text: Spark's hashes pass over nulls, wherever they stand.
    hashed = F.xxhash64(F.to_json(row, {"ignoreNullFields": "false"}))
    return frame.agg(F.count(F.lit(1)).alias("n"), F.sum(hashed.cast("decimal(38, 0)")).alias("sum"))


def difference(one: DataFrame, other: DataFrame, key: Sequence[str] = ()) -> str:
    """What differs between two frames of the same columns, whatever the order of their rows; empty when nothing does.

    Rows meet where `key` is equal (by default all columns without floats), equal keys in the order of the other columns.
    """
    fields = {field.name: field.dataType for field in one.schema.fields}
    met_by = [name for name, kind in fields.items() if name in key or (not key and not _has_floats(kind))]
    met = _numbered(one, met_by, "one").join(
        _numbered(other, met_by, "other"), F.col("key_of_one").eqNullSafe(F.col("key_of_other")), "full"
    )
    differing = [~_equal(F.col("one")[name], F.col("other")[name], kind) for name, kind in fields.items() if name not in met_by]
    kinds = {
        "only in the first": F.col("other").isNull(),
        "only in the second": F.col("one").isNull(),
        "different in both": F.col("one").isNotNull()
        & F.col("other").isNotNull()
        & F.exists(F.array(F.lit(False), *differing), lambda d: d),
    }
    counts = met.agg(*(F.count_if(condition).alias(kind) for kind, condition in kinds.items())).first()
    assert counts is not None
    found = {kind: n for kind, n in counts.asDict().items() if n}
    if not found:
        return ""
    examples = [met.where(kinds[kind]).select("one", "other").first() for kind in found]
    return f"{', '.join(f'{n} rows {kind}' for kind, n in found.items())}, such as {' and '.join(map(str, examples))[:800]}"


def _numbered(frame: DataFrame, met_by: Sequence[str], name: str) -> DataFrame:
    """Each row as a struct `name`, beside its key: the columns it is met by, and its number among rows of the same."""
    rows = frame.select(*(_without_maps(F.col(f"`{field.name}`"), field.dataType).alias(field.name) for field in frame.schema.fields))
    rest = [column for column in rows.columns if column not in met_by]
    number = F.row_number().over(Window.partitionBy(*met_by).orderBy(*(rest or met_by))).alias("number")
    return rows.select(F.struct(*rows.columns).alias(name), F.struct(*met_by, number).alias(f"key_of_{name}"))


def _without_maps(column: SparkColumn, kind: T.DataType) -> SparkColumn:
    """Maps as sorted arrays: what can be compared and sorted."""
    return F.array_sort(F.map_entries(column)) if isinstance(kind, T.MapType) else column


def _has_floats(kind: T.DataType) -> bool:
    return any(name in kind.simpleString() for name in ("float", "double"))


def _equal(a: SparkColumn, b: SparkColumn, kind: T.DataType) -> SparkColumn:
    """Whether two values are equal; never null."""
    same: SparkColumn
    if isinstance(kind, T.FloatType | T.DoubleType):
        a, b = a.cast("double"), b.cast("double")
        # NaN equals NaN here, and infinity itself.
        same = (a == b) | (F.abs(a - b) <= TOLERANCE * F.greatest(F.lit(1.0), F.abs(a)))
        same = F.when(F.isnan(a) | F.isnan(b), F.isnan(a) & F.isnan(b)).when(F.abs(a) == float("inf"), a == b).otherwise(same)
    elif isinstance(kind, T.ArrayType) and _has_floats(kind):
        element = kind.elementType
        pairs = F.zip_with(a, b, lambda x, y: _equal(x, y, element))
        same = (F.size(a) == F.size(b)) & F.forall(pairs, lambda pair: pair)
    elif isinstance(kind, T.StructType) and _has_floats(kind):
        same = F.forall(F.array(*(_equal(a[field.name], b[field.name], field.dataType) for field in kind.fields)), lambda field: field)
    else:
        same = a == b
    return F.when(a.isNull() | b.isNull(), a.isNull() & b.isNull()).otherwise(same)
