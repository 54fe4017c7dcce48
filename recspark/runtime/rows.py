"""Few rows that the driver has, as a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema


def as_frame(spark: SparkSession, rows: Sequence[Sequence[Any]], schema: str | T.StructType) -> DataFrame:
    """`rows` as a frame of `schema` (Spark DDL), by way of Arrow: from a list Spark makes rows in Python tasks, a second for any number of
    them. Times without a zone are UTC's, maps are dicts.

    Raises:
        pyarrow.ArrowInvalid, pyarrow.ArrowTypeError: a value does not fit its column.
    """
    struct = T.StructType.fromDDL(schema) if isinstance(schema, str) else schema
    assert isinstance(struct, T.StructType)
    fields = to_arrow_schema(struct)
    columns = zip(*rows, strict=True) if rows else ([] for _ in fields)
    arrays = [_array([_plain(value, field.type) for value in column], field.type) for column, field in zip(columns, fields, strict=True)]
    return spark.createDataFrame(pa.Table.from_arrays(arrays, schema=fields), struct)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    array = pa.array(values, kind)
    if pa.types.is_integer(kind) and any(isinstance(value, float) for value in values):
        pa.array(values, pa.float64()).cast(kind)  # Arrow cuts fractions off without a word, unless it casts
    return array


def _plain(value: Any, kind: pa.DataType) -> Any:
    return list(value.items()) if pa.types.is_map(kind) and value is not None else value
