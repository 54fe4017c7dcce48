"""Scores from training processes back to the river: Parquet files in a staging folder, and a list of what is in them.

A folder is never listed: what a killed attempt left behind is not read.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from recspark.errors import HandoverError
from recspark.handover.files import write_whole
from recspark.handover.plan import Plan

ROWS_PER_FILE = 262_144
SCHEMA = pa.schema([("request_idx", pa.int64()), ("items", pa.list_(pa.int32())), ("scores", pa.list_(pa.float32()))])


class ScoreWriter:
    """Writes one process's scores. Names follow from the plan and the process, so a retry replaces its own files."""

    def __init__(self, folder: str, plan: Plan, process_rank: int, world_size: int, rows_per_file: int = ROWS_PER_FILE) -> None:
        self._folder = folder.rstrip("/")
        self._prefix = f"part-{process_rank:05d}-of-{world_size:05d}-{plan.digest()[:12]}"
        self._rows_per_file = rows_per_file
        self._held: list[pa.Table] = []
        self._n_held = 0
        self._files: list[dict[str, Any]] = []

    def add(self, request_idx: np.ndarray, items: np.ndarray, scores: np.ndarray, n_items: np.ndarray) -> None:
        """Slates: request_idx [B], items and scores [B x S] of which row i's first n_items[i] are candidates."""
        real = np.arange(items.shape[1]) < n_items[:, None]
        offsets = pa.array(np.concatenate([[0], np.cumsum(n_items)]).astype(np.int32))
        lists = [
            pa.ListArray.from_arrays(offsets, pa.array(values[real], kind))
            for values, kind in ((items, pa.int32()), (scores, pa.float32()))
        ]
        self._held.append(pa.Table.from_arrays([pa.array(request_idx, pa.int64()), *lists], schema=SCHEMA))
        self._n_held += len(request_idx)
        if self._n_held >= self._rows_per_file:
            self._write()

    def _write(self) -> None:
        table = pa.concat_tables(self._held)
        name = f"{self._prefix}-{len(self._files):05d}.parquet"
        buffer = io.BytesIO()
        parquet.write_table(table, buffer)
        write_whole(f"{self._folder}/{name}", buffer.getvalue())
        self._files.append({"name": name, "n_rows": table.num_rows})
        self._held, self._n_held = [], 0

    def finish(self) -> dict[str, Any]:
        """The manifest: {"files": [{"name", "n_rows"}]}. Without it nothing of this process counts."""
        if self._held:
            self._write()
        return {"files": self._files}


def scored_files(manifests: Sequence[Mapping[str, Any] | None], folder: str, plan: Plan) -> list[str]:
    """The URLs of the files that hold every row of `plan` once, from the manifests of all processes.

    Raises:
        HandoverError: a process has no manifest, or the rows scored are not the rows planned.
    """
    missing = [str(rank) for rank, manifest in enumerate(manifests) if manifest is None]
    if missing:
        raise HandoverError(f"table {plan.table!r}: process {', '.join(missing)} of {len(manifests)} left no manifest; run again")
    files = [file for manifest in manifests if manifest for file in manifest["files"]]
    n_rows = sum(file["n_rows"] for file in files)
    if n_rows != plan.n_rows:
        raise HandoverError(
            f"table {plan.table!r} at version {plan.version}: {plan.n_rows} rows planned, {n_rows} scored; nothing was published. Run again"
        )
    return [f"{folder.rstrip('/')}/{file['name']}" for file in files]
