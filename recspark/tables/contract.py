"""What a table is: its columns, key, slices and checks. Knows no engine: types are Spark's simple type strings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recspark.errors import ContractError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


# Columns that the runner adds to what a job's function returns, and takes from what it is given.
STAMPED = frozenset({"horizon", "delivery", "run_id", "shard"})
# Slates of 4 KB: a file of this many stays one row group, which is what Petastorm can address.
SHARD_ROWS = 8192


@dataclass(frozen=True)
class Column:
    """One column: `type` as Spark prints it (`bigint`, `array<float>`), `check` a SQL condition on a row."""

    name: str
    type: str
    doc: str
    nullable: bool = False
    check: str | None = None
    volatile: bool = False  # differs between two equal runs (run ids, clock times)


# Which file a row of a hand-over table stands in: a rule of the data, so that a training reads the same rows in the same
# order however Spark cut the work that wrote them.
SHARD = Column("shard", "int", f"The request's or user's index div {SHARD_ROWS}: the rows of one file.")


@dataclass(frozen=True)
class Table:
    """A table of the warehouse.

    `key` names the columns that are unique together. `slices` names the columns whose values a job run replaces
    together: `("horizon",)`, `("horizon", "source")`, `("delivery",)`; empty means that the whole table is replaced.
    A `("delivery",)` table is cumulative. `merge` publishes by key and touches only rows that differ.
    """

    name: str
    doc: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    slices: tuple[str, ...] = ()
    merge: bool = False
    permanent: bool = False  # its rows are never replaced, whatever is read again: an id keeps its index

    def __post_init__(self) -> None:
        names = set(self.column_names)
        unknown = [name for name in (*self.key, *self.slices) if name not in names]
        if unknown or len(names) != len(self.columns):
            raise ContractError(f"table {self.name!r} is declared wrongly: key or slice {unknown} is no column, or a name stands twice")

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def partitioning(self) -> tuple[str, ...]:
        """Delta partition columns: the slices, so that replacing a slice rewrites nothing else; a hand-over table's shards."""
        return (*self.slices, SHARD.name) if self.handover else self.slices

    @property
    def handover(self) -> bool:
        """Whether Petastorm reads it: a file a shard, of one row group; plain features only."""
        return SHARD in self.columns

    @property
    def artefact(self) -> bool:
        """Whether its rows are trained models, which stay in the folder of the job that trained them."""
        return "folder" in self.column_names

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def ddl(self) -> str:
        """The schema as Spark DDL, for empty frames and tests."""
        return ", ".join(f"`{c.name}` {c.type}" for c in self.columns)


def function_name(function: Callable[..., object]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def conform(frame: DataFrame, table: Table, returned_by: str) -> DataFrame:
    """`frame` with exactly the columns of `table`, in its order.

    Compares names and types on the driver, without a Spark job. Extra columns are an error, as missing ones are.

    Raises:
        ContractError: naming every column that does not fit, all at once.
    """
    found = {field.name: field.dataType.simpleString() for field in frame.schema.fields}
    problems = _problems(found, table.columns)
    if problems:
        lines = "\n".join(f"  {line}" for line in problems)
        raise ContractError(f"table {table.name!r} does not fit what {returned_by} returned:\n{lines}")
    return frame.select(*table.column_names)


def _problems(found: Mapping[str, str], columns: Sequence[Column]) -> Iterable[str]:
    width = max(len(name) for name in [*found, *(column.name for column in columns)])
    problems = []
    for column in columns:
        if column.name not in found:
            problems.append(f"missing  {column.name:<{width}}  {column.type}")
        elif found[column.name] != column.type:
            problems.append(f"type     {column.name:<{width}}  expected {column.type}, got {found[column.name]}")
    expected = {column.name for column in columns}
    problems += [f"extra    {name:<{width}}  {kind}" for name, kind in found.items() if name not in expected]
    return problems


def row_problems(frame: DataFrame, table: Table) -> list[str]:
    """Nulls, failed checks and repeated keys, counted in one pass over the data each. Costs a Spark job."""
    from pyspark.sql import functions as F

    rules = {f"null in {c.name}": F.col(c.name).isNull() for c in table.columns if not c.nullable}
    rules |= {f"check {c.check} on {c.name}": ~F.expr(c.check) for c in table.columns if c.check}
    sums = [F.sum(F.coalesce(rule, F.lit(False)).cast("bigint")).alias(str(i)) for i, rule in enumerate(rules.values())]
    counts = frame.agg(F.count(F.lit(1)).alias("rows"), *sums).collect()[0]
    problems = [f"{counts[str(i)]} rows: {name}" for i, name in enumerate(rules) if counts[str(i)]]
    repeated = frame.groupBy(*table.key).count().filter("count > 1").count() if table.key else 0
    if repeated:
        problems.append(f"{repeated} keys ({', '.join(table.key)}) stand more than once")
    return problems


def check_rows(frame: DataFrame, table: Table) -> None:
    """Raise unless every row of `frame` obeys `table`: no nulls, no failed checks, unique keys.

    Raises:
        ContractError: naming every rule that is broken and how many rows break it.
    """
    problems = row_problems(frame, table)
    if problems:
        raise ContractError(f"table {table.name!r} has rows that break its contract:\n  " + "\n  ".join(problems))
