"""Slate files as the store writes them: one row group a file, fixed-length lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from recspark.handover.plan import Plan, PlannedColumn, make_plan

TYPES = {"int64": "bigint", "int32": "int", "float32": "float"}


def arrow_column(array: np.ndarray) -> pa.Array:
    if array.ndim == 1:
        return pa.array(array)
    offsets = np.arange(0, array.size + 1, array.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(array).reshape(-1)))


def write_file(path: Path, columns: Mapping[str, np.ndarray], row_group_size: int | None = None) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({name: arrow_column(array) for name, array in columns.items()})
    parquet.write_table(table, path, row_group_size=row_group_size or max(1, table.num_rows))
    return f"file://{path}"


def plan_files(folder: Path, files: Sequence[Mapping[str, np.ndarray]], table: str = "examples", horizon: str = "fit") -> Plan:
    """Write each mapping of columns as a file and plan them all."""
    rows = {}
    for i, columns in enumerate(files):
        url = write_file(folder / f"horizon={horizon}" / f"part-{i:05d}.parquet", columns)
        rows[url] = len(next(iter(columns.values())))
    first = files[0]
    planned = [
        PlannedColumn(name, f"array<{TYPES[a.dtype.name]}>" if a.ndim == 2 else TYPES[a.dtype.name], a.shape[1] if a.ndim == 2 else 0)
        for name, a in first.items()
    ]
    return make_plan(table, 3, horizon, planned, rows)
