"""The training processes: who this one is, and sums over all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

# Longer than reading a file and evaluating a share; shorter than a night lost to a process that hangs.
TIMEOUT = timedelta(minutes=20)


@dataclass(frozen=True)
class Processes:
    """This process among `world_size`."""

    process_rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.process_rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, the same on each."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Until every process is here."""
        if self.world_size > 1:
            self.sum(torch.zeros(1, device=self.device))

    def share(self, model: nn.Module) -> nn.Module:
        """The model whose gradients are averaged over the processes as they come out of backward."""
        return DistributedDataParallel(model, broadcast_buffers=False) if self.world_size > 1 else model


def this_process() -> Processes:
    """Who the launcher's environment says this is (RANK, WORLD_SIZE, LOCAL_RANK); alone without one.

    Enough for work that needs no word from the others: nobody waits, so a slow share times nobody out.
    """
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    return Processes(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")), device)


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Join the group of all processes: gloo on CPUs, nccl on GPUs."""
    processes = this_process()
    if processes.world_size > 1:
        dist.init_process_group("nccl" if processes.device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield processes
    finally:
        if processes.world_size > 1:
            dist.destroy_process_group()
