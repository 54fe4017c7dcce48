"""What recspark's side wrote as Parquet, as arrays: read in the peer's process, so that the driver's memory stays the engine's."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recspark.kernels.ragged import as_ragged
from tests.bench.agree import Lists


def _lists(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    return as_ragged(column.combine_chunks())


def _empty(n_rows: int, k: int) -> Lists:
    return Lists(np.full((n_rows, k), -1, np.int64), np.zeros((n_rows, k), np.float32))


def read_vectors(folder: str, kind: str, n: int) -> np.ndarray:
    """Rows of `vectors` by index; zeros for what has none."""
    found = pq.read_table(folder, columns=["kind", "idx", "vector"])
    found = found.filter(pc.equal(found.column("kind"), kind))
    offsets, values = _lists(found.column("vector"))
    vectors = np.zeros((n, offsets[1] - offsets[0]), np.float32)
    vectors[found.column("idx").to_numpy()] = values[offsets[0] : offsets[-1]].reshape(found.num_rows, -1)
    return vectors


def read_lists(folder: str, rows: list[int], k: int) -> Lists:
    """Of the requests `rows`, from `source_candidates`."""
    found = pq.read_table(folder, filters=[("request_idx", "in", rows)])
    lists = _empty(len(rows), k)
    for row in found.to_pylist():
        place, n = rows.index(row["request_idx"]), len(row["items"])
        lists.ids[place, :n], lists.scores[place, :n] = row["items"], row["scores"]
    return lists


def read_neighbours(folder: str, rows: list[int], k: int) -> tuple[Lists, np.ndarray]:
    """Of the items (or users) `rows`, from `neighbours`; and their supports."""
    found = pq.read_table(folder, filters=[("idx", "in", rows)])
    lists, supports = _empty(len(rows), k), np.zeros((len(rows), k), np.int64)
    at = np.searchsorted(rows, found.column("idx").to_numpy()), found.column("position").to_numpy()
    for into, name in ((lists.ids, "neighbour_idx"), (lists.scores, "score"), (supports, "support")):
        into[at] = found.column(name).to_numpy()
    return lists, supports
