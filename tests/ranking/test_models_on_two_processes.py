"""Each model learns on two processes what it learns on one. One start of two processes serves all models."""

from __future__ import annotations

import multiprocessing
import os
import socket
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from recspark.ranking.batch import SlateBatch
from recspark.ranking.losses import softmax_loss, weighted_sum
from recspark.ranking.models.build import NAMES, build_model, describe_model
from recspark.ranking.processes import Processes, join_processes
from tests.ranking.contract import N_SLATES, RankerContract, dimensions, rows_of

N_STEPS = 3


def build(name: str) -> nn.Module:
    """The model of its suite's knobs, its weights by a seed."""
    suites = [one for one in vars(import_module(f"tests.ranking.models.test_{name}")).values() if isinstance(one, type)]
    (suite,) = (one for one in suites if issubclass(one, RankerContract) and one is not RankerContract)
    torch.manual_seed(0)
    return build_model(describe_model(dimensions(), suite.knobs))


def train(name: str, batch: SlateBatch, processes: Processes) -> dict[str, Tensor]:
    """The weights after some steps by sum(weight * loss) / sum(weight) over all processes, of which each has every other row."""
    model = build(name)
    shared, optimizer = processes.share(model), torch.optim.SGD(model.parameters(), lr=0.5)
    mine = rows_of(batch, torch.arange(processes.process_rank, N_SLATES, processes.world_size))
    for _ in range(N_STEPS):
        optimizer.zero_grad()
        loss = weighted_sum(softmax_loss(shared(mine), mine.labels, mine.mask), mine.weight)
        (loss * processes.world_size / processes.sum(mine.weight.sum())).backward()
        optimizer.step()
    return model.state_dict()


def _in_process(rank: int, port: int, folder: str, batch: SlateBatch) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with join_processes() as processes:
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
