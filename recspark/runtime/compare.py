"""Whether two warehouses hold the same: every column of every row, but for those that the contracts mark volatile."""

from __future__ import annotations

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from recspark.runtime.ledger import Ledger
from recspark.runtime.store import Store
from recspark.tables import TABLES, Table

TOLERANCE_DIGITS = 4


def compare_warehouses(one: Store, other: Store) -> dict[str, str]:
    """Table -> what differs; empty when everything is equal. Floats to `TOLERANCE_DIGITS` significant digits' worth of rounding.

    `runs` is left out: it says when and how, not what. Tables of which only volatile columns differ are equal.
    """
    left, right = Ledger(one, run_id="compare").versions, Ledger(other, run_id="compare").versions
    differences = dict.fromkeys(sorted(set(left) ^ set(right)), "is only in one of the two")
    for table in TABLES:
        if table.name in left and table.name in right:
            difference = _difference(one.read(table.name, left[table.name]), other.read(table.name, right[table.name]), table)
            if difference:
                differences[table.name] = difference
    return differences


def _difference(one: DataFrame, other: DataFrame, table: Table) -> str:
    columns = [column.name for column in table.columns if not column.volatile]
    return difference(one.select(*columns), other.select(*columns))


def difference(one: DataFrame, other: DataFrame) -> str:
    """What differs between two frames of the same columns, whatever the order of their rows; empty when nothing does."""
    left, right = _rounded(one), _rounded(other)
    missing, extra = left.exceptAll(right), right.exceptAll(left)
    n_missing, n_extra = missing.count(), extra.count()
    if not n_missing and not n_extra:
        return ""
    examples = [str(frame.first()) for frame, n in ((missing, n_missing), (extra, n_extra)) if n]
    return f"{n_missing} rows only in the first, {n_extra} only in the second, such as {' and '.join(examples)[:800]}"


def _rounded(frame: DataFrame) -> DataFrame:
    """Floats rounded, maps as sorted arrays: what exceptAll can compare."""
    return frame.select(*(_comparable(F.col(f"`{field.name}`"), field.dataType).alias(field.name) for field in frame.schema.fields))


def _comparable(column: SparkColumn, kind: T.DataType) -> SparkColumn:
    if isinstance(kind, T.FloatType | T.DoubleType):
        return F.round(column.cast("double"), TOLERANCE_DIGITS) + F.lit(0.0)
    if isinstance(kind, T.ArrayType):
        return F.transform(column, lambda element: _comparable(element, kind.elementType))
    if isinstance(kind, T.StructType):
        return F.struct(*(_comparable(column[field.name], field.dataType).alias(field.name) for field in kind.fields))
    if isinstance(kind, T.MapType):
        return F.array_sort(F.map_entries(column))
    return column
