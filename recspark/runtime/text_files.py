"""CSV files and JSON lines, read as the text they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from recspark.interactions.mapping import SourceMapping

DAMAGED = "_damaged"
SAMPLE_LINES = 1000


def read_csv(spark: SparkSession, mapping: SourceMapping, paths: Sequence[str], base: Mapping[str, str]) -> DataFrame:
    """The rows of CSV files, every field as text, with `_damaged`. `base`: the option that makes folders columns, or nothing."""
    options: dict[str, Any] = {"header": True, "escape": '"', **mapping.options}
    first = spark.read.options(**{**options, "header": False}).csv(paths[0]).first()
    if first is None:
        return spark.createDataFrame([], T.StructType([]))
    with_header = str(options["header"]).lower() == "true"
    header = [str(name or "") for name in first] if with_header else [f"_c{i}" for i in range(len(first))]
    names = _safe_names(header)
    # Spark compares each file's header with these names, unless two are alike: then it goes by place.
    clear = len({name.lower() for name in header}) == len(header)
    fields = [T.StructField(name, T.StringType()) for name in (*(header if clear else names), DAMAGED)]
    reading = {**options, **base, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": DAMAGED, "enforceSchema": not clear}
    frame = spark.read.options(**reading).schema(T.StructType(fields)).csv(list(paths))
    return frame.toDF(*names, *frame.columns[len(names) :])


def _safe_names(header: Sequence[str]) -> list[str]:
    """Spark's own names for a header's gaps and repetitions: _c0 where there is none, name0, name1 where it repeats."""
    lower = [name.lower() for name in header]
    return [f"_c{i}" if not name else f"{name}{i}" if lower.count(name.lower()) > 1 else name for i, name in enumerate(header)]


def read_json(spark: SparkSession, mapping: SourceMapping, paths: Sequence[str], base: Mapping[str, str]) -> DataFrame:
    """The documents of JSON files, every field as text (numbers keep their digits), with `_damaged`."""
    multi_line = str(mapping.options.get("multiLine", False)).lower() == "true"
    wanted = [*mapping.roles.values(), *mapping.kept]
    names: list[str] = []
    if not multi_line:
        for row in spark.read.text(paths[0]).limit(SAMPLE_LINES).collect():
            names += [name for name in _fields_of(row[0]) if name not in names]
    if multi_line or not set(wanted) <= set(names):
        # A field may be rare: before saying that it is missing, look at all lines.
        inferred = (
            spark.read.options(**mapping.options).options(primitivesAsString=True, columnNameOfCorruptRecord=DAMAGED).json(list(paths))
        )
        names += [name for name in inferred.columns if name not in (*names, DAMAGED)]
    schema = T.StructType([T.StructField(name, T.StringType()) for name in (*names, DAMAGED)])
    reading = {**mapping.options, **base, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": DAMAGED}
    return spark.read.options(**reading).schema(schema).json(list(paths))


def _fields_of(line: str) -> list[str]:
    try:
        document = json.loads(line)
    except ValueError:
        return []
    return list(document) if isinstance(document, dict) else []
