"""Each model learns on two processes what it learns on one. One start of two processes serves all models."""

from __future__ import annotations

import math
import multiprocessing
import os
import socket
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from recspark.ranking.batch import SlateBatch
from recspark.ranking.losses import softmax_loss
from recspark.ranking.models.build import NAMES, build_model, describe_model
from recspark.ranking.options import TrainingOptions
from recspark.ranking.processes import Processes, join_processes
from recspark.ranking.steps import Updates
from tests.ranking.contract import N_SLATES, RankerContract, dimensions, rows_of

N_UPDATES = 3


def build(name: str) -> nn.Module:
    """The model of its suite's knobs, its weights by a seed."""
    suites = [one for one in vars(import_module(f"tests.ranking.models.test_{name}")).values() if isinstance(one, type)]
    (suite,) = (one for one in suites if issubclass(one, RankerContract) and one is not RankerContract)
    torch.manual_seed(0)
    return build_model(describe_model(dimensions(), suite.knobs))


def slate_losses(model: nn.Module, batch: SlateBatch) -> tuple[Tensor, Tensor]:
    return softmax_loss(model(batch), batch.labels, batch.mask), batch.weight


def train(name: str, batch: SlateBatch, processes: Processes) -> dict[str, Tensor]:
    """The weights after some updates, of which each process has every other row."""
    model = build(name)
    options = TrainingOptions(optimiser="sgd", learning_rate=0.5, momentum=0.0, weight_decay=0.0, max_gradient_norm=1e9)
    updates = Updates(model, options, processes, slate_losses)
    for _ in range(N_UPDATES):
        updates.add(rows_of(batch, torch.arange(processes.process_rank, N_SLATES, processes.world_size)))
        updates.take(1.0, False, math.inf)
    return model.state_dict()


def _in_process(rank: int, port: int, folder: str, batch: SlateBatch) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    processes = join_processes()
    torch.save({name: train(name, batch, processes) for name in NAMES}, f"{folder}/{rank}.pt")


@pytest.mark.slow
def test_two_processes_equal_one(batch: SlateBatch, tmp_path: Path):
    # The processes' sums of weights differ: rows of one weigh three times those of the other.
    batch.weight[1::2] = 3
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=_in_process, args=(rank, port, str(tmp_path), batch)) for rank in range(2)]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        process.kill()
        assert process.exitcode == 0
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name in NAMES:
        untrained, alone = build(name).state_dict(), train(name, batch, Processes(0, 1, torch.device("cpu")))
        assert any(not torch.allclose(untrained[one], alone[one], atol=1e-3) for one in alone), f"{name} learns nothing"
        for parameter, expected in alone.items():
            assert torch.equal(first[name][parameter], second[name][parameter]), f"{name}: {parameter}"
            # Sums in another order.
            torch.testing.assert_close(first[name][parameter], expected, rtol=1e-4, atol=1e-5, msg=f"{name}: {parameter}")
