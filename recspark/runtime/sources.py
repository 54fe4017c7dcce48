"""Reading the user's sources: which files there are, which are new, and their rows as they stand. Nothing here judges a row.

Rows carry `_file` and `_position`: a number that grows with the rows of a file and with the deliveries; where the file's order counts
(order: file; items and users), also with the sorted files of a delivery. Rows of Delta tables have no order: 0.
Text sources also carry `_damaged`: the whole line where it does not parse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from recspark.errors import SourceError
from recspark.interactions.mapping import UNITS, SourceMapping
from recspark.runtime.parquet_files import escaped, one_frame, read_parquet
from recspark.runtime.rows import as_frame
from recspark.runtime.text_files import DAMAGED, read_csv, read_json

FILE = "_file"
POSITION = "_position"
# `_position` is: delivery, then file and row within these bits; the row's share is what the number of files leaves over.
POSITION_BITS = 48
# The row's number within its read partition stays below this (monotonically_increasing_id's lower half).
ROW_BITS = 33

_PLAIN = (T.StringType, T.IntegralType, T.DecimalType, T.FloatType, T.DoubleType)
_TIMES = (T.TimestampType, T.TimestampNTZType, T.DateType)
# What a column can be, by the role that it is mapped to; attributes may be anything.
ROLE_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "user_id": (_PLAIN, "text or a number"),
    "item_id": (_PLAIN, "text or a number"),
    "event_type": ((*_PLAIN, T.BooleanType), "text or a number"),
    "value": ((*_PLAIN, T.BooleanType), "a number"),
    "event_at": ((*_PLAIN, *_TIMES), "a time, a number or text"),
    "event_order": ((*_PLAIN, *_TIMES), "a whole number or a time"),
    "part": ((*_PLAIN, T.BooleanType), "text or a number"),
    "title": ((*_PLAIN, *_TIMES, T.BooleanType), "text"),
    "categories": ((*_PLAIN, T.ArrayType), "text or a list of texts"),
    "available": ((*_PLAIN, T.BooleanType), "true or false"),
    "kind": ((T.StringType,), "text"),
}


@dataclass(frozen=True)
class FoundFile:
    """A file of a source: its path (not percent-encoded), size and time; a Delta source does not say the latter two."""

    path: str
    n_bytes: int | None = None
    modified_at: datetime | None = None  # UTC


@contextmanager
def explained_source_errors(section: str) -> Iterator[None]:
    """Turn what Spark says of an unreadable file into a `SourceError` that names the file. Other errors pass.

    For the action that reads a source: damage inside a file shows only then.
    """
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        words = _file_trouble(str(error))
        if words is None:
            raise
        file, why = words
        raise SourceError(
            f"{section}: the file {file} cannot be read: {why}; mend or remove it and run again (nothing of this delivery was taken in)"
        ) from error


def _file_trouble(message: str) -> tuple[str, str] | None:
    found = re.search(r"reading file (\S+?)\.?(?:\s|$)", message)
    if found is None:
        return None
    if "header does not conform" in message:
        lines = {key: value.strip() for key, value in re.findall(r"^\s*(Header|Schema)(?: length)?: (.*)$", message, flags=re.M)}
        return found[1], f"its columns are {lines.get('Header')}, the delivery's first file has {lines.get('Schema')}"
    causes = re.findall(r"Caused by: [\w.$]+: (.*)", message) or re.findall(r"\[FAILED_READ_FILE\S*\] (.*)", message)
    return found[1], causes[-1].strip() if causes else "it is damaged"


def list_files(spark: SparkSession, mapping: SourceMapping, *, section: str = "events", may_be_empty: bool = False) -> list[FoundFile]:
    """The source's files as they are now, sorted by path; for a Delta table its live files. Reads no content.

    A folder's files are all below it, in sub-folders of whatever name that does not begin with _ or a dot.
    `may_be_empty`: a folder without files, and a path or glob that matches nothing, hold no files, and that is no error.

    Raises:
        SourceError: there is no such path or table, nothing lies there, or it is not what `format` says.
    """
    if mapping.format == "delta":
        frame = _open_delta(spark, mapping, section)
        return [FoundFile(path) for path in sorted(_canonical(path) for path in frame.inputFiles())]
    found: list[FoundFile] = []
    # One by one where some may be gone: Spark refuses all for one that is.
    for paths in [[path] for path in mapping.paths] if may_be_empty else [mapping.paths]:
        try:
            found += _files_at(spark, paths)
        except AnalysisException as error:
            if not (may_be_empty and error.getCondition() == "PATH_NOT_FOUND"):
                raise SourceError(f"{section}: cannot list {mapping.place}: {_first_line(error)}; check `path`") from error
    if not found and not may_be_empty:
        raise SourceError(f"{section}: no file at {mapping.place} (names that begin with _ or . do not count); check `path`")
    return sorted(set(found), key=lambda file: file.path)


def _files_at(spark: SparkSession, paths: list[str]) -> list[FoundFile]:
    # All that lies below a folder: Spark alone would pass over sub-folders that are no `column=value`.
    below = {"recursiveFileLookup": "true"}
    listing = spark.read.format("binaryFile").options(**below).load(paths)
    rows = listing.select("path", "length", F.unix_micros("modificationTime").alias("micros")).collect()
    found = [FoundFile(_canonical(row["path"]), row["length"], datetime.fromtimestamp(row["micros"] / 1e6, UTC)) for row in rows]
    # Spark's file scans leave empty files out; they are there all the same, with no rows.
    return found or [FoundFile(_canonical(path), 0) for path in spark.read.options(**below).text(paths).inputFiles()]


def _open_delta(spark: SparkSession, mapping: SourceMapping, section: str) -> DataFrame:
    try:
        frame = spark.table(mapping.table) if mapping.table else spark.read.format("delta").load(mapping.paths[0])
        frame.select("_metadata.file_path")
    except AnalysisException as error:
        why = _first_line(error)
        if "_metadata" in why:
            why = "it is a view or has no files of its own; name the table behind it"
        raise SourceError(f"{section}: cannot read {mapping.place} as a table: {why}; check `path`, `table` and `format`") from error
    return frame


def _canonical(path: str) -> str:
    """One spelling for a file: Spark writes local files as file:/x here and file:///x there."""
    return re.sub(r"^file:/+", "file:/", path)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].split(" SQLSTATE")[0].rstrip(".")


def new_files(found: Sequence[FoundFile], delivered: Iterable[Mapping[str, Any] | T.Row]) -> list[FoundFile]:
    """Those of `found` that no delivery has read: `delivered` are rows of `deliveries` (path, n_bytes, modified_at).

    A file that has changed since is read again as a whole; its rows that are known already collapse as duplicates.
    """
    known = {(_canonical(row["path"]), row["n_bytes"], _in_utc(row["modified_at"])) for row in delivered}
    return [file for file in found if (file.path, file.n_bytes, _in_utc(file.modified_at)) not in known]


def _in_utc(at: datetime | None) -> datetime | None:
    """Spark gives times to the driver naive, in the machine's zone; `astimezone` reads them so."""
    return None if at is None else at.astimezone(UTC)


def read_source(
    spark: SparkSession, mapping: SourceMapping, files: Sequence[FoundFile], *, delivery: int = 1, section: str = "events"
) -> DataFrame:
    """The rows of `files`, all columns, with `_file` and `_position`; csv and json as text, with `_damaged`.

    Raises:
        SourceError: a mapped column is missing or of an impossible type, a footer is damaged, or order: file cannot be kept.
    """
    files = sorted((file for file in files if file.n_bytes != 0), key=lambda file: file.path)
    if not files:
        return _empty(spark, mapping)
    _check_order(mapping, files, delivery, section)
    with explained_source_errors(section):
        if mapping.format == "delta":
            frame = _open_delta(spark, mapping, section)
            _check_columns(frame.schema, mapping, section, mapping.place)
            return _keep_files(_with_file(frame, F.lit(0)), files, n_live=len(frame.inputFiles()))
        base = _base(mapping, files)
        if mapping.format == "parquet":
            parts = read_parquet(lambda: spark.read.options(**mapping.options, **base), [file.path for file in files], section)
        else:
            read = read_csv if mapping.format == "csv" else read_json
            parts = [(mapping.place, read(spark, mapping, [escaped(file.path) for file in files], base))]
    parts = [(place, part) for place, part in parts if part.columns]
    if not parts:
        return _empty(spark, mapping)
    for first, part in parts:
        _check_columns(part.schema, mapping, section, mapping.place if len(parts) == 1 else first)
    if mapping.format == "parquet":
        row = F.col("_metadata.row_index")
    else:
        # A file's parts before its last stand alone in their partition, rows numbered from 0, and a row takes at least a byte:
        # where the part begins plus the row's number never falls behind the part before.
        row = F.col("_metadata.file_block_start") + F.monotonically_increasing_id().bitwiseAND(2**ROW_BITS - 1)
    numbered = [_with_file(part, row + F.lit(delivery * 2**POSITION_BITS)) for _, part in parts]
    frame = one_frame(numbered, {name: role for role, name in mapping.roles.items()}, section)
    return _in_order_of_files(spark, frame, files) if getattr(mapping, "resolved_order", "file") == "file" else frame


def _empty(spark: SparkSession, mapping: SourceMapping) -> DataFrame:
    names = dict.fromkeys([*mapping.roles.values(), *mapping.kept])
    fields = [T.StructField(name, T.StringType()) for name in (*names, DAMAGED, FILE)]
    return as_frame(spark, [], T.StructType([*fields, T.StructField(POSITION, T.LongType())]))


def _keep_files(frame: DataFrame, files: Sequence[FoundFile], *, n_live: int) -> DataFrame:
    return frame if len(files) == n_live else frame.filter(F.col(FILE).isin([file.path for file in files]))


def _row_bits(files: Sequence[FoundFile]) -> int:
    return POSITION_BITS - (len(files) - 1).bit_length()


def _check_order(mapping: SourceMapping, files: Sequence[FoundFile], delivery: int, section: str) -> None:
    if getattr(mapping, "resolved_order", None) != "file":
        return
    bits = _row_bits(files)
    # Rows of a part count from what its partition read before: room for those, and for the bytes before the part.
    largest = max((file.n_bytes or 0) for file in files)
    if bits <= ROW_BITS or largest + 2**ROW_BITS >= 2**bits or delivery >= 2 ** (63 - POSITION_BITS):
        raise SourceError(
            f"{section}: order: file cannot number {len(files)} files of up to {largest} bytes in delivery {delivery}; "
            "map columns.event_at or columns.event_order instead, or deliver fewer files at a time"
        )
    packed = next((file.path for file in files if file.path.endswith(".bz2")), None)
    if packed:
        raise SourceError(f"{section}: order: file cannot be kept for {packed}: bzip2 is read in parts of unknown length; use gz")


def _with_file(frame: DataFrame, row: Column) -> DataFrame:
    """`frame` with `_file`, the path as listed, and `_position`: `row`."""
    # url_decode reads a plus as a blank; in a path it is a plus.
    path = F.url_decode(F.replace(F.col("_metadata.file_path"), F.lit("+"), F.lit("%2B")))
    own = [F.col(_quoted(name)) for name in frame.columns]
    return frame.select(*own, F.regexp_replace(path, "^file:/+", "file:/").alias(FILE), row.cast("bigint").alias(POSITION))


def _in_order_of_files(spark: SparkSession, frame: DataFrame, files: Sequence[FoundFile]) -> DataFrame:
    """`_position` raised by each file's place among `files`."""
    if len(files) == 1:
        return frame
    bits = _row_bits(files)
    # As one literal, whose size Spark knows: so the rows are not shuffled to be joined with it.
    places = json.dumps([{FILE: file.path, "_place": place << bits} for place, file in enumerate(files)])
    by_file = spark.range(1).select(F.inline(F.from_json(F.lit(places), f"array<struct<{FILE}: string, _place: bigint>>")))
    columns = [F.col(_quoted(name)) for name in frame.columns if name != POSITION]
    return frame.join(by_file, FILE, "left").select(*columns, (F.col(POSITION) + F.col("_place")).alias(POSITION))


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _base(mapping: SourceMapping, files: Sequence[FoundFile]) -> dict[str, str]:
    """A folder's sub-folders `day=2025-06-01` are columns; Spark needs the folder to see them."""
    if len(mapping.paths) != 1 or re.search(r"[\[\]{}*?]", mapping.paths[0]):
        return {}
    root = mapping.paths[0].rstrip("/")
    folder = root.split(":", 1)[-1].lstrip("/")
    below = [file.path.split(":", 1)[-1].lstrip("/") for file in files]
    inside = all(f"/{folder}/" in f"/{path}" and "=" in path.rsplit(f"{folder}/", 1)[-1] for path in below)
    return {"basePath": root} if inside else {}


def _check_columns(schema: T.StructType, mapping: SourceMapping, section: str, place: str) -> None:
    """Raise unless every mapped column is there and can be what it is mapped to: all problems at once."""
    found = {field.name: field.dataType for field in schema.fields if field.name != DAMAGED}
    has_unit = getattr(getattr(mapping, "time", None), "format", None) in UNITS
    problems = []
    for role, name in [*mapping.roles.items(), *(("attributes", name) for name in mapping.kept)]:
        where = f"attributes: {name!r}" if role == "attributes" else f"columns.{role}: {name!r}"
        if name not in found:
            near = get_close_matches(name.lower(), [other.lower() for other in found], n=1)
            meant = next((other for other in found if near and other.lower() == near[0]), None)
            unread = " that Spark can read" if mapping.format == "parquet" else ""  # a time of day, for one
            problems.append(f"{where} is no column there" + (f" (did you mean {meant!r}?)" if meant else unread))
        elif role in ROLE_TYPES and not isinstance(found[name], (*ROLE_TYPES[role][0], T.NullType)):
            problems.append(f"{where} is {found[name].simpleString()}, and must be {ROLE_TYPES[role][1]}")
        elif role == "event_at" and isinstance(found[name], T.NumericType) and not has_unit:
            problems.append(f"{where} is {found[name].simpleString()}; say its unit in time.format: {', '.join(UNITS)}")
    if problems:
        columns = ", ".join(f"{name} {kind.simpleString()}" for name, kind in found.items())
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise SourceError(f"{section}: the source {place} does not fit its mapping:\n{lines}\n  its columns: {columns}")
