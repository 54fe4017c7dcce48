"""Tables on Delta Lake: the only place that knows where they lie, and the only one that imports delta.

A table's latest version is never "the state": a killed run may have left half its work there. The state is the version
that `runs` names. So every write first brings the table's head back to the version it builds on, and checks afterwards
that nobody wrote in between.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import fsspec
from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row, SparkSession

import recspark.errors
from recspark.errors import ConcurrentRunError, ContractError, RecsparkError, StoreError
from recspark.handover.files import read_whole
from recspark.tables import STAMPED, Table

OURS = "recspark.table"  # the property that tells our tables from others in the same schema
ATTEMPTS = 3


@dataclass(frozen=True)
class Written:
    """What a write made: the table's version, and how many rows it put there."""

    version: int
    n_rows: int | None


class Store:
    """The warehouse: a folder or URL with a Delta table a name, or a schema of a catalog (`catalog: main.recs`)."""

    def __init__(self, spark: SparkSession, warehouse: str, catalog: str | None = None) -> None:
        self.spark = spark
        self.warehouse = warehouse.rstrip("/")
        self.catalog = catalog
        self._created: set[str] = set()
        self._locks: dict[str, threading.RLock] = defaultdict(threading.RLock)  # type: ignore[valid-type]

    def writing(self, name: str) -> AbstractContextManager[Any]:
        """For one job of this run to write the table and commit it: what the next builds on must include it."""
        lock: AbstractContextManager[Any] = self._locks[name]
        return lock

    def location(self, name: str) -> str:
        """The table as a person would open it: its path, or its name in the catalog."""
        return f"{self.catalog}.{name}" if self.catalog else f"{self.warehouse}/{name}"

    def _sql_name(self, name: str) -> str:
        return self.location(name) if self.catalog else f"delta.`{self.location(name)}`"

    def _delta(self, name: str) -> DeltaTable:
        if self.catalog:
            return DeltaTable.forName(self.spark, self.location(name))
        return DeltaTable.forPath(self.spark, self.location(name))

    def exists(self, name: str) -> bool:
        if self.catalog:
            return self.spark.catalog.tableExists(self.location(name))
        return DeltaTable.isDeltaTable(self.spark, self.location(name))

    def head(self, name: str) -> int | None:
        """The table's latest version, committed by a run or not; None where there is no table."""
        return self._head(name) if self.exists(name) else None

    def _head(self, name: str) -> int:
        return int(self._last_commit(name).version)

    def _last_commit(self, name: str) -> Row:
        return self._delta(name).history(1).select("version", "userMetadata", "operationMetrics").collect()[0]

    def commit(self, name: str, version: int) -> bytes | None:
        """What the log says of a version; None where it is not known. It names files that are never named twice: a table and its copy
        are the same where their commits are."""
        return None if self.catalog else read_whole(f"{self.location(name)}/_delta_log/{version:020d}.json")

    def read(self, name: str, version: int | None = None) -> DataFrame:
        """The table at `version`.

        Raises:
            StoreError: the version is gone (vacuumed), or the table cannot be read.
        """
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", str(version))
        with in_words(f"table {name!r} at version {version} cannot be read from {self.location(name)}"):
            return reader.table(self.location(name)) if self.catalog else reader.load(self.location(name))

    def create(self, table: Table) -> bool:
        """Create the table with its comments, NOT NULLs and CHECKs unless it is there; whether it was made now."""
        with self._locks[table.name]:
            if table.name in self._created:
                return False
            if self.exists(table.name):
                self._created.add(table.name)
                return False
            with in_words(f"table {table.name!r} cannot be created at {self.location(table.name)}"):
                made = self._made_now(table)
            self._created.add(table.name)
            return made

    def _made_now(self, table: Table) -> bool:
        """Create the table; False where another run was quicker."""
        try:
            self.spark.sql(_create_sql(table, self._sql_name(table.name)))
        except PySparkException as error:
            if not re.search("ALREADY_EXISTS|NON_EMPTY_LOCATION", str(error)):
                raise
            if self.exists(table.name):
                return False
            if not self._drop_unborn(table.name):
                raise
            self.spark.sql(_create_sql(table, self._sql_name(table.name)))
        return True

    def _drop_unborn(self, name: str) -> bool:
        """Remove the log folder of a table whose creation was killed before its first commit; whether there was one."""
        if self.catalog:
            return False
        fs, path = fsspec.core.url_to_fs(self.location(name))
        log = f"{path}/_delta_log"
        logged = [place.rsplit("/", 1)[-1] for place in fs.ls(log, detail=False)] if fs.exists(log) else []
        others = [place for place in fs.ls(path, detail=False) if not place.rstrip("/").endswith("_delta_log")]
        if others or not logged or any(re.fullmatch(r"\d+\.json", file) for file in logged):
            return False
        fs.rm(log, recursive=True)
        return True

    def write(self, frame: DataFrame, table: Table, *, replace: str | None, base: int | None, run_id: str) -> Written:
        """Replace the rows where `replace` holds (None: all rows) by `frame`, in one commit on top of version `base`.

        A `merge` table is merged by key instead: only rows that differ are touched, so that a change feed stays quiet.

        Raises:
            ConcurrentRunError: another run keeps writing the same table.
            ContractError: a row breaks a CHECK or a NOT NULL of the table.
        """
        is_new = self.create(table)
        with self._locks[table.name], in_words(f"table {table.name!r} cannot be written at {self.location(table.name)}"):
            for attempt in range(ATTEMPTS):
                head = 0 if is_new and attempt == 0 else self._on_base(table, base)
                if table.merge:
                    self._merge(frame, table, run_id)
                else:
                    self._replace(frame, table, replace, run_id)
                last = self._last_commit(table.name)
                if last.version == head:  # nothing to change: Delta commits nothing
                    return Written(head, 0)
                if last.userMetadata == run_id and last.version == head + 1:
                    return Written(int(last.version), _n_rows(last.operationMetrics, table))
        raise ConcurrentRunError(
            f"another run is writing table {table.name!r} in {self.warehouse}: this run stops, its work is discarded; "
            "wait for the other run to end and start again"
        )

    def _on_base(self, table: Table, base: int | None) -> int:
        """Bring the head back to `base`, dropping what an unfinished run left there; return the head's version."""
        if base is None:
            self._refuse_foreign(table)
        head = self.head(table.name)
        assert head is not None
        wanted = 0 if base is None else base
        if head != wanted:
            self._delta(table.name).restoreToVersion(wanted)
            head = self.head(table.name)
        return head or 0

    def _refuse_foreign(self, table: Table) -> None:
        """A table that no run recorded is either what a killed run began, or somebody else's, which is not ours to empty."""
        properties = self._delta(table.name).detail().select("properties").collect()[0].properties
        if properties.get(OURS) != table.name:
            raise StoreError(
                f"{self.location(table.name)} holds a table that recspark did not make: give recspark a schema or folder of its own "
                "(`catalog`, `warehouse`), or rename that table"
            )

    def _replace(self, frame: DataFrame, table: Table, replace: str | None, run_id: str) -> None:
        if table.handover:  # a file a shard, its rows in the order of the key
            frame = frame.repartition(*table.partitioning).sortWithinPartitions(*table.partitioning, *table.key)
        writer = frame.write.format("delta").mode("overwrite").option("userMetadata", run_id)
        if replace is not None:
            writer = writer.option("replaceWhere", replace)
        if self.catalog:
            writer.saveAsTable(self.location(table.name))
        else:
            writer.save(self.location(table.name))

    def _merge(self, frame: DataFrame, table: Table, run_id: str) -> None:
        same_key = " AND ".join(f"live.{name} = new.{name}" for name in table.key)
        compared = [c.name for c in table.columns if c.name not in table.key and c.name not in STAMPED]
        differs = " OR ".join(f"NOT (live.{name} <=> new.{name})" for name in compared)
        # The merge command takes its commit's metadata from the session only; a session's runs have one id.
        self.spark.conf.set("spark.databricks.delta.commitInfo.userMetadata", run_id)
        (
            self._delta(table.name)
            .alias("live")
            .merge(frame.alias("new"), same_key)
            .whenMatchedUpdateAll(condition=differs)
            .whenNotMatchedInsertAll()
            .whenNotMatchedBySourceDelete()
            .execute()
        )

    def append_once(self, frame: DataFrame, table: Table, *, application: str, number: int, run_id: str) -> bool:
        """Append `frame` as commit `number` of `application`; a second append of the same number writes nothing.

        That is a compare-and-set: whether `run_id` is the one who wrote `number`, as far as the last commit says.
        """
        self.create(table)
        writer = frame.coalesce(1).write.format("delta").mode("append").option("txnAppId", application).option("txnVersion", str(number))
        writer = writer.option("userMetadata", f"{run_id} {number}")
        with in_words(f"table {table.name!r} cannot be written at {self.location(table.name)}"):
            if self.catalog:
                writer.saveAsTable(self.location(table.name))
            else:
                writer.save(self.location(table.name))
            return bool(self._last_commit(table.name).userMetadata == f"{run_id} {number}")

    def restore(self, name: str, version: int) -> int:
        """Make `version` the table's state again; return the new head."""
        with in_words(f"table {name!r} cannot be restored to version {version}"):
            self._delta(name).restoreToVersion(version)
        head = self.head(name)
        assert head is not None
        return head


def _create_sql(table: Table, name: str) -> str:
    columns = ", ".join(_column_sql(table, c.name) for c in table.columns)
    checks = {f"delta.constraints.{c.name}_valid": c.check for c in table.columns if c.check}
    properties = {**checks, "delta.enableDeletionVectors": "false", "delta.columnMapping.mode": "none", OURS: table.name}
    listed = ", ".join(f"'{key}' = '{_quoted(value)}'" for key, value in properties.items())
    partitioning = f"PARTITIONED BY ({', '.join(table.partitioning)})" if table.partitioning else ""
    return f"CREATE TABLE {name} ({columns}) USING delta {partitioning} TBLPROPERTIES ({listed}) COMMENT '{_quoted(table.doc)}'"


def _column_sql(table: Table, name: str) -> str:
    column = table.column(name)
    return f"`{name}` {column.type}{'' if column.nullable else ' NOT NULL'} COMMENT '{_quoted(column.doc)}'"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _n_rows(metrics: Mapping[str, Any], table: Table) -> int | None:
    if table.merge:
        return sum(int(metrics.get(f"numTargetRows{what}", 0)) for what in ("Inserted", "Updated", "Deleted"))
    if metrics.get("numFiles") == "0":  # then Delta may leave the rows out
        return 0
    return int(metrics["numOutputRows"]) if "numOutputRows" in metrics else None


@contextmanager
def own_errors() -> Iterator[None]:
    """An error of ours that was raised inside a task comes as it was raised, not as Spark's account of the task."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        found = re.search(r"recspark\.errors\.(\w+): (.*)", _text(error))
        kind = getattr(recspark.errors, found[1], None) if found else None
        if found and isinstance(kind, type) and issubclass(kind, RecsparkError):
            raise kind(found[2].strip()) from error
        raise


@contextmanager
def in_words(what: str) -> Iterator[None]:
    """Turn what Spark and Delta raise into one sentence of ours: nobody should read a Java stack trace."""
    try:
        with own_errors():
            yield
    except (PySparkException, Py4JJavaError) as error:
        text = _text(error)
        if "DELTA_VIOLATE_CONSTRAINT" in text or "DELTA_NOT_NULL_CONSTRAINT" in text:
            raise ContractError(f"{what}: a row breaks the table's contract: {_violation(text)}") from error
        if re.search(
            r"DELTA_CONCURRENT|Concurrent\w*Exception|DELTA_(PROTOCOL|METADATA)_CHANGED|(Protocol|Metadata)ChangedException", text
        ):
            raise ConcurrentRunError(f"{what}: another run committed at the same moment; start again") from error
        raise StoreError(f"{what}: {_sentence(text)}") from error


def _text(error: PySparkException | Py4JJavaError) -> str:
    return str(error.java_exception) if isinstance(error, Py4JJavaError) else str(error)


def _sentence(text: str) -> str:
    """What a Python worker raised last, or else the first line of what Spark says."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if "Python worker" in text or "PythonException" in text:
        lines = [
            line for line in lines if re.match(r"[\w.]+(Error|Exception|Warning|Exit)\b.*", line) and "PythonException" not in line
        ] or lines
    return (lines or ["no reason given"])[0][:600]


def _violation(text: str) -> str:
    start = text.find("DELTA_")
    return " ".join(text[start : start + 400].split("\tat ")[0].split())
