"""What training processes compute, back to the river: Parquet files in a staging folder, and a list of what is in them.

A folder is never listed: what a killed attempt left behind is not read.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from recspark.columns import ITEM, REQUEST
from recspark.errors import HandoverError
from recspark.handover.files import write_whole
from recspark.handover.plan import Plan

ROWS_PER_FILE = 262_144


def slate_rows(request_idx: np.ndarray, items: np.ndarray, scores: np.ndarray, n_items: np.ndarray) -> pa.Table:
    """Rows of `scores`: request_idx [B], items and scores [B x S] of which row i's first n_items[i] are candidates."""
    real = np.arange(items.shape[1]) < n_items[:, None]
    offsets = pa.array(np.concatenate([[0], np.cumsum(n_items)]).astype(np.int32))
    lists = [
        pa.ListArray.from_arrays(offsets, pa.array(values[real], kind)) for values, kind in ((items, pa.int32()), (scores, pa.float32()))
    ]
    return pa.Table.from_arrays([pa.array(request_idx, pa.int64()), *lists], names=["request_idx", "items", "scores"])


def vector_rows(kind: str, idx: np.ndarray, vectors: np.ndarray, biases: np.ndarray) -> pa.Table:
    """Rows of `vectors`: idx [B], vectors [B x E], biases [B], of ITEM or REQUEST."""
    assert kind in (ITEM, REQUEST)
    values = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(values, vectors.shape[1]).cast(pa.list_(pa.float32()))
    columns = [pa.array([kind] * len(idx)), pa.array(idx, pa.int64()), lists, pa.array(biases, pa.float32())]
    return pa.Table.from_arrays(columns, names=["kind", "idx", "vector", "bias"])


class ResultWriter:
    """Writes one process's rows. Names follow from the plan and the process, so a retry replaces its own files."""

    def __init__(self, folder: str, plan: Plan, process_rank: int, world_size: int, rows_per_file: int = ROWS_PER_FILE) -> None:
        self._folder = folder.rstrip("/")
        self._prefix = f"part-{process_rank:05d}-of-{world_size:05d}-{plan.digest()[:12]}"
        self._rows_per_file = rows_per_file
        self._held: list[pa.Table] = []
        self._n_held = self._n_planned = 0
        self._files: list[str] = []

    def add(self, rows: pa.Table, *, n_planned: int) -> None:
        """Rows of the table that is written, made of `n_planned` rows of the plan."""
        self._n_planned += n_planned
        if rows.num_rows:
            self._held.append(rows)
            self._n_held += rows.num_rows
        if self._n_held >= self._rows_per_file:
            self._write()

    def _write(self) -> None:
        name = f"{self._prefix}-{len(self._files):05d}.parquet"
        buffer = io.BytesIO()
        parquet.write_table(pa.concat_tables(self._held), buffer)
        write_whole(f"{self._folder}/{name}", buffer.getvalue())
        self._files.append(name)
        self._held, self._n_held = [], 0

    def finish(self) -> dict[str, Any]:
        """The manifest: {"files": names, "n_planned": rows of the plan that were worked on}. Without it nothing of this process counts."""
        if self._held:
            self._write()
        return {"files": self._files, "n_planned": self._n_planned}


def written_files(manifests: Sequence[Mapping[str, Any] | None], folder: str, plan: Plan) -> list[str]:
    """The URLs of the files that were made of every row of `plan` once, from the manifests of all processes.

    Raises:
        HandoverError: a process has no manifest, or the rows worked on are not the rows planned.
    """
    missing = [str(rank) for rank, manifest in enumerate(manifests) if manifest is None]
    if missing:
        raise HandoverError(f"table {plan.table!r}: process {', '.join(missing)} of {len(manifests)} left no manifest; run again")
    n_rows = sum(manifest["n_planned"] for manifest in manifests if manifest)
    if n_rows != plan.n_rows:
        raise HandoverError(
            f"table {plan.table!r} at version {plan.version}: {plan.n_rows} rows planned, {n_rows} worked on; nothing was published. Run again"
        )
    return [f"{folder.rstrip('/')}/{name}" for manifest in manifests if manifest for name in manifest["files"]]
