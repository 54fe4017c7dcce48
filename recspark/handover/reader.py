"""Reads a process's share of a plan. Whatever the files give is counted against the plan.

Files are decoded one after the other by a thread that is a file or two ahead; batches are put together by who consumes
them, which in training is a thread too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import fsspec
import numpy as np
import pyarrow
from pyarrow import parquet

from recspark.errors import HandoverError
from recspark.handover.ahead import read_ahead
from recspark.handover.decode import row_groups
from recspark.handover.plan import Plan, PlannedColumn, RowRange, Window

Batch = dict[str, np.ndarray]

# Which of a training batch's rows exist; the others are padding.
REAL = "is_real"
# What tells the rows of a hand-over table apart: no two of a file have the same.
KEYS = ("request_idx", "sequence_idx")
# Decoded ranges of rows that stand ready.
RANGES_AHEAD = 2
_AGAIN = "Run the job again; if it stays so, run the one that writes the table again"

DTYPES: dict[str, np.dtype[Any]] = {
    "bigint": np.dtype(np.int64),
    "int": np.dtype(np.int32),
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "array<bigint>": np.dtype(np.int64),
    "array<int>": np.dtype(np.int32),
    "array<float>": np.dtype(np.float32),
    "array<double>": np.dtype(np.float64),
}


def _read_file(plan: Plan, file: int) -> Batch:
    """All rows of one file: column -> [n] or [n x length].

    Raises:
        HandoverError: the file is gone, a row group is lost or repeated, a column or its type, or the number of rows is
            not as planned.
    """
    planned = plan.files[file]
    where = f"file {planned.url} of table {plan.table!r} at version {plan.version}"
    try:
        footer = _footer(planned.url)
        groups = row_groups(planned.url, [column.name for column in plan.columns])
    except (OSError, RuntimeError, ValueError, pyarrow.ArrowException) as error:
        raise HandoverError(
            f"{where} cannot be read: {error}. If VACUUM removed it, run the job that writes the table again; "
            "the lists of a column must all have one length, and no column nulls"
        ) from error
    lengths = [len(next(iter(group.values()))) for group in groups]
    if sum(lengths) != planned.n_rows:
        raise HandoverError(f"{where}: {planned.n_rows} rows planned, {sum(lengths)} read; going on would lose or repeat rows. {_AGAIN}")
    if lengths != footer:
        raise HandoverError(f"{where}: row groups of {footer} rows were planned, of {lengths} read. {_AGAIN}")
    columns = {column.name: _checked(plan, planned.url, column.name, groups) for column in plan.columns}
    for key in columns.keys() & KEYS:
        values, counts = np.unique(columns[key], return_counts=True)
        if len(values) < planned.n_rows:
            raise HandoverError(
                f"{where}: {planned.n_rows} rows planned, {len(values)} different ones read, {key} {values[counts > 1][:5].tolist()} "
                f"more than once. {_AGAIN}"
            )
    return columns


def _footer(url: str) -> list[int]:
    """Rows of each row group, as the file says."""
    with fsspec.open(url) as stream:
        metadata = parquet.read_metadata(stream)
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def _checked(plan: Plan, url: str, name: str, groups: Sequence[Batch]) -> np.ndarray:
    """A column of all row groups, contiguous, after comparing its type and length with the plan."""
    column = plan.column(name)
    missing = [group for group in groups if name not in group]
    if missing:
        raise HandoverError(f"file {url} of table {plan.table!r} has no column {name!r} that Petastorm can read")
    parts = [group[name] for group in groups]
    array = np.ascontiguousarray(parts[0] if len(parts) == 1 else np.concatenate(parts))
    shape = (len(array), *_width(column))
    if array.dtype != DTYPES[column.type] or array.shape != shape:
        raise HandoverError(
            f"file {url} of table {plan.table!r}, column {name!r}: planned {column.type} of shape {shape}, "
            f"read {array.dtype} of shape {array.shape}"
        )
    return array


def _read_ranges(plan: Plan, ranges: Sequence[RowRange]) -> Iterator[Batch]:
    """The rows of each range, in turn. The last file stays decoded: neighbouring ranges often share it."""
    held: tuple[int, Batch] | None = None
    for piece in ranges:
        if held is None or held[0] != piece.file:
            held = None  # let go of the old file before the next one is decoded
            held = (piece.file, _read_file(plan, piece.file))
        rows = np.arange(plan.files[piece.file].n_rows)
        if piece.order is not None:
            rows = np.random.Generator(np.random.PCG64(piece.order)).permutation(rows)
        rows = rows[piece.start : piece.stop]
        yield {name: array[rows] for name, array in held[1].items()}


def _width(column: PlannedColumn) -> tuple[int, ...]:
    return (column.length,) if column.length else ()


def read_steps(plan: Plan, windows: Sequence[Window]) -> Iterator[Batch]:
    """A process's training batches, one a step: column -> [slots] or [slots x length], and `is_real` [slots].

    Row `step` of each slot; rows that do not exist are zeros with `is_real` false.

    Raises:
        HandoverError: the files do not hold what was planned.
    """
    pieces = read_ahead(_read_ranges(plan, [piece for window in windows for piece in window.ranges]), RANGES_AHEAD)
    for window in windows:
        n_slots, n_steps = window.n_slots, window.n_steps
        whole = {column.name: np.zeros((n_slots * n_steps, *_width(column)), DTYPES[column.type]) for column in plan.columns}
        filled = 0
        for piece in (next(pieces) for _ in window.ranges):
            n_rows = len(next(iter(piece.values())))
            for name, array in piece.items():
                whole[name][filled : filled + n_rows] = array
            filled += n_rows
        columns = {name: array.reshape(n_slots, n_steps, *array.shape[1:]) for name, array in whole.items()}
        columns[REAL] = (np.arange(n_slots * n_steps) < window.n_rows).reshape(n_slots, n_steps)
        for step in range(window.first_step, n_steps):
            yield {name: np.ascontiguousarray(array[:, step]) for name, array in columns.items()}


def read_rows(plan: Plan, ranges: Sequence[RowRange], batch_size: int) -> Iterator[Batch]:
    """The rows of `ranges` in order, at most `batch_size` at a time (a batch never spans two files): each exactly once.

    Raises:
        HandoverError: the files do not hold what was planned, or other than the planned number of rows came out.
    """
    n_read = 0
    for piece in read_ahead(_read_ranges(plan, ranges), RANGES_AHEAD):
        n_rows = len(next(iter(piece.values())))
        n_read += n_rows
        for start in range(0, n_rows, batch_size):
            yield {name: array[start : start + batch_size] for name, array in piece.items()}
    n_planned = sum(piece.n_rows for piece in ranges)
    if n_read != n_planned:
        raise HandoverError(f"table {plan.table!r} at version {plan.version}: {n_planned} rows planned, {n_read} read")
