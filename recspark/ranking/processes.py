"""The training processes: who this one is, and sums over all of them."""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
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

    def gather(self, value: T) -> list[T]:
        """The plain `value` of every process, by rank, on each."""
        values: list[T] = [value] * self.world_size
        if self.world_size > 1:
            dist.all_gather_object(values, value)
        return values

    def agree(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the first one's values."""
        if self.world_size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.data, 0)

    def sum_rows(self, gradient: Tensor) -> Tensor:
        """The sum over all processes of a sparse gradient (N x E, any rows of it), coalesced, the same on each.

        Only the rows travel: each process sends its own, filled up with zeros of row 0 to the most that any has.
        """
        gradient = gradient.coalesce()
        if self.world_size == 1:
            return gradient
        rows, values = gradient.indices()[0], gradient.values()
        most = max(self.gather(len(rows)))
        rows = torch.cat([rows, rows.new_zeros(most - len(rows))])
        values = torch.cat([values, values.new_zeros(most - len(values), values.shape[1])])
        all_rows, all_values = ([torch.empty_like(one) for _ in range(self.world_size)] for one in (rows, values))
        dist.all_gather(all_rows, rows)
        dist.all_gather(all_values, values)
        return torch.sparse_coo_tensor(torch.cat(all_rows)[None], torch.cat(all_values), gradient.shape, check_invariants=False).coalesce()


def keep_memory() -> None:
    """Let this process keep the memory of large tensors for the next ones, instead of giving it back and taking it anew, page by page.

    By default glibc maps every block above 32 MB afresh and trims its heap: with the default ranker on a CPU two thirds of
    the time of scoring go there, and a quarter of training's. Where there is no glibc nothing happens.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def this_process() -> Processes:
    """Who the launcher's environment says this is (RANK, WORLD_SIZE, LOCAL_RANK); alone without one.

    Enough for work that needs no word from the others: nobody waits, so a slow share times nobody out.
    """
    keep_memory()
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(device)
        # TF32: matrix products several times faster, and as exact as training needs.
        torch.set_float32_matmul_precision("high")
    return Processes(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")), device)


def join_processes() -> Processes:
    """Join the group of all processes: gloo on CPUs, nccl on GPUs. Once for all that this process trains: a second group of the same
    launch would meet what the first one left in the launcher's store.
    """
    processes = this_process()
    if processes.world_size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if processes.device.type == "cuda" else "gloo", timeout=TIMEOUT)
        atexit.register(dist.destroy_process_group)
    return processes
