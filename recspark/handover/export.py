"""From a Delta table at one pinned version to a plan. File names and footers pass through the driver, rows never."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import fsspec
from pyarrow import ArrowException, parquet

from recspark.errors import HandoverError
from recspark.handover.plan import Plan, PlannedColumn, make_plan
from recspark.tables import EXAMPLES
from recspark.tables.contract import STAMPED, Column, Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Footers are a few KB each; reading them is waiting.
FOOTER_THREADS = 32
PLAIN_TYPES = frozenset({"bigint", "int", "float", "double"} | {f"array<{kind}>" for kind in ("bigint", "int", "float", "double")})


def _is_path(location: str) -> bool:
    return "/" in location


def _frame(spark: SparkSession, location: str, version: int, horizon: str) -> DataFrame:
    reader = spark.read.format("delta").option("versionAsOf", str(version))
    frame = reader.load(location) if _is_path(location) else reader.table(location)
    # A literal on a partition column: Delta lists exactly the files of that partition, without reading one.
    return frame.where(f"horizon = {_literal(horizon)}")


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _refuse_features(spark: SparkSession, location: str, table: Table) -> None:
    """Deletion vectors hide rows from whoever reads the files alone, and column mapping renames columns in them."""
    name = f"delta.`{location}`" if _is_path(location) else location
    detail = spark.sql(f"DESCRIBE DETAIL {name}").select("properties", "partitionColumns", "tableFeatures").collect()[0]
    properties: dict[str, str] = detail.properties or {}
    if properties.get("delta.enableDeletionVectors", "false").lower() == "true" or "deletionVectors" in (detail.tableFeatures or []):
        raise HandoverError(
            f"table {table.name!r} at {location} has deletion vectors: Petastorm would read deleted rows. "
            "Drop the table and write it again with delta.enableDeletionVectors = false"
        )
    mapping = properties.get("delta.columnMapping.mode", "none")
    if mapping != "none":
        raise HandoverError(
            f"table {table.name!r} at {location} has column mapping {mapping!r}: its files carry other column names. "
            "Drop the table and write it again with delta.columnMapping.mode = none"
        )
    if "horizon" not in detail.partitionColumns:
        raise HandoverError(
            f"table {table.name!r} at {location} is partitioned by {list(detail.partitionColumns)}, not by horizon: "
            "files would hold rows of several horizons. Drop the table and write it again"
        )


def _columns(frame: DataFrame, table: Table) -> tuple[Column, ...]:
    found = {field.name: field.dataType.simpleString() for field in frame.schema.fields}
    wanted = tuple(column for column in table.columns if column.name not in STAMPED)
    problems = [f"{c.name}: expected {c.type}, got {found.get(c.name, 'no such column')}" for c in wanted if found.get(c.name) != c.type]
    problems += [f"{c.name}: {c.type} cannot be handed over; flatten it" for c in wanted if c.type not in PLAIN_TYPES]
    if problems:
        raise HandoverError(f"table {table.name!r} does not fit its contract: {'; '.join(problems)}")
    return wanted


def _url(file: str) -> str:
    """Spark lists `file:/a b/c`, or `s3://...`: nothing percent-encoded beyond what the path itself says."""
    return "file:///" + file.removeprefix("file:").lstrip("/") if file.startswith("file:") else file


def _footer(url: str) -> Any:
    with fsspec.open(url) as stream:
        return parquet.read_metadata(stream)


def _footers(urls: Sequence[str], table: Table, version: int) -> list[Any]:
    with ThreadPoolExecutor(FOOTER_THREADS) as pool:
        results = [pool.submit(_footer, url) for url in urls]
    footers = []
    for url, result in zip(urls, results, strict=True):
        error = result.exception()
        if isinstance(error, FileNotFoundError):
            raise HandoverError(
                f"table {table.name!r} at version {version}: {url} is gone, VACUUM removed it. "
                f"Run the job that writes {table.name!r} again, and keep files longer than the longest run (delta.deletedFileRetentionDuration)"
            ) from error
        if isinstance(error, OSError | ArrowException):
            raise HandoverError(f"table {table.name!r} at version {version}: {url} is no readable Parquet file: {error}") from error
        footers.append(result.result())
    return footers


def _list_length(column: Column, footers: Sequence[Any], table: Table) -> int:
    """The one length of a column's lists: values over rows, from the footers. 0 for scalars.

    Raises:
        HandoverError: the lists have more than one length.
    """
    if not column.type.startswith("array<"):
        return 0
    lengths = set()
    for footer in footers:
        for i in range(footer.num_row_groups):
            group = footer.row_group(i)
            chunks = (group.column(j) for j in range(group.num_columns))
            n_values = sum(chunk.num_values for chunk in chunks if chunk.path_in_schema.split(".")[0] == column.name)
            lengths.add(n_values / group.num_rows)
    if len(lengths) != 1 or not next(iter(lengths)).is_integer():
        raise HandoverError(
            f"table {table.name!r}, column {column.name!r}: lists have lengths {sorted(lengths)} on average, file by file; "
            "hand-over lists all have one length: pad them"
        )
    return int(lengths.pop())


def plan_table(spark: SparkSession, location: str, version: int, *, horizon: str, table: Table = EXAMPLES) -> Plan:
    """The plan of a hand-over table (a path or URL, or a catalog name) at `version`, restricted to one horizon.

    Raises:
        HandoverError: the table cannot be read by its files alone (deletion vectors, column mapping), does not fit its
            contract, has lists of several lengths, lost files to VACUUM, or has no rows at the horizon.
    """
    _refuse_features(spark, location, table)
    frame = _frame(spark, location, version, horizon)
    columns = _columns(frame, table)
    urls = sorted({_url(file) for file in frame.inputFiles()})
    footers = _footers(urls, table, version)
    rows = {url: footer.num_rows for url, footer in zip(urls, footers, strict=True)}
    # Delta answers the count from its log. It guards against an engine that lists files of other horizons too.
    n_rows = frame.count()
    if n_rows != sum(rows.values()):
        raise HandoverError(
            f"table {table.name!r} at version {version}, horizon {horizon!r}: the table counts {n_rows} rows, its {len(urls)} listed files "
            f"hold {sum(rows.values())}; the files alone are not the table. Drop the table and write it again"
        )
    if not n_rows:
        raise HandoverError(
            f"table {table.name!r} at version {version} has no rows at horizon {horizon!r}: there is nothing to read; "
            "look at the requests of that horizon"
        )
    filled = [footer for footer in footers if footer.num_rows]
    planned = [PlannedColumn(column.name, column.type, _list_length(column, filled, table)) for column in columns]
    return make_plan(table.name, version, horizon, planned, rows)
