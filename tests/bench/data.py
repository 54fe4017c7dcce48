"""The generated world as both sides get it: Parquet files in the columns of `interactions`, and what top-k starts from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csr_matrix

from recspark.handover.arrays import Published, publish
from tests.worlds import ml20m_size, zipf_chunks

# Several files and row groups, so that every core has something to read.
ROWS_A_FILE = 1 << 21
EVENT_TYPE = "use"


def _short(n: int) -> str:
    return f"{n / 1e6:.3g} M" if n >= 1_000_000 else f"{n / 1e3:.3g} k" if n >= 1_000 else str(n)


@dataclass(frozen=True)
class Size:
    """Users x items, pairs."""

    n_users: int
    n_items: int
    n_pairs: int

    def __str__(self) -> str:
        return f"{_short(self.n_users)} x {_short(self.n_items)}, {_short(self.n_pairs)}"


def ml20m(scale: float) -> Size:
    """The default world; users and pairs grow with `scale`, the mean user and the catalogue stay."""
    return Size(**ml20m_size(scale))


# MovieLens 1M's size: for what is too slow at the default's.
ML1M = Size(6_040, 3_706, 1_000_000)


def write_world(size: Size, folder: Path, *, seed: int = 7) -> str:
    """Interactions of a generated world as Parquet below `folder`; returns the folder. Memory does not grow with the size."""
    target = folder / f"{size.n_users}-{size.n_items}-{size.n_pairs}-{seed}"
    for number, table in enumerate(_tables(size, seed) if not target.exists() else ()):
        target.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, target / f"{number:04}.parquet", row_group_size=ROWS_A_FILE // 4)
    return str(target)


def _tables(size: Size, seed: int) -> Iterator[pa.Table]:
    chunk = max(1, min(ROWS_A_FILE, size.n_pairs // 4))
    first = 0
    for world in zipf_chunks(size.n_users, size.n_items, size.n_pairs, seed=seed, chunk=chunk):
        n = len(world.users)
        keys = np.arange(first, first + n)
        first += n
        columns = {
            "user_idx": world.users.astype(np.int64),
            "item_idx": world.items.astype(np.int32),
            "event_type": pa.array([EVENT_TYPE]).dictionary_encode().take(pa.array(np.zeros(n, np.int32))).cast(pa.string()),
            "value": pa.nulls(n, pa.float64()),
            "event_at": pa.array((world.days.astype(np.float64) * 86_400e6).astype(np.int64)).cast(pa.timestamp("us", tz="UTC")),
            "event_order": keys,
            "event_key": keys,
        }
        yield pa.table(columns)


def read_matrix(folder: str, size: Size) -> csr_matrix:
    """The same pairs as the peer's user x item matrix of ones."""
    table = pq.read_table(folder, columns=["user_idx", "item_idx"])
    users, items = (table.column(name).to_numpy() for name in ("user_idx", "item_idx"))
    return csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=(size.n_users, size.n_items))


def write_factors(user_vectors: np.ndarray, item_vectors: np.ndarray, matrix: csr_matrix, folder: Path) -> dict[str, Published]:
    """Tables `vectors` (users), `requests` and `seen` as Parquet below `folder`; item vectors and features as published arrays."""
    n_users, rank = user_vectors.shape
    users, nothing = np.arange(n_users), np.zeros(n_users, np.float32)
    lists = pa.ListArray.from_arrays(pa.array(np.arange(n_users + 1, dtype=np.int32) * rank), pa.array(user_vectors.ravel()))
    as_vectors = {
        "kind": pa.array(["user"] * n_users),
        "source": pa.array(["als"] * n_users),
        "idx": users,
        "vector": lists,
        "bias": nothing,
    }
    matrix.sort_indices()
    seen = pa.ListArray.from_arrays(pa.array(matrix.indptr.astype(np.int32)), pa.array(matrix.indices.astype(np.int32)))
    requests = {
        "request_idx": users,
        "user_idx": users,
        "as_of": pa.nulls(n_users, pa.timestamp("us", tz="UTC")),
        "k": nothing.astype(np.int32),
    }
    as_seen = {"request_idx": users, "items": seen, "allowed": pa.nulls(n_users, pa.list_(pa.int32()))}
    for name, columns in (("vectors", as_vectors), ("seen", as_seen), ("requests", requests)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        whole = pa.table(columns)
        for number, first in enumerate(range(0, n_users, -(-n_users // 4))):
            pq.write_table(whole.slice(first, -(-n_users // 4)), folder / name / f"{number}.parquet")
    items = np.arange(len(item_vectors))
    arrays = {"idx": items, "vector": item_vectors, "bias": np.zeros(len(items), np.float32)}
    features = {"item_idx": items.astype(np.int32), "available": np.ones(len(items), np.bool_)}
    features |= {"quota_categories": np.full((len(items), 1), -1), "quota": np.zeros(len(items), np.int32)}
    return {"item_vectors": publish(arrays, str(folder)), "item_features": publish(features, str(folder))}
