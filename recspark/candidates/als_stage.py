"""Blocked alternating least squares as one stage of Spark: a task for each block of users, all at once, from events to files of vectors."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark import BarrierTaskContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.candidates.als_blocks import BlockedAls, Recipe, State, initial_state
from recspark.candidates.spreading import spread
from recspark.columns import ITEM, USER
from recspark.errors import LimitError
from recspark.handover.arrays import Published
from recspark.handover.files import read_whole, remove, write_whole
from recspark.handover.peers import Peers, blocks_of, meet
from recspark.kernels.als_events import Block, build_block

# A block's part of the fit, as the driver hears of it: one row a task.
_REPORT = "rank int, report string"
FINISHED = "fit.json"
_VECTORS = pa.schema([("kind", pa.string()), ("idx", pa.int64()), ("vector", pa.list_(pa.float32())), ("bias", pa.float32())])
_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Fit:
    """What every task of a fit is told."""

    recipe: Recipe
    explicit: bool  # targets are ratings, less their mean where the recipe has biases; else 1
    extra: float  # see kernels.als_events.build_block
    folder: str
    checkpoint_interval: int | None
    item_bytes: int
    known: Published | None = None


def _columns(batches: Iterable[pa.RecordBatch], names: Mapping[str, type]) -> dict[str, np.ndarray]:
    """All batches' columns, each as one array."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for batch in batches:
        for name, kept in parts.items():
            kept.append(batch.column(name).to_numpy(zero_copy_only=False))
    return {name: np.concatenate([np.empty(0, kind), *parts[name]]).astype(kind, copy=False) for name, kind in names.items()}


def _sums(peers: Peers, *numbers: float) -> list[float]:
    return [float(number) for number in peers.sum_all(np.array(numbers, np.float64))]


def _load(batches: Iterable[pa.RecordBatch], peers: Peers, fit: Fit) -> tuple[Block, int, float]:
    """The task's block, the number of items (1 + the largest index of all), and the mean that targets were lessened by."""
    kinds = {"user_idx": np.int64, "item_idx": np.int32, "weight": np.float64, **({"target": np.float64} if fit.explicit else {})}
    events = _columns(batches, kinds)
    n_items = int(peers.gather(np.array([events["item_idx"].max(initial=-1)])).max()) + 1
    targets, mean = events.get("target"), 0.0
    if targets is not None and fit.recipe.centred:
        total, weight = _sums(peers, float((events["weight"] * targets).sum()), float(events["weight"].sum()))
        mean = total / weight if weight else 0.0
        targets = targets - mean
    columns = (events["user_idx"], events["item_idx"], events["weight"], targets)
    return build_block(*columns, n_items, n_blocks=peers.n, extra=fit.extra), n_items, mean


# ---- so far, and going on


def _place(fit: Fit, peers: Peers, iteration: int) -> str:
    return f"{fit.folder}/of-{peers.n}/{iteration}/{peers.rank}.npz"


def _save(fit: Fit, peers: Peers, own: slice, state: State) -> None:
    """Keep the task's part of the state; of earlier ones the last stays, until all tasks have saved this one."""
    n = len(state.losses)
    file = io.BytesIO()
    np.savez(file, users=state.users, items=state.items[own], losses=state.losses, seconds=state.seconds)
    write_whole(_place(fit, peers, n), file.getvalue())
    assert fit.checkpoint_interval is not None
    remove(_place(fit, peers, n - 2 * fit.checkpoint_interval))


def _resume(fit: Fit, peers: Peers, bounds: np.ndarray, state: State) -> State:
    """The latest state that all tasks have saved, or `state`."""
    assert fit.checkpoint_interval is not None
    saved = {
        n: data for n in range(0, fit.recipe.max_iter + 1, fit.checkpoint_interval) if n and (data := read_whole(_place(fit, peers, n)))
    }
    flags = np.array([n in saved for n in range(fit.recipe.max_iter + 1)])
    common = np.flatnonzero(peers.gather(flags).all(axis=0))
    if not common.size:
        return state
    with np.load(io.BytesIO(saved[int(common[-1])])) as kept:
        state.users[:], state.items[bounds[peers.rank] : bounds[peers.rank + 1]] = kept["users"], kept["items"]
        state.losses, state.seconds = kept["losses"].tolist(), kept["seconds"].tolist()
    peers.share_blocks(state.items, bounds)
    return state


# ---- results


def _write_vectors(url: str, kind: str, idx: np.ndarray, factors: np.ndarray, rank: int, shift: float) -> str:
    """One file of rows of `vectors`; a factor beyond `rank` is the bias, to which `shift` is added."""
    fs, path = fsspec.core.url_to_fs(url)
    with fs.open(path, "wb") as file, pq.ParquetWriter(file, _VECTORS) as writer:
        for first in range(0, len(idx), _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            n = len(idx[rows])
            vectors = pa.ListArray.from_arrays(
                pa.array(np.arange(n + 1, dtype=np.int32) * rank), pa.array(np.ascontiguousarray(factors[rows, :rank]).reshape(-1))
            )
            bias = factors[rows, rank] if factors.shape[1] > rank else np.zeros(n, np.float32)
            columns = [pa.array([kind] * n), pa.array(idx[rows]), vectors, pa.array((bias + np.float32(shift)).astype(np.float32))]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_VECTORS))
    return url


def _work(batches: Iterable[pa.RecordBatch], fit: Fit) -> dict[str, Any]:
    """All that one task does; what it tells the driver."""
    context = BarrierTaskContext.get()
    rank = context.partitionId()
    host = context.getTaskInfos()[rank].address.rsplit(":", 1)[0]
    with meet(rank, host, context.allGather) as peers:
        block, n_items, mean = _load(batches, peers, fit)
        needed = 3 * 4 * n_items * fit.recipe.width
        if needed > fit.item_bytes:
            return {"n_items": n_items, "needed": needed}
        fs, path = fsspec.core.url_to_fs(fit.folder)
        fs.makedirs(path, exist_ok=True)
        als = BlockedAls(block, n_items, fit.recipe, peers, n_threads=max(1, context.cpus()))
        known = fit.known.arrays() if fit.known else None
        state = initial_state(
            len(block.user_idx), n_items, fit.recipe, (known["idx"], _with_bias(known, fit.recipe, mean)) if known else None
        )
        bounds = blocks_of(n_items, peers.n)
        own = slice(bounds[rank], bounds[rank + 1])
        if fit.checkpoint_interval is not None:
            state = _resume(fit, peers, bounds, state)

        def save(state: State) -> None:
            if fit.checkpoint_interval is not None and len(state.losses) % fit.checkpoint_interval == 0:
                _save(fit, peers, own, state)

        before = peers.n_bytes
        als.run(state, save)
        sent = peers.n_bytes - before
        name = f"{fit.folder}/vectors-{context.taskAttemptId()}"
        items = np.arange(n_items)[own][als.present[own]]
        files = [
            _write_vectors(f"{name}-users.parquet", USER, block.user_idx, state.users, fit.recipe.rank, 0.0),
            _write_vectors(f"{name}-items.parquet", ITEM, items, state.items[items], fit.recipe.rank, mean),
        ]
        facts = {
            "n_users": len(block.user_idx),
            "n_items": len(items),
            "n_events": len(block.by_user.others),
            "bytes_sent": sent,
            "process": os.getpid(),
        }
        return {"files": files, "losses": state.losses, "seconds": state.seconds, **facts}


def _with_bias(known: Mapping[str, np.ndarray], recipe: Recipe, mean: float) -> np.ndarray:
    """Vectors of an earlier fit as this fit's item factors."""
    vectors = known["vector"]
    return np.column_stack([vectors, known["bias"] - np.float32(mean)]) if recipe.biased else vectors


def fit_blocks(events: DataFrame, fit: Fit, n_blocks: int) -> dict[str, Any]:
    """Fit `events` (user_idx, item_idx, weight, and where explicit target) in n_blocks tasks at once; runs one fit.

    Returns what was found: `files` of rows of `vectors` below the folder, losses, seconds an iteration, and of each block its
    users, events and bytes sent. The same folder holds a finished fit, or where an unfinished one goes on.

    Raises:
        LimitError: the items' factors are more than a task may hold.
    """
    if (kept := read_whole(f"{fit.folder}/{FINISHED}")) is not None:
        found: dict[str, Any] = json.loads(kept)
        return found

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        report = _work(batches, fit)
        rank = BarrierTaskContext.get().partitionId()
        yield pa.RecordBatch.from_arrays([pa.array([rank], pa.int32()), pa.array([json.dumps(report)])], names=["rank", "report"])

    blocks = spread(events.withColumn("_block", F.pmod("user_idx", F.lit(n_blocks)).cast("int")), "_block", n_blocks).drop("_block")
    reports = [json.loads(row.report) for row in sorted(blocks.mapInArrow(run, _REPORT, barrier=True).collect())]
    if not reports:  # no event: Spark runs no task
        return {"files": [], "losses": [], "seconds": [], "blocks": []}
    if "needed" in reports[0]:
        raise LimitError(
            f"{reports[0]['n_items']:,} items of {fit.recipe.width} factors need {reports[0]['needed']:,} bytes in each task, and "
            f"vectors_als.item_bytes is {fit.item_bytes:,}; raise it where tasks have the memory, lower rank, or choose engine: mllib"
        )
    names = ("n_users", "n_items", "n_events", "bytes_sent", "process")
    found = {
        "files": [file for report in reports for file in report["files"]],
        "losses": reports[0]["losses"],
        "seconds": np.max([report["seconds"] for report in reports], axis=0).tolist(),
        "blocks": [{name: report[name] for name in names} for report in reports],
    }
    write_whole(f"{fit.folder}/{FINISHED}", json.dumps(found).encode())
    return found
