"""Reads a process's share of a plan through Petastorm: the only place that imports it.

Petastorm's thread pool loses rows at the end of its queue, so it reads in the caller's thread (`dummy`) and a thread of
ours reads ahead. One Petastorm reader a file: it cannot address rows, and files are small. Whatever it returns is
counted against the plan.
"""

from __future__ import annotations

import queue
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import fsspec
import numpy as np
import pyarrow
from pyarrow import parquet

from recspark.errors import HandoverError
from recspark.handover.plan import Plan, RowRange, Window

Batch = dict[str, np.ndarray]
T = TypeVar("T")

# Which of a training batch's rows exist; the others are padding.
REAL = "is_real"
# Tells rows apart: no two of a file have the same.
REQUEST = "request_idx"
# Decoded pieces read ahead of the consumer.
READ_AHEAD = 2
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
        groups = _row_groups(planned.url, [column.name for column in plan.columns], len(footer))
    except (OSError, RuntimeError, ValueError, pyarrow.ArrowException) as error:
        raise HandoverError(
            f"{where} cannot be read: {error}. If VACUUM removed it, run the job that writes the table again; "
            "the lists of a column must all have one length"
        ) from error
    lengths = [len(next(iter(group.values()))) for group in groups]
    if sum(lengths) != planned.n_rows:
        raise HandoverError(f"{where}: {planned.n_rows} rows planned, {sum(lengths)} read; going on would lose or repeat rows. {_AGAIN}")
    if lengths != footer:
        raise HandoverError(f"{where}: row groups of {footer} rows were planned, of {lengths} read. {_AGAIN}")
    columns = {column.name: _checked(plan, planned.url, column.name, groups) for column in plan.columns}
    if REQUEST in columns:
        values, counts = np.unique(columns[REQUEST], return_counts=True)
        if len(values) < planned.n_rows:
            raise HandoverError(
                f"{where}: {planned.n_rows} rows planned, {len(values)} different ones read, {REQUEST} {values[counts > 1][:5].tolist()} "
                f"more than once. {_AGAIN}"
            )
    return columns


def _footer(url: str) -> list[int]:
    """Rows of each row group, as the file says."""
    with fsspec.open(url) as stream:
        metadata = parquet.read_metadata(stream)
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def _row_groups(url: str, names: Sequence[str], n_groups: int) -> list[Batch]:
    """The file's row groups, in order, as Petastorm decodes them; fewer than `n_groups` where it ends early.

    Petastorm is asked for exactly as many groups as the footer lists: asking once more, to hear that it has finished,
    can wait for ever when its own thread has handed out the last group but not yet said so.
    """
    from petastorm import make_batch_reader

    with warnings.catch_warnings():
        # It warns of pandas' and pyarrow's deprecated names, once a file.
        warnings.simplefilter("ignore")
        reader = make_batch_reader(
            [url],
            schema_fields=[f"^{re.escape(name)}$" for name in names],
            reader_pool_type="dummy",
            shuffle_row_groups=False,
            num_epochs=1,
        )
        try:
            return [group._asdict() for group in islice(reader, n_groups)]
        finally:
            reader.stop()
            reader.join()


def _checked(plan: Plan, url: str, name: str, groups: Sequence[Batch]) -> np.ndarray:
    """A column of all row groups, contiguous, after comparing its type and length with the plan."""
    column = plan.column(name)
    missing = [group for group in groups if name not in group]
    if missing:
        raise HandoverError(f"file {url} of table {plan.table!r} has no column {name!r} that Petastorm can read")
    parts = [group[name] for group in groups]
    array = np.ascontiguousarray(parts[0] if len(parts) == 1 else np.concatenate(parts))
    shape = (len(array), column.length) if column.length else (len(array),)
    if array.dtype != DTYPES[column.type] or array.shape != shape:
        raise HandoverError(
            f"file {url} of table {plan.table!r}, column {name!r}: planned {column.type} of shape {shape}, "
            f"read {array.dtype} of shape {array.shape} (nulls turn whole numbers into fractions)"
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


def _read_ahead(source: Iterator[T]) -> Iterator[T]:
    """`source`, run by a thread of its own, at most `READ_AHEAD` items ahead.

    Its exception is raised here, in its place. The thread ends when the consumer closes this iterator.
    """
    items: queue.Queue[tuple[str, Any]] = queue.Queue(READ_AHEAD)
    closed = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not closed.is_set():
            try:
                items.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for value in source:
                if not put("item", value):
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=work, name="recspark-read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = items.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        closed.set()
        thread.join()


def _window_steps(plan: Plan, windows: Sequence[Window]) -> Iterator[Batch]:
    """One batch a step: row `step` of each slot; rows that do not exist are zeros with `is_real` false."""
    pieces = _read_ranges(plan, [piece for window in windows for piece in window.ranges])
    for window in windows:
        parts = [next(pieces) for _ in window.ranges]
        n_slots, n_steps = window.n_slots, window.n_steps
        columns = {}
        for column in plan.columns:
            shape = (n_slots * n_steps, column.length) if column.length else (n_slots * n_steps,)
            full = np.zeros(shape, DTYPES[column.type])
            if parts:
                full[: window.n_rows] = np.concatenate([part[column.name] for part in parts])
            columns[column.name] = full.reshape(n_slots, n_steps, *shape[1:])
        columns[REAL] = (np.arange(n_slots * n_steps) < window.n_rows).reshape(n_slots, n_steps)
        for step in range(window.first_step, n_steps):
            yield {name: np.ascontiguousarray(array[:, step]) for name, array in columns.items()}


def _range_batches(plan: Plan, ranges: Sequence[RowRange], batch_size: int) -> Iterator[Batch]:
    for piece in _read_ranges(plan, ranges):
        n_rows = len(next(iter(piece.values())))
        for start in range(0, n_rows, batch_size):
            yield {name: array[start : start + batch_size] for name, array in piece.items()}


def read_steps(plan: Plan, windows: Sequence[Window]) -> Iterator[Batch]:
    """A process's training batches, one a step: column -> [slots] or [slots x length], and `is_real` [slots].

    Raises:
        HandoverError: the files do not hold what was planned.
    """
    return _read_ahead(_window_steps(plan, windows))


def read_rows(plan: Plan, ranges: Sequence[RowRange], batch_size: int) -> Iterator[Batch]:
    """The rows of `ranges` in order, at most `batch_size` at a time (a batch never spans two files): each exactly once.

    Raises:
        HandoverError: the files do not hold what was planned, or other than the planned number of rows came out.
    """
    n_read = 0
    for batch in _read_ahead(_range_batches(plan, ranges, batch_size)):
        n_read += len(next(iter(batch.values())))
        yield batch
    n_planned = sum(piece.n_rows for piece in ranges)
    if n_read != n_planned:
        raise HandoverError(f"table {plan.table!r} at version {plan.version}: {n_planned} rows planned, {n_read} read")
