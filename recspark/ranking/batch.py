"""What a ranker sees: slates as tensors, and the content of the items in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recspark.columns import PAD_CATEGORY, PAD_ITEM, UNKNOWN_CATEGORY
from recspark.errors import HandoverError
from recspark.handover.arrays import Published
from recspark.handover.plan import Plan
from recspark.handover.reader import REAL
from recspark.ranking.transfer import map_tensors

# The columns of `examples` that rankers read.
COLUMNS = (
    "request_idx",
    "user_idx",
    "history_items",
    "history_types",
    "history_ages",
    "history_length",
    "user_numbers",
    "user_categories",
    "items",
    "n_items",
    "features",
    "labels",
    "n_positives",
    "weight",
)


@dataclass(frozen=True)
class Items:
    """Items in an array of any shape `...`: their numbers and what is known of them. Padding has idx -1 and code 0.

    idx: ... int64; numbers: ... x N float32; categories: ... x C int64.
    """

    idx: Tensor
    numbers: Tensor
    categories: Tensor


@dataclass(frozen=True)
class SlateBatch:
    """B slates of S candidates with F features, and their requests' histories of L events.

    request_idx, user_idx: B int64. history: B x L items, history_types: B x L int64 (0 padding), history_ages: B x L days,
    history_mask: B x L bool. user_numbers: B x N, user_categories: B x C. candidates: B x S items, mask: B x S bool
    (a candidate, not padding), features: B x S x F, labels: B x S, n_positives: B, weight: B (0 for padding rows).
    """

    request_idx: Tensor
    user_idx: Tensor
    history: Items
    history_types: Tensor
    history_ages: Tensor
    history_mask: Tensor
    user_numbers: Tensor
    user_categories: Tensor
    candidates: Items
    mask: Tensor
    features: Tensor
    labels: Tensor
    n_positives: Tensor
    weight: Tensor

    @property
    def rows(self) -> Tensor:
        """What identifies the rows in an error: their request_idx."""
        return self.request_idx

    def to(self, device: torch.device) -> SlateBatch:
        """The same batch on `device`."""
        return map_tensors(self, lambda tensor: tensor.to(device))


class ItemTable:
    """The item features behind one `gather`. The arrays are mapped: only the rows of a batch are read."""

    def __init__(self, item_features: Published) -> None:
        arrays = item_features.arrays()
        # A table may have dense vectors too: to a model they are further numbers.
        self._numbers = [arrays[name] for name in ("numbers", "vectors") if name in arrays]
        self.categories = arrays["categories"]
        idx = arrays["item_idx"]
        if len(idx) and (idx[0] != 0 or idx[-1] != len(idx) - 1):
            raise HandoverError(
                f"item_features has {len(idx)} rows for items {idx[0]} to {idx[-1]}: it must hold every item of the index once, from 0 on. "
                "Run the job item_features again"
            )

    @property
    def n_items(self) -> int:
        return len(self.categories)

    @property
    def n_numbers(self) -> int:
        """Numbers of an item, the entries of its vector among them."""
        return sum(array.shape[1] for array in self._numbers)

    def n_codes(self) -> int:
        """One more than the largest category code."""
        return int(self.categories.max(initial=UNKNOWN_CATEGORY)) + 1

    def gather(self, item_idx: np.ndarray) -> Items:
        """What is known of these items, in any shape. Padding and items beyond the table have zeros.

        An item beyond the table came later than the features: it keeps its idx, and has no content.
        """
        known = (item_idx >= 0) & (item_idx < self.n_items)
        rows = np.where(known, item_idx, 0)
        numbers = np.concatenate([np.where(known[..., None], array[rows], 0) for array in self._numbers], axis=-1, dtype=np.float32)
        categories = np.where(known[..., None], self.categories[rows], PAD_CATEGORY).astype(np.int64)
        return Items(torch.from_numpy(item_idx.astype(np.int64)), torch.from_numpy(numbers), torch.from_numpy(categories))


def slate_plan(plan: Plan) -> Plan:
    """The plan, reading only what rankers read.

    Raises:
        HandoverError: the plan lacks a column.
    """
    return plan.select(COLUMNS)


def keep_weighing(columns: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Only the rows that training learns from: no padding, weight > 0. At least one row, of padding where none weighs, so that no process stands aside.

    What is left out would add nothing to a loss, and costs as much as any other row.
    """
    rows = np.flatnonzero((columns["weight"] > 0) & columns[REAL])
    if not len(rows):
        return {name: np.zeros_like(array[:1]) for name, array in columns.items()}
    return {name: array[rows] for name, array in columns.items()}


def to_batch(columns: Mapping[str, np.ndarray], items: ItemTable) -> SlateBatch:
    """Tensors of what the reader gives. Rows that are padding get weight 0 and no candidates."""
    real = columns.get(REAL, np.ones(len(columns["items"]), bool))
    n_rows, n_slots = columns["items"].shape
    mask = (np.arange(n_slots) < columns["n_items"][:, None]) & real[:, None]
    history_mask = np.arange(columns["history_items"].shape[1]) < columns["history_length"][:, None]
    return SlateBatch(
        request_idx=torch.from_numpy(columns["request_idx"]),
        user_idx=torch.from_numpy(columns["user_idx"]),
        history=items.gather(np.where(history_mask, columns["history_items"], PAD_ITEM)),
        history_types=torch.from_numpy(columns["history_types"].astype(np.int64)),
        history_ages=torch.from_numpy(columns["history_ages"]),
        history_mask=torch.from_numpy(history_mask),
        user_numbers=torch.from_numpy(columns["user_numbers"]),
        user_categories=torch.from_numpy(columns["user_categories"].astype(np.int64)),
        candidates=items.gather(np.where(mask, columns["items"], PAD_ITEM)),
        mask=torch.from_numpy(mask),
        features=torch.from_numpy(columns["features"]).reshape(n_rows, n_slots, -1),
        labels=torch.from_numpy(columns["labels"]) * torch.from_numpy(mask),
        n_positives=torch.from_numpy(columns["n_positives"]),
        weight=torch.from_numpy(columns["weight"]) * torch.from_numpy(real.astype(np.float32)),
    )
