"""Parquet files as other tools write them: files of a delivery whose schemas differ, and columns that Spark refuses to read.

Spark takes the schema of one file for all, and stops at times in nanoseconds and at columns that are null throughout: both are what
pandas writes, and one column of them stops the whole file, wanted or not. So the footers are read first, and files of one schema together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import reduce
from typing import Any, NamedTuple

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from pyspark.errors import PySparkTypeError
from pyspark.sql import Column, DataFrame, DataFrameReader
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import from_arrow_type

from recspark.errors import SourceError
from recspark.interactions.fields import id_text, source_column

N_FOOTERS_AT_ONCE = 16
# What Spark has no type for: a schema that holds one must be given without it.
REFUSED = ("Null", "Time", "Interval")
# Unsigned numbers, as Spark widens them.
WIDER = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.decimal128(20, 0)}


class Leaf(NamedTuple):
    """A column of a footer: its path through lists and structs, and how it is stored."""

    path: str
    physical: str
    logical: str

    @property
    def says(self) -> dict[str, Any]:
        """The logical type: its name under Type, and what else it says."""
        said: dict[str, Any] = json.loads(self.logical)
        return said


def _footer(path: str, section: str) -> pq.FileMetaData | None:
    """The file's footer; None where only Spark knows the file system."""
    try:
        local = path.startswith("file:/")
        fs, place = (LocalFileSystem(), re.sub("^file:/+", "/", path)) if local else fsspec.core.url_to_fs(path)
        file = fs.open(place, "rb")
    except (ImportError, ValueError, OSError):
        return None
    with file:
        try:
            return pq.read_metadata(file)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(
                f"{section}: the file {path} cannot be read: {str(error).splitlines()[0]}; mend or remove it and run again "
                "(nothing of this delivery was taken in)"
            ) from error


def escaped(path: str) -> str:
    """A path as Spark's readers take it: signs of a glob escaped."""
    return re.sub(r"([\\\[\]{}*?])", r"\\\1", path)


def _leaves(footer: pq.FileMetaData | None) -> tuple[Leaf, ...]:
    if footer is None:
        return ()
    leaves = (footer.schema.column(i) for i in range(footer.num_columns))
    return tuple(Leaf(leaf.path, leaf.physical_type, leaf.logical_type.to_json()) for leaf in leaves)


def _holds_nothing(kind: pa.DataType) -> bool:
    return pa.types.is_null(kind) or ((pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _holds_nothing(kind.value_type))


def _in_whole_numbers(kind: pa.DataType) -> pa.DataType:
    """`kind` with nanoseconds as the numbers they are stored as, which is how Spark is told to read them."""
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.int64()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_in_whole_numbers(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _in_whole_numbers(field.type)) for field in kind])
    return WIDER.get(kind, kind)


def _readable(footer: pq.FileMetaData) -> T.StructType:
    """What Spark can read of the file."""
    leaves = _leaves(footer)
    schema = T.StructType()
    for field in footer.schema.to_arrow_schema():
        own = [leaf for leaf in leaves if leaf.path == field.name or leaf.path.startswith(f"{field.name}.")]
        if any(leaf.says["Type"] in REFUSED for leaf in own):
            continue
        if own[0].physical == "INT96":
            schema.add(field.name, T.TimestampType())
            continue
        with suppress(PySparkTypeError):  # a type that Arrow has and Spark has not: left out
            schema.add(field.name, from_arrow_type(_in_whole_numbers(field.type), prefer_timestamp_ntz=True))
    return schema


def _from_nanoseconds(column: Column, *, is_instant: bool) -> Column:
    at = F.timestamp_micros(F.call_function("div", column - F.pmod(column, F.lit(1000)), F.lit(1000)))
    return at if is_instant else at.cast("timestamp_ntz")


def _as_written(frame: DataFrame, footer: pq.FileMetaData) -> DataFrame:
    """`frame` with its nanoseconds as times, and with a column of nulls where the file has one."""
    times = {
        leaf.path: _from_nanoseconds(source_column(leaf.path), is_instant=leaf.says["isAdjustedToUTC"])
        for leaf in _leaves(footer)
        if leaf.says["Type"] == "Timestamp" and leaf.says["timeUnit"] == "nanoseconds" and leaf.path in frame.columns
    }
    empty = {field.name: F.lit(None) for field in footer.schema.to_arrow_schema() if _holds_nothing(field.type)}
    return frame.withColumns(times | empty) if times or empty else frame


def read_parquet(reader: Callable[[], DataFrameReader], paths: Sequence[str], section: str) -> list[tuple[str, DataFrame]]:
    """Lazy frames of `paths`, one for each schema among them, with the first file of each. `reader` makes a fresh reader.

    Times in nanoseconds become timestamps (microseconds; without a zone where they are not adjusted to UTC). Columns that are null
    throughout are of the type void. Columns of a type that Spark does not know (times of day) are left out.
    Needs spark.sql.legacy.parquet.nanosAsLong.

    Raises:
        SourceError: a file's footer is damaged.
    """
    with ThreadPoolExecutor(N_FOOTERS_AT_ONCE) as pool:
        footers = list(pool.map(lambda path: _footer(path, section), paths))
    alike: dict[tuple[Leaf, ...], list[int]] = {}
    for i, footer in enumerate(footers):
        alike.setdefault(_leaves(footer), []).append(i)
    frames = []
    for leaves, places in alike.items():
        footer, chosen = footers[places[0]], [paths[i] for i in places]
        of_spark = reader()
        if footer is not None and any(leaf.says["Type"] in REFUSED for leaf in leaves):
            of_spark = of_spark.schema(_readable(footer))
        frame = of_spark.parquet(*(escaped(path) for path in chosen))
        frames.append((chosen[0], frame if footer is None else _as_written(frame, footer)))
    return frames


def _agreed(name: str, kinds: Collection[T.DataType], role: str | None, section: str) -> T.DataType:
    """The type of a column that files write differently. Ids are text whatever they were; a column that nobody asked for may be."""
    known = [kind for kind in kinds if not isinstance(kind, T.NullType)]
    if len(known) <= 1:
        return known[0] if known else T.StringType()
    if all(isinstance(kind, T.IntegralType) for kind in known):
        return T.LongType()
    if role in (None, "user_id", "item_id", "event_type"):
        return T.StringType()
    if all(isinstance(kind, T.NumericType) for kind in known):
        return T.DoubleType()
    raise SourceError(
        f"{section}: columns.{role}: {name!r} is {' in some files and '.join(kind.simpleString() for kind in known)} in others; "
        "write all files with one type"
    )


def one_frame(frames: Sequence[DataFrame], roles: dict[str, str], section: str) -> DataFrame:
    """The rows of all `frames`; each column of one type, null where a frame lacks it. `roles`: column -> what it is mapped to.

    Raises:
        SourceError: a mapped column is of types that do not go together.
    """
    names = list(dict.fromkeys(name for frame in frames for name in frame.columns))
    kinds = {name: list(dict.fromkeys(frame.schema[name].dataType for frame in frames if name in frame.columns)) for name in names}
    agreed = {name: _agreed(name, kinds[name], roles.get(name), section) for name in names}

    def conformed(frame: DataFrame) -> DataFrame:
        own = {name: frame.schema[name].dataType for name in frame.columns}
        texts = {name for name, kind in own.items() if isinstance(kind, T.NumericType) and isinstance(agreed[name], T.StringType)}
        return frame.select(
            *(
                (id_text(source_column(name), own[name]) if name in texts else source_column(name)).cast(agreed[name]).alias(name)
                if own[name] != agreed[name]
                else source_column(name)
                for name in frame.columns
            )
        )

    return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), [conformed(frame) for frame in frames])
