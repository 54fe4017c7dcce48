"""Row by row, and what is decayed: by hand."""

import math

import pytest
import torch
from torch import nn

from recspark.ranking.optimisers import Optimisers, RowwiseAdagrad, decay_groups
from recspark.ranking.options import TrainingOptions


def test_rowwise_adagrad_by_hand():
    table = nn.Embedding(3, 2, sparse=True)
    with torch.no_grad():
        table.weight.zero_()
    optimiser = RowwiseAdagrad([table.weight], lr=0.1)
    for _ in range(2):
        # Row 1 twice: its gradient is (6, 8), the mean of squares (36 + 64) / 2 = 50.
        (table(torch.tensor([1, 1])) * torch.tensor([3.0, 4.0])).sum().backward()
        table.weight.grad = table.weight.grad.coalesce()
        optimiser.step()
        table.weight.grad = None
    step = 1 / math.sqrt(50) + 1 / math.sqrt(100)
    assert table.weight[1].tolist() == pytest.approx([-0.1 * 6 * step, -0.1 * 8 * step])
    assert table.weight[[0, 2]].tolist() == [[0, 0], [0, 0]]
    assert optimiser.state[table.weight]["sum"].tolist() == pytest.approx([0, 100, 0])


def test_padding_stays_where_it_is():
    table = nn.Embedding(3, 2, padding_idx=0, sparse=True)
    optimiser = RowwiseAdagrad([table.weight], lr=0.1)
    table(torch.tensor([0, 2])).sum().backward()
    table.weight.grad = table.weight.grad.coalesce()
    optimiser.step()
    assert table.weight[0].tolist() == [0, 0]


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.norm = nn.LayerNorm(2)
        self.inner = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        self.table = nn.Embedding(4, 2)


def test_vectors_norms_and_what_is_named_are_not_decayed():
    model = Parts()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, free = decay_groups(model.named_parameters(), {"inner.1", "first.weight"}, 0.1)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert {names[id(parameter)] for parameter in decayed["params"]} == {"inner.0.weight", "table.weight"}
    assert len(decayed["params"]) + len(free["params"]) == len(names)


def test_tables_row_by_row_are_apart():
    model = Parts()
    optimisers = Optimisers(model, TrainingOptions(embeddings="rowwise"))
    assert [id(table) for table in optimisers.sparse] == [id(model.table.weight)]
    assert len(optimisers.dense) == len(list(model.parameters())) - 1
    assert set(optimisers.state_dict()) == {"dense", "rows"}
    assert Optimisers(Parts(), TrainingOptions()).sparse == []
