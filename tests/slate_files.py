"""Slate files as the store writes them (one row group a file, fixed-length lists), and a tiny world of slates to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from recspark.handover.arrays import Published, publish
from recspark.handover.plan import Plan, PlannedColumn, make_plan
from recspark.kernels.slates import feature_names

SOURCES = ["als", "popular"]
N_ITEMS, N_USERS, N_SLOTS, N_HISTORY = 40, 20, 8, 5
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


def make_slates(n: int, seed: int) -> dict[str, np.ndarray]:
    """Slates whose labels no source sees.

    Items are even or odd (their category, 2 or 3), and a user likes the parity of their latest event. The sources' order
    is random: the label is one candidate of the liked parity, and a label can be told from category and history only.
    Half of the candidates have the parity. The label's parity is known for certain, which of those it is is not.
    """
    rng = np.random.default_rng(seed)
    taste = rng.integers(0, 2, n)
    items = np.stack(
        [rng.permutation(np.r_[2 * rng.choice(N_ITEMS // 2, 4, False), 2 * rng.choice(N_ITEMS // 2, 4, False) + 1]) for _ in range(n)]
    )
    history = 2 * rng.integers(0, N_ITEMS // 2, (n, N_HISTORY)) + taste[:, None]
    liked = items % 2 == taste[:, None]
    labels = np.zeros((n, N_SLOTS), np.float32)
    labels[np.arange(n), [rng.choice(np.flatnonzero(row)) for row in liked]] = 1
    n_features = len(feature_names(SOURCES))
    features = np.zeros((n, N_SLOTS, n_features), np.float32)
    features[..., feature_names(SOURCES).index("als_reciprocal_position")] = 1 / (1 + np.arange(N_SLOTS))
    features[..., feature_names(SOURCES).index("blended_reciprocal_position")] = 1 / (1 + np.arange(N_SLOTS))
    return {
        "request_idx": np.arange(n, dtype=np.int64) + 1000 * seed,
        "user_idx": np.arange(n, dtype=np.int64) % N_USERS,
        "history_items": history.astype(np.int32),
        "history_types": np.ones((n, N_HISTORY), np.int32),
        "history_ages": np.ones((n, N_HISTORY), np.float32) * np.arange(N_HISTORY, 0, -1, dtype=np.float32),
        "history_length": np.full(n, N_HISTORY, np.int32),
        "user_numbers": np.zeros((n, 1), np.float32),
        "user_categories": np.zeros((n, 1), np.int32),
        "items": items.astype(np.int32),
        "n_items": np.full(n, N_SLOTS, np.int32),
        "features": features.reshape(n, -1),
        "labels": labels,
        "n_positives": np.ones(n, np.int32),
        "weight": np.ones(n, np.float32),
    }


def publish_items(folder: Path, n_items: int = N_ITEMS) -> Published:
    idx = np.arange(n_items, dtype=np.int32)
    arrays = {"item_idx": idx, "numbers": np.zeros((n_items, 1), np.float32), "categories": (2 + idx[:, None] % 2).astype(np.int32)}
    return publish(arrays, str(folder / "arrays"))
