"""What can end a training before its end, foreseen or said in words: memory, losses that run away, a signal."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import nn

from recspark.errors import TrainingError
from recspark.ranking.options import TrainingOptions

GB = 1e9
# Updates whose mean loss is what a training began with.
N_FIRST = 10
# Tables that an error names.
N_NAMED = 3
M = TypeVar("M", bound=nn.Module)


class Stop:
    """Set by SIGTERM: finish the update, save, go."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


@contextmanager
def stopped_by_sigterm() -> Iterator[Stop]:
    """Within the block SIGTERM sets the `Stop`; signals can be caught in a process's main thread only."""
    stop = Stop()
    before = _on_sigterm(stop)
    try:
        yield stop
    finally:
        _on_sigterm(before)


def _on_sigterm(handler: Any) -> Any:
    try:
        return signal.signal(signal.SIGTERM, handler)
    except ValueError:
        return None


def loss_limit(first: Sequence[float], ratio: float) -> float:
    """The loss above which a training has run away: `ratio` times the mean of its first updates; none before there is one."""
    mean = sum(first) / len(first) if first else 0.0
    return ratio * mean if mean > 0 else math.inf


@contextmanager
def out_of_memory_in_words() -> Iterator[None]:
    """An allocation that fails within the block becomes a TrainingError that says which setting to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = str(error)
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in said:
            raise
        raise TrainingError(
            f"out of memory ({' '.join(said.split())[:200]}): lower global_batch_size (and raise accumulation by as much, for the same "
            "updates), window_rows, or the model's embedding_size; on a CPU, n_processes too. Run again to resume from the checkpoint"
        ) from error


def predicted_bytes(model: nn.Module, options: TrainingOptions) -> dict[str, int]:
    """What training takes beside activations and batches: parameters, gradients, the optimiser's state, the best epoch's copy."""
    rows = (
        {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)} if options.embeddings == "rowwise" else set()
    )
    sizes = {"parameters": 0, "gradients": 0, "optimiser": 0}
    for parameter in model.parameters():
        size = parameter.numel() * parameter.element_size()
        alone = id(parameter) in rows
        sizes["parameters"] += size
        sizes["gradients"] += 0 if alone else size
        # A sum a row; momentum alone; or two moments.
        sizes["optimiser"] += size // parameter.shape[-1] if alone else size * (1 if options.optimiser == "sgd" else 2)
    return {**sizes, "best": sizes["parameters"]}


def refuse_too_large(model: nn.Module, options: TrainingOptions, device: torch.device, free: int | None = None) -> None:
    """Foresee what the model will take in training, before anything of it is allocated; it may be one on torch's meta device.

    A model is whole in every process: a table larger than a process's memory cannot be trained. `free`: bytes that are left to
    this process (default: asked of the machine).

    Raises:
        TrainingError: it is more than there is.
    """
    sizes = predicted_bytes(model, options)
    on_gpu = device.type == "cuda"
    free = free_bytes(device) if free is None else free
    # The best epoch's copy stays in the machine's memory.
    needed = sum(size for part, size in sizes.items() if not (on_gpu and part == "best"))
    if needed <= free:
        return
    tables = sorted(((module.weight.numel(), name, module) for name, module in model.named_modules() if isinstance(module, nn.Embedding)))
    named = ", ".join(f"{name} {table.num_embeddings:,} x {table.embedding_dim}" for _, name, table in tables[::-1][:N_NAMED])
    cures = ["lower embedding_size"]
    if options.embeddings == "dense" and tables:
        rowwise = predicted_bytes(model, options.model_copy(update={"embeddings": "rowwise"}))
        less = sum(sizes[part] - rowwise[part] for part in ("gradients", "optimiser"))
        cures.append(f"set embeddings to rowwise ({(needed - less) / GB:.1f} GB)")
    if not on_gpu:
        cures.append("lower n_processes")
    parts = ", ".join(f"{name} {size / GB:.1f}" for name, size in sizes.items())
    raise TrainingError(
        f"training this model takes {needed / GB:.1f} GB of {'the GPU' if on_gpu else 'memory'} in each process ({parts} GB; "
        f"largest tables: {named or 'none'}), and {free / GB:.1f} GB are free: {', '.join(cures[:-1])}{' or ' * (len(cures) > 1)}{cures[-1]}"
    )


def build_within_memory(build: Callable[[], M], options: TrainingOptions, device: torch.device) -> M:
    """The model that `build` makes, its weights drawn from `options.seed`; a sketch of it without memory is measured first.

    Raises:
        TrainingError: it is more than there is.
    """
    with torch.device("meta"):
        sketch = build()
    refuse_too_large(sketch, options, device)
    torch.manual_seed(options.seed)
    with out_of_memory_in_words():
        return build()


def _cached_bytes(stat: Path) -> int:
    """What a container counts as used and gives back when asked: pages of files."""
    fields = dict(line.split() for line in stat.read_text().splitlines()) if stat.exists() else {}
    return sum(int(fields.get(name, 0)) for name in ("active_file", "inactive_file"))


def free_bytes(device: torch.device) -> int:
    """Bytes left to this process: of its GPU, or its share of what the machine (or the container) has left."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        free = next((int(line.split()[1]) * 1024 for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable")), free)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (most := limit.read_text().strip()) != "max":
        free = min(free, int(most) - int(used.read_text()) + _cached_bytes(Path("/sys/fs/cgroup/memory.stat")))
    return free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
