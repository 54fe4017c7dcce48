"""What a training would take, and what is said where it is too much or runs away."""

import math
import os
import signal
import subprocess
import sys

import pytest
import torch
from torch import nn

from recspark.errors import TrainingError
from recspark.ranking import faults
from recspark.ranking.faults import (
    build_within_memory,
    free_bytes,
    loss_limit,
    out_of_memory_in_words,
    predicted_bytes,
    refuse_too_large,
    stopped_by_sigterm,
)
from recspark.ranking.options import TrainingOptions

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def make_large() -> nn.Module:
    """10 M rows of 64, without their memory."""
    with torch.device("meta"):
        return nn.ModuleDict({"products": nn.Embedding(10_000_000, 64), "out": nn.Linear(64, 1)})


def test_bytes_by_hand():
    table, layer = 10_000_000 * 64 * 4, 65 * 4
    model = make_large()
    parameters = table + layer
    expected = {"parameters": parameters, "gradients": parameters, "optimiser": 2 * parameters, "best": parameters}
    assert predicted_bytes(model, TrainingOptions()) == expected
    assert predicted_bytes(model, TrainingOptions(optimiser="sgd"))["optimiser"] == parameters
    by_row = predicted_bytes(model, TrainingOptions(embeddings="rowwise"))
    assert (by_row["gradients"], by_row["optimiser"]) == (layer, 10_000_000 * 4 + 2 * layer)


def test_what_does_not_fit_is_refused_with_the_figure_and_the_cure():
    model = make_large()
    # Parameters, gradients and the copy 2.56 GB each, two moments 5.12; row by row no gradients, and 0.04 GB of sums for the moments.
    with pytest.raises(TrainingError) as caught:
        refuse_too_large(model, TrainingOptions(), CPU, free=12_000_000_000)
    assert str(caught.value) == (
        "training this model takes 12.8 GB of memory in each process (parameters 2.6, gradients 2.6, optimiser 5.1, best 2.6 GB; "
        "largest tables: products 10,000,000 x 64), and 12.0 GB are free: lower embedding_size, set embeddings to rowwise (5.2 GB) "
        "or lower n_processes"
    )
    refuse_too_large(model, TrainingOptions(), CPU, free=12_900_000_000)
    refuse_too_large(model, TrainingOptions(embeddings="rowwise"), CPU, free=5_200_000_000)
    # The copy is none of a GPU's.
    with pytest.raises(TrainingError, match=r"takes 10.2 GB of the GPU .* or set embeddings to rowwise \(2.6 GB\)$"):
        refuse_too_large(model, TrainingOptions(), GPU, free=10_000_000_000)
    with pytest.raises(TrainingError, match="lower embedding_size or lower n_processes"):
        refuse_too_large(model, TrainingOptions(embeddings="rowwise"), CPU, free=0)


def test_a_model_is_measured_before_it_is_made():
    with pytest.raises(TrainingError, match=r"largest tables: products 100,000,000,000 x 64"):
        build_within_memory(lambda: nn.ModuleDict({"products": nn.Embedding(10**11, 64)}), TrainingOptions(), CPU)
    made = build_within_memory(lambda: nn.Linear(3, 2), TrainingOptions(seed=5), CPU)
    torch.manual_seed(5)
    assert torch.equal(made.weight, nn.Linear(3, 2).weight)


def test_memory_is_shared_by_the_processes_of_a_machine(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000000")
    few = free_bytes(CPU)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert free_bytes(CPU) > 1000 * few > 0


def test_out_of_memory_says_which_setting_to_lower():
    with (
        pytest.raises(TrainingError, match=r"out of memory \(.*you tried to allocate.*\): lower global_batch_size .* embedding_size"),
        out_of_memory_in_words(),
    ):
        torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="size of tensor"), out_of_memory_in_words():
        torch.ones(2) + torch.ones(3)


def test_the_limit_of_a_loss():
    assert loss_limit([], 100) == math.inf
    assert loss_limit([1.0, 3.0], 10) == 20
    assert loss_limit([-1.0], 10) == math.inf


def test_sigterm_is_noted_and_what_was_there_before_returns():
    before = signal.getsignal(signal.SIGTERM)
    with stopped_by_sigterm() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
    assert signal.getsignal(signal.SIGTERM) is before


# In a process of its own: after an allocation that failed glibc goes on in another arena, where large blocks are never kept.
PAGE_FAULTS = """
import resource, torch
from recspark.ranking.processes import keep_memory

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(1 << 24)  # 64 MB, 16,384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(min(page_faults() for _ in range(4)))
keep_memory()
print(max([page_faults() for _ in range(64)][-8:]))  # the first ones grow the heap
"""


def test_memory_of_large_tensors_is_kept_for_the_next_ones():
    said = subprocess.run([sys.executable, "-c", PAGE_FAULTS], capture_output=True, text=True, check=True, timeout=100).stdout
    given_back, kept = map(int, said.split())
    assert kept < 1000 < 16_000 < given_back


def test_pages_of_files_are_memory_that_a_container_gives_back(tmp_path):
    (tmp_path / "memory.stat").write_text("anon 100\nactive_file 30\ninactive_file 12\n")
    assert (faults._cached_bytes(tmp_path / "memory.stat"), faults._cached_bytes(tmp_path / "none")) == (42, 0)
