"""Building blocks of rankers. Shapes: B slates, S candidates, L events of history, F features, E embedding size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recspark.columns import OUT_OF_VOCABULARY
from recspark.ranking.batch import Items

# Embeddings begin small, so that what was never trained hardly speaks.
EMBEDDING_STD = 0.01
# Days. An age falls in one of len + 1 buckets; without times all are 0, in the first.
AGE_LIMITS = (1 / 24, 1.0, 3.0, 7.0, 14.0, 30.0, 90.0, 180.0, 365.0, 730.0)


def make_output(n_in: int, *, bias: bool = True) -> nn.Linear:
    """... x n_in -> ... x 1, beginning at zero: what has not been trained says nothing."""
    output = nn.Linear(n_in, 1, bias=bias)
    for parameter in output.parameters():
        nn.init.zeros_(parameter)
    return output


def make_mlp(n_in: int, hidden: Sequence[int], dropout: float) -> nn.Sequential:
    """... x n_in -> ... x 1, beginning at zero.

    PReLU, and nothing that takes statistics over the batch (batch norm, Dice): padding and the number of processes would
    change results.
    """
    layers: list[nn.Module] = []
    for n_out in hidden:
        layers += [nn.Linear(n_in, n_out), nn.PReLU(), nn.Dropout(dropout)]
        n_in = n_out
    return nn.Sequential(*layers, make_output(n_in))


def _embedding(n_codes: int, size: int) -> nn.Embedding:
    embedding = nn.Embedding(n_codes, size, padding_idx=0)
    nn.init.normal_(embedding.weight, std=EMBEDDING_STD)
    with torch.no_grad():
        embedding.weight[0].zero_()
    return embedding


class CategoryEmbedding(nn.Module):
    """Sum of the embeddings of the codes: ... x C int64 -> ... x E. Codes that training never saw are out of its vocabulary."""

    def __init__(self, n_codes: int, size: int) -> None:
        super().__init__()
        self.table = _embedding(max(n_codes, OUT_OF_VOCABULARY + 1), size)

    def forward(self, codes: Tensor) -> Tensor:
        known = torch.where(codes < self.table.num_embeddings, codes, OUT_OF_VOCABULARY)
        embedded: Tensor = self.table(known).sum(-2)
        return embedded


class ItemEmbedding(nn.Module):
    """An item's own embedding + its categories' + a projection of its numbers: items of shape ... -> ... x E.

    In training an item's own embedding is left out with probability `dropout`: what the ranker knows must also hold
    for items it has hardly or never seen. An item that came after training has its categories and numbers alone.
    """

    def __init__(self, n_items: int, n_codes: int, n_numbers: int, size: int, dropout: float) -> None:
        super().__init__()
        self.own = _embedding(n_items + 1, size)
        self.categories = CategoryEmbedding(n_codes, size)
        self.numbers = nn.Linear(n_numbers, size, bias=False)
        nn.init.normal_(self.numbers.weight, std=EMBEDDING_STD)
        self.dropout = dropout

    def forward(self, items: Items) -> Tensor:
        idx = torch.where(items.idx < self.own.num_embeddings - 1, items.idx + 1, 0)
        if self.training and self.dropout:
            idx = idx * (torch.rand(idx.shape, device=idx.device) >= self.dropout)
        embedded: Tensor = self.own(idx) + self.categories(items.categories) + self.numbers(items.numbers)
        return embedded


class UserContent(nn.Module):
    """A user's categories + a projection of their numbers: B x C int64, B x N -> B x E. The same for all who are alike."""

    def __init__(self, n_codes: int, n_numbers: int, size: int) -> None:
        super().__init__()
        self.categories = CategoryEmbedding(n_codes, size)
        self.numbers = nn.Linear(n_numbers, size, bias=False)
        nn.init.normal_(self.numbers.weight, std=EMBEDDING_STD)

    def forward(self, categories: Tensor, numbers: Tensor) -> Tensor:
        embedded: Tensor = self.categories(categories) + self.numbers(numbers)
        return embedded


class UserEmbedding(nn.Module):
    """A user's own embedding: B int64 -> B x E. Users that training never saw share one, which stands in row 0.

    In training it stands for a share `dropout` of all users: so it becomes that of nobody in particular.
    """

    def __init__(self, n_users: int, size: int, dropout: float) -> None:
        super().__init__()
        self.own = nn.Embedding(n_users + 1, size)
        nn.init.normal_(self.own.weight, std=EMBEDDING_STD)
        self.dropout = dropout

    def forward(self, user_idx: Tensor) -> Tensor:
        row = torch.where(user_idx < self.own.num_embeddings - 1, user_idx + 1, 0)
        if self.training and self.dropout:
            row = row * (torch.rand(row.shape, device=row.device) >= self.dropout)
        embedded: Tensor = self.own(row)
        return embedded


class EventEmbedding(nn.Module):
    """What happened and how long ago: B x L types, B x L days -> B x L x E."""

    limits: Tensor

    def __init__(self, n_types: int, size: int) -> None:
        super().__init__()
        self.types = _embedding(n_types, size)
        self.ages = nn.Embedding(len(AGE_LIMITS) + 1, size)
        nn.init.normal_(self.ages.weight, std=EMBEDDING_STD)
        self.register_buffer("limits", torch.tensor(AGE_LIMITS), persistent=False)

    def forward(self, types: Tensor, ages: Tensor) -> Tensor:
        known = torch.where(types < self.types.num_embeddings, types, 0)
        embedded: Tensor = self.types(known) + self.ages(torch.bucketize(ages, self.limits))
        return embedded
