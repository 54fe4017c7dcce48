"""A world of slates as the store writes them: files of one row group, and the items in them."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recspark.handover.arrays import Published, publish
from recspark.handover.plan import Plan, PlannedColumn, make_plan
from recspark.kernels.slates import feature_names
from tests.slate_files import TYPES, write_file

SOURCES = ["als", "item_knn", "popular"]
ROWS_A_FILE = 8192  # as hand-over tables have
N_ITEMS, N_SLOTS, N_HISTORY = 20_000, 100, 50


@dataclass(frozen=True)
class Slates:
    """Plans of slates to learn from and to tune by, and the item features."""

    fit: Plan
    tune: Plan
    items: Published


def make_slates(n: int, first: int, seed: int) -> dict[str, np.ndarray]:
    """Slates of the default configuration's shape. A positive is likelier high in the blended order: there is something to learn."""
    rng = np.random.default_rng(seed)
    names = feature_names(SOURCES)
    features = rng.random((n, N_SLOTS, len(names)), dtype=np.float32)
    # Coarse, as places and standardised scores of few digits are: about as large on disk as real ones.
    features = np.round(features * 64) / 64
    places = 1 / (1 + np.argsort(rng.random((n, N_SLOTS), dtype=np.float32), axis=1).astype(np.float32))
    for name in names:
        if name.endswith("reciprocal_position"):
            features[..., names.index(name)] = places
    labels = (rng.random((n, N_SLOTS), dtype=np.float32) < 0.2 * places).astype(np.float32)
    length = rng.integers(5, N_HISTORY + 1, n).astype(np.int32)
    popular = rng.zipf(1.3, (n, N_HISTORY + N_SLOTS)) % N_ITEMS
    return {
        "request_idx": np.arange(first, first + n, dtype=np.int64),
        "user_idx": np.arange(first, first + n, dtype=np.int64),
        "history_items": popular[:, :N_HISTORY].astype(np.int32),
        "history_types": np.ones((n, N_HISTORY), np.int32),
        "history_ages": np.sort(rng.integers(0, 400, (n, N_HISTORY)).astype(np.float32), axis=1)[:, ::-1].copy(),
        "history_length": length,
        "user_numbers": np.zeros((n, 1), np.float32),
        "user_categories": rng.integers(0, 20, (n, 2)).astype(np.int32),
        "items": popular[:, N_HISTORY:].astype(np.int32),
        "n_items": np.full(n, N_SLOTS, np.int32),
        "features": features.reshape(n, -1),
        "labels": labels,
        "n_positives": labels.sum(1).astype(np.int32) + 1,
        "weight": np.ones(n, np.float32),
    }


def _plan(folder: Path, horizon: str, n: int, first: int) -> Plan:
    rows: dict[str, int] = {}
    columns: tuple[PlannedColumn, ...] = ()
    for number, start in enumerate(range(0, n, ROWS_A_FILE)):
        arrays = make_slates(min(ROWS_A_FILE, n - start), first + start, seed=first + number)
        url = write_file(folder / f"horizon={horizon}" / f"part-{number:05}.parquet", arrays)
        rows[url] = len(arrays["items"])
        columns = tuple(
            PlannedColumn(name, f"array<{TYPES[a.dtype.name]}>" if a.ndim == 2 else TYPES[a.dtype.name], a.shape[1] if a.ndim == 2 else 0)
            for name, a in arrays.items()
        )
    return make_plan("examples", 1, horizon, columns, rows)


def write_slates(folder: str, n: int) -> Slates:
    """`n` slates to learn from, and one file's worth to tune by, below `folder`; made once."""
    place = Path(folder) / f"slates-{n}"
    done = place / "plans.pickle"
    if not done.exists():
        rng = np.random.default_rng(1)
        arrays = {
            "item_idx": np.arange(N_ITEMS, dtype=np.int32),
            "numbers": rng.random((N_ITEMS, 2), dtype=np.float32),
            "categories": rng.integers(0, 30, (N_ITEMS, 3)).astype(np.int32),
        }
        slates = Slates(_plan(place, "fit", n, 0), _plan(place, "tune", min(n, 1024), 1 << 40), publish(arrays, str(place / "arrays")))
        done.write_bytes(pickle.dumps(slates))
    return pickle.loads(done.read_bytes())
