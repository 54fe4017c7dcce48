"""Blocked alternating least squares as one stage of Spark: a task for each block of users, all at once, from events to files of vectors."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark import BarrierTaskContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import recspark.errors
from recspark.candidates.als_blocks import BlockedAls, Recipe, State, initial_state, item_bytes_of
from recspark.candidates.als_states import States
from recspark.candidates.als_validation import Validation, held_events, is_held
from recspark.candidates.spreading import spread
from recspark.columns import ITEM, USER
from recspark.errors import ConfigError, LimitError, RecsparkError, TrainingError
from recspark.handover.arrays import Published
from recspark.handover.files import PROGRESS, read_whole, write_whole
from recspark.handover.peers import Peers, blocks_of, cannot_meet, meet
from recspark.kernels.als_events import Block, build_block

# A block's part of the fit, as the driver hears of it: one row a task.
_REPORT = "rank int, report string"
FINISHED = "fit.json"
_VECTORS = pa.schema([("kind", pa.string()), ("idx", pa.int64()), ("vector", pa.list_(pa.float32())), ("bias", pa.float32())])
_ROWS_AT_ONCE = 1 << 16
_LONGEST_WORD = 1000  # bytes of what a task says is wrong


@dataclass(frozen=True)
class Fit:
    """What every task of a fit is told."""

    recipe: Recipe
    explicit: bool  # targets are ratings, less their mean where the recipe is centred; else 1
    extra: float  # see kernels.als_events.build_block
    folder: str
    checkpoint_interval: int | None
    item_bytes: int
    validation_share: float = 0.0
    patience: int = 2
    known: Published | None = None


class Loaded(NamedTuple):
    """What a task has learnt of its events."""

    block: Block
    mean: float  # what targets were lessened by
    validation: Validation | None


def event_columns(batches: Iterable[pa.RecordBatch], explicit: bool) -> dict[str, np.ndarray]:
    """All batches' user_idx, item_idx, weight, and where explicit target, each as one array."""
    names = {"user_idx": np.int64, "item_idx": np.int32, "weight": np.float64, **({"target": np.float64} if explicit else {})}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for batch in batches:
        for name, kept in parts.items():
            kept.append(batch.column(name).to_numpy(zero_copy_only=False))
    return {name: np.concatenate([np.empty(0, kind), *parts[name]]).astype(kind, copy=False) for name, kind in names.items()}


def _sums(peers: Peers, *numbers: float) -> list[float]:
    return [float(number) for number in peers.sum_all(np.array(numbers, np.float64))]


@contextmanager
def _agreed(peers: Peers) -> Iterator[None]:
    """What one task finds wrong is raised in all, so that none waits for it."""
    found = ""
    try:
        yield
    except TrainingError as error:
        found = str(error)
    words = np.frombuffer(found.encode()[:_LONGEST_WORD].ljust(_LONGEST_WORD), np.uint8)
    for said in peers.gather(words):
        if text := said.tobytes().decode(errors="ignore").strip():
            raise TrainingError(text)


def _load(events: dict[str, np.ndarray], n_items: int, peers: Peers, fit: Fit) -> Loaded:
    """`events` is emptied: its arrays are not needed beside the block."""
    out = {name: column[:0] for name, column in events.items()}
    if fit.validation_share:
        held = is_held(events["user_idx"], events["item_idx"], fit.validation_share, fit.recipe.seed)
        out = {name: column[held] for name, column in events.items()}
        events.update({name: column[~held] for name, column in events.items()})
    mean = 0.0
    if fit.recipe.centred:
        # Of what is learnt from: held-out ratings must not tell of themselves.
        total, weight = _sums(peers, float((events["weight"] * events["target"]).sum()), float(events["weight"].sum()))
        mean = total / weight if weight else 0.0
        for some in (events, out):
            some["target"] = some["target"] - mean
    with _agreed(peers):
        block = build_block(events["user_idx"], events["item_idx"], events["weight"], events.get("target"), n_items, extra=fit.extra)
    events.clear()
    validation = None
    if fit.validation_share:
        kept = held_events(block, out["user_idx"], out["item_idx"], out.get("target"), peers, fit.recipe.seed)
        validation = Validation(kept, block, fit.recipe, peers, ratings=fit.explicit, patience=fit.patience)
    return Loaded(block, mean, validation)


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


def _line(state: State, validation: Validation | None, recipe: Recipe) -> str:
    """How far a fit is, for people."""
    held = f"  held-out error {validation.figures[-1]:.4f}" if validation is not None else ""
    return f"ALS iteration {len(state.losses)}/{recipe.max_iter}  loss {state.losses[-1]:.6g}{held}  {state.seconds[-1]:.1f} s"


def _work(batches: Iterable[pa.RecordBatch], fit: Fit) -> dict[str, Any]:
    """All that one task does; what it tells the driver. What it raises of ours, every task does."""
    context = BarrierTaskContext.get()
    rank = context.partitionId()
    host = context.getTaskInfos()[rank].address.rsplit(":", 1)[0]
    with meet(rank, host, context.allGather) as peers:
        events = event_columns(batches, fit.explicit)
        n_items = int(peers.gather(np.array([events["item_idx"].max(initial=-1)])).max()) + 1
        needed = item_bytes_of(n_items, peers.n, fit.recipe)
        if needed > fit.item_bytes:
            raise LimitError(
                f"{n_items:,} items of {fit.recipe.width} factors need {needed:,} bytes in each task, and vectors_als.item_bytes is "
                f"{fit.item_bytes:,}; raise it where tasks have the memory, lower rank, or choose engine: mllib"
            )
        block, mean, validation = _load(events, n_items, peers, fit)
        fs, path = fsspec.core.url_to_fs(fit.folder)
        fs.makedirs(path, exist_ok=True)
        als = BlockedAls(block, n_items, fit.recipe, peers, n_threads=max(1, context.cpus()))
        state = initial_state(len(block.user_idx), n_items, fit.recipe, _known_items(fit, mean))
        bounds = blocks_of(n_items, peers.n)
        own = slice(bounds[rank], bounds[rank + 1])
        states = States(fit.folder, fit.checkpoint_interval, peers, bounds) if fit.checkpoint_interval is not None else None
        if states is not None:
            states.resume(state, validation, fit.recipe.max_iter)

        def after(state: State) -> None:
            if validation is not None:
                validation.measure(state)
            if states is not None:
                states.save(state, validation)
            if rank == 0:
                write_whole(f"{fit.folder}/{PROGRESS}", json.dumps({"note": _line(state, validation, fit.recipe)}).encode())

        before = peers.n_bytes
        als.run(state, after, validation.is_over if validation is not None else lambda: False)
        sent = peers.n_bytes - before
        if validation is not None:
            validation.restore(state)
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
        figures = validation.figures if validation is not None else []
        return {"files": files, "losses": state.losses, "seconds": state.seconds, "validation": figures, **facts}


def _known_items(fit: Fit, mean: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Items and their factors of an earlier fit, where there is one of as many factors."""
    known = fit.known.arrays() if fit.known else None
    if known is None or known["vector"].shape[1:] != (fit.recipe.rank,):
        return None
    factors = known["vector"]
    return known["idx"], np.column_stack([factors, known["bias"] - np.float32(mean)]) if fit.recipe.biased else factors


def _refuse_dynamic_allocation(enabled: str, master: str) -> None:
    """Say why the blocks cannot run at once, before Spark refuses them."""
    if cannot_meet(enabled, master):
        raise ConfigError(
            "spark.dynamicAllocation.enabled is true, and vectors_als.engine: blocked runs its tasks as one barrier stage, which dynamic "
            "allocation excludes: set spark.dynamicAllocation.enabled=false with enough executors, or vectors_als.engine: mllib"
        )


def fit_blocks(events: DataFrame, fit: Fit, n_blocks: int) -> dict[str, Any]:
    """Fit `events` (user_idx, item_idx, weight, and where explicit target) in n_blocks tasks at once; runs one fit.

    Users are dealt to the blocks by a hash of their index. One slot is one block: one task that holds all events and all users.

    Returns what was found: `files` of rows of `vectors` below the folder, losses, validation figures, seconds an iteration, and of each block its
    users, events and bytes sent. The same folder holds a finished fit, or where an unfinished one goes on.

    Raises:
        LimitError: the items' factors are more than a task may hold.
        TrainingError: the loss, or what a pair's events add up to, is not a finite number.
        ConfigError: dynamic allocation, where not all blocks need ever run at once.
    """
    if (kept := read_whole(f"{fit.folder}/{FINISHED}")) is not None:
        found: dict[str, Any] = json.loads(kept)
        return found
    settings = events.sparkSession.conf
    _refuse_dynamic_allocation(*(str(settings.get(name, "")) for name in ("spark.dynamicAllocation.enabled", "spark.master")))

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        try:
            report = _work(batches, fit)
        except RecsparkError as error:  # told, not raised: Spark would repeat the stage, which ends the same way
            report = {"raised": type(error).__name__, "message": str(error)}
        rank = BarrierTaskContext.get().partitionId()
        yield pa.RecordBatch.from_arrays([pa.array([rank], pa.int32()), pa.array([json.dumps(report)])], names=["rank", "report"])

    # By a hash: indexes may have a step, as where every second user is held out.
    block = F.pmod(F.xxhash64("user_idx"), F.lit(n_blocks)).cast("int")
    blocks = spread(events.withColumn("_block", block), "_block", n_blocks).drop("_block")
    # Shuffled once more: Spark repeats a barrier stage whose task was lost only where another stage comes after it.
    reported = blocks.mapInArrow(run, _REPORT, barrier=True).repartition(1, "rank").collect()
    reports = [json.loads(row.report) for row in sorted(reported)]
    if not reports:  # no event: Spark runs no task
        return {"files": [], "losses": [], "seconds": [], "validation": [], "blocks": []}
    if "raised" in reports[0]:
        raise getattr(recspark.errors, reports[0]["raised"])(reports[0]["message"])
    names = ("n_users", "n_items", "n_events", "bytes_sent", "process")
    found = {
        "files": [file for report in reports for file in report["files"]],
        "losses": reports[0]["losses"],
        "validation": reports[0]["validation"],
        "seconds": np.max([report["seconds"] for report in reports], axis=0).tolist(),
        "blocks": [{name: report[name] for name in names} for report in reports],
    }
    write_whole(f"{fit.folder}/{FINISHED}", json.dumps(found).encode())
    return found
