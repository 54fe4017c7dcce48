"""Both sides of the torch room's benches: what recspark's own functions take, and what the same work takes without them."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from pyarrow import parquet
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler
from torch.utils.flop_counter import FlopCounterMode

from recspark.handover.decode import row_groups
from recspark.handover.reader import read_rows
from recspark.kernels.slates import feature_names
from recspark.ranking.batch import ItemTable, SlateBatch, slate_plan, to_batch
from recspark.ranking.checkpoint import load_card
from recspark.ranking.dimensions import fit_dimensions
from recspark.ranking.losses import softmax_loss
from recspark.ranking.models.build import build_model, describe_model
from recspark.ranking.models.din import DinKnobs
from recspark.ranking.optimisers import decay_groups
from recspark.ranking.options import TrainingOptions
from recspark.ranking.processes import Processes, keep_memory
from recspark.ranking.score import score_slates
from recspark.ranking.steps import Updates
from recspark.ranking.train import RankerOptions, train_ranker
from recspark.ranking.trainer import Trainer
from recspark.ranking.transfer import map_tensors
from tests.bench.slates import SOURCES, write_slates

Timed = tuple[float, dict[str, Any]]
ALONE = Processes(0, 1, torch.device("cpu"))
OPTIONS = RankerOptions(epochs=1)


# ---- files to arrays


def decode(folder: str, n: int, how: str) -> Timed:
    """Every row group to numpy arrays: by recspark (through Petastorm), by pyarrow alone, or by Petastorm's own batch reader."""
    plan = slate_plan(write_slates(folder, n).fit)
    names = [column.name for column in plan.columns]
    read = {"recspark": row_groups, "pyarrow": _by_pyarrow, "petastorm": _by_petastorm}[how]
    began = time.perf_counter()
    n_rows = sum(len(group["items"]) for file in plan.files for group in read(file.url, names))
    return time.perf_counter() - began, {"rows": n_rows}


def _by_pyarrow(url: str, names: list[str]) -> Iterator[dict[str, np.ndarray]]:
    file = parquet.ParquetFile(url.removeprefix("file://"))
    for number in range(file.num_row_groups):
        table = file.read_row_group(number, columns=names).combine_chunks()
        flat = {name: table.column(name).chunk(0) for name in names}
        yield {
            name: array.values.to_numpy().reshape(len(array), -1) if hasattr(array, "values") else array.to_numpy()
            for name, array in flat.items()
        }


def _by_petastorm(url: str, names: list[str]) -> Iterator[dict[str, np.ndarray]]:
    from petastorm import make_batch_reader

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader = make_batch_reader([url], schema_fields=names, reader_pool_type="dummy", shuffle_row_groups=False, num_epochs=1)
        try:
            yield next(reader)._asdict()
        finally:
            reader.stop()
            reader.join()


# ---- training


def train(folder: str, n: int, threads: int) -> Timed:
    """The job's own function, from files: seconds of an epoch of the default ranker, its loss and waiting share."""
    torch.set_num_threads(threads)
    slates = write_slates(folder, n)
    with TemporaryDirectory(dir=folder) as work:
        card = train_ranker(slates.fit, slates.tune, slates.items, folder=work, sources=SOURCES, training=OPTIONS)
    assert card is not None
    last = card["curve"][-1]
    return n / last["rows_per_second"], {"loss": last["train_loss"], "waiting": last["waiting_share"]}


def _in_process(rank: int, world_size: int, port: int, folder: str, n: int, out: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(world_size), "WORLD_SIZE": str(world_size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    slates = write_slates(folder, n)
    card = train_ranker(slates.fit, slates.tune, slates.items, folder=out, sources=SOURCES, training=OPTIONS)
    assert card is not None


def train_in_processes(folder: str, n: int, n_processes: int) -> Timed:
    """The same in so many processes of one thread each; their start is in no figure."""
    write_slates(folder, n)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory(dir=folder) as work:
        processes = [context.Process(target=_in_process, args=(r, n_processes, port, folder, n, work)) for r in range(n_processes)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise RuntimeError(f"exit codes {[process.exitcode for process in processes]}")
        card = load_card(work)
    assert card is not None
    last = card["curve"][-1]
    return n / last["rows_per_second"], {"loss": last["train_loss"], "waiting": last["waiting_share"]}


def _in_memory(folder: str, n: int) -> tuple[SlateBatch, nn.Module]:
    """All slates as one batch in memory, and the default ranker, untrained, as training begins with it."""
    slates = write_slates(folder, n)
    items, plan = ItemTable(slates.items), slate_plan(slates.fit)
    parts = [to_batch(columns, items) for columns in read_rows(plan, plan.scoring_share(0, 1), 1 << 20)]
    dimensions = fit_dimensions(slates.fit, items, feature_names(SOURCES), seed=OPTIONS.seed)
    torch.manual_seed(OPTIONS.seed)
    return _joined(parts), build_model(describe_model(dimensions, DinKnobs()))


def _joined(parts: list[SlateBatch]) -> SlateBatch:
    """The batches' rows, one after the other."""
    columns: list[list[torch.Tensor]] = []
    for part in parts:
        tensors: list[torch.Tensor] = []
        map_tensors(part, lambda tensor, into=tensors: (into.append(tensor), tensor)[1])
        columns.append(tensors)
    joined = iter([torch.cat(pieces) for pieces in zip(*columns, strict=True)])
    return map_tensors(parts[0], lambda tensor: next(joined))


def _slate_losses(model: nn.Module, batch: SlateBatch) -> tuple[torch.Tensor, torch.Tensor]:
    return softmax_loss(model(batch), batch.labels, batch.mask), batch.weight


class Rows(Dataset):  # type: ignore[type-arg]
    """What torch's DataLoader asks for the rows of a batch at once: nothing is collated row by row."""

    def __init__(self, slates: SlateBatch) -> None:
        self.slates = slates

    def __len__(self) -> int:
        return len(self.slates.weight)

    def __getitem__(self, rows: list[int]) -> SlateBatch:
        at = torch.tensor(rows)
        return map_tensors(self.slates, lambda tensor: tensor[at])


def _loader(slates: SlateBatch) -> DataLoader:  # type: ignore[type-arg]
    order = RandomSampler(range(len(slates.weight)), generator=torch.Generator().manual_seed(0))
    return DataLoader(Rows(slates), sampler=BatchSampler(order, OPTIONS.global_batch_size, drop_last=False), batch_size=None)


def train_from_memory(folder: str, n: int, threads: int) -> Timed:
    """recspark's trainer, its batches made from arrays in memory."""
    keep_memory()
    torch.set_num_threads(threads)
    slates, model = _in_memory(folder, n)
    n_steps = -(-n // OPTIONS.global_batch_size)
    with TemporaryDirectory(dir=folder) as work:
        trainer = Trainer(
            model,
            OPTIONS,
            ALONE,
            n_steps=n_steps,
            batches=lambda epoch, first: iter(_loader(slates)),
            loss=_slate_losses,
            evaluate=lambda model: {"loss": 0.0, "ndcg": 0.0},
            folder=work,
            identity={},
            report=lambda state: None,
        )
        last = trainer.train().curve[-1]
    return n / last["rows_per_second"], {"loss": last["train_loss"]}


def train_plainly(folder: str, n: int, threads: int) -> Timed:
    """A loop in plain PyTorch over its DataLoader, from memory: the same model, loss, clipping, optimiser and a cosine of its rate."""
    torch.set_num_threads(threads)
    slates, model = _in_memory(folder, n)
    groups = decay_groups(model.named_parameters(), model.no_decay, OPTIONS.weight_decay)  # type: ignore[arg-type]
    optimiser = torch.optim.AdamW(groups, lr=OPTIONS.learning_rate, fused=True)
    n_steps = -(-n // OPTIONS.global_batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps, eta_min=OPTIONS.learning_rate * OPTIONS.final_share)
    model.train()
    total = 0.0
    began = time.perf_counter()
    for batch in _loader(slates):
        losses, weight = _slate_losses(model, batch)
        loss = (losses * weight).sum() / weight.sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), OPTIONS.max_gradient_norm)
        optimiser.step()
        schedule.step()
        total += float(loss.detach()) * len(batch.weight)
    return time.perf_counter() - began, {"loss": total / n}


def table_steps(n_rows: int, size: int, embeddings: str, n_steps: int, threads: int) -> Timed:
    """Updates of one embedding table of which a batch has 6,400 rows."""
    torch.set_num_threads(threads)
    model = nn.Sequential(nn.Embedding(n_rows, size))
    updates = Updates(
        model, TrainingOptions(embeddings=embeddings), ALONE, lambda model, batch: (model(batch.rows).square().mean(-1), batch.ones)
    )

    class Codes:
        def __init__(self, seed: int) -> None:
            self.rows = torch.randint(n_rows, (6_400,), generator=torch.Generator().manual_seed(seed))
            self.ones = torch.ones(len(self.rows))

    batches = [Codes(seed) for seed in range(n_steps + 1)]
    for number, batch in enumerate(batches):
        if number == 1:  # the first makes the optimiser's state
            began = time.perf_counter()
        updates.add(batch)
        updates.take(1.0, False, float("inf"))
    return (time.perf_counter() - began) / n_steps, {}


# ---- scoring


def _artefact(folder: str, n: int) -> dict[str, Any]:
    """A ranker that was trained on a few slates; once."""
    slates, work = write_slates(folder, min(n, 2048)), Path(folder) / "ranker-to-score"
    card = train_ranker(slates.fit, slates.tune, slates.items, folder=str(work), sources=SOURCES, training=OPTIONS)
    assert card is not None
    return {"folder": str(work), "digest": card["digest"]}


def score(folder: str, n: int, threads: int) -> Timed:
    """The job's own function, from files to files."""
    torch.set_num_threads(threads)
    slates, row = write_slates(folder, n), _artefact(folder, n)
    with TemporaryDirectory(dir=folder) as work:
        began = time.perf_counter()
        manifest = score_slates(slates.fit, row, slates.items, folder=work)
        seconds = time.perf_counter() - began
    assert manifest is not None
    return seconds, {"rows": sum(file["n_rows"] for file in manifest["files"])}


def forward(folder: str, n: int, threads: int, batch_size: int = 256) -> Timed:
    """The model alone, on one batch in memory again and again; and the arithmetic of a slate's matrix products."""
    keep_memory()
    torch.set_num_threads(threads)
    slates, model = _in_memory(folder, min(n, 2048))
    batch = map_tensors(slates, lambda tensor: tensor[:batch_size])
    model.eval()
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            model(batch)
        began = time.perf_counter()
        for _ in range(max(1, n // len(batch.weight))):
            model(batch)
        seconds = time.perf_counter() - began
    return seconds, {"gflop_a_slate": counter.get_total_flops() / len(batch.weight) / 1e9}


def peak_gflops(threads: int, side: int = 2048) -> float:
    """Of torch's own single precision matrix product, the best of some."""
    torch.set_num_threads(threads)
    square = torch.rand(side, side)
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        torch.mm(square, square)
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / min(seconds) / 1e9
