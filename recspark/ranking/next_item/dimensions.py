"""Sizes of a next-item model, and what is known of the items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recspark.handover.plan import Plan
from recspark.handover.reader import read_rows
from recspark.ranking.batch import ItemTable
from recspark.ranking.dimensions import SAMPLE_ROWS
from recspark.ranking.next_item.batch import hold_out, is_held_out
from recspark.ranking.processes import Processes

# Rows looked at together.
COUNT_BATCH = 8192


@dataclass(frozen=True)
class SequenceDimensions:
    """What a next-item model takes from the tables that it is fitted on; 0 where a table has none of it.

    n_items: the catalogue at the time of training. length: the most events of a row. n_item_codes and n_user_codes: one more
    than the largest category code. n_item_vector: the size of the items' given vectors (text, images).
    """

    n_items: int
    length: int
    n_event_types: int = 0
    has_times: bool = False
    n_item_codes: int = 0
    n_item_numbers: int = 0
    n_item_vector: int = 0
    n_user_codes: int = 0
    n_user_numbers: int = 0


@dataclass(frozen=True)
class ItemContent:
    """What is known of all items, by item index: categories n x C int64 (0 padding), numbers n x N, vectors n x V float32.

    It may hold more items than a model was trained with: those that came later.
    """

    categories: Tensor
    numbers: Tensor
    vectors: Tensor

    @property
    def n_items(self) -> int:
        return len(self.categories)


def item_content(
    n_items: int, categories: np.ndarray | None = None, numbers: np.ndarray | None = None, vectors: np.ndarray | None = None
) -> ItemContent:
    """The content of n items, of whichever parts exist."""
    none = np.zeros((n_items, 0))
    parts = [none if part is None else part for part in (categories, numbers, vectors)]
    dtypes = (np.int64, np.float32, np.float32)
    return ItemContent(*(torch.from_numpy(part.astype(dtype)) for part, dtype in zip(parts, dtypes, strict=True)))


def content_of(items: ItemTable) -> ItemContent:
    """What the item features hold, as tensors: item-sized, and in memory as a whole."""
    known = items.gather(np.arange(items.n_items))
    return item_content(items.n_items, known.categories.numpy(), known.numbers.numpy())


def lacks_sequences(plan: Plan, share: float, seed: int) -> str:
    """Why nothing can be learnt or judged where the last events of a `share` of the users are held out; empty where both can.

    Reads the rows up to the first of either kind.

    Raises:
        HandoverError: the files do not hold what was planned.
    """
    lengths = plan.select(("sequence_idx", "user_idx", "window", "length"))
    learnt = held = False
    for batch in read_rows(lengths, lengths.scoring_share(0, 1), COUNT_BATCH):
        out = is_held_out(batch, share, seed)
        held, learnt = held or bool(out.any()), learnt or bool((batch["length"] - out > 1).any())
        if held and learnt:
            return ""
    return "no user is held out to judge by, raise validation_share" if learnt else "no sequence of two events is left to learn from"


def count_items(plan: Plan, n_items: int, processes: Processes, *, share: float, seed: int) -> np.ndarray:
    """n int64: how often each item stands in the rows, over all processes, without the last events of those held out."""
    counts = torch.zeros(n_items, dtype=torch.int64, device=processes.device)
    rows = plan.scoring_share(processes.process_rank, processes.world_size)
    for batch in read_rows(plan.select(("sequence_idx", "user_idx", "window", "items", "length")), rows, COUNT_BATCH):
        items = hold_out(batch, share, seed)["items"]
        known = items[(items >= 0) & (items < n_items)]
        counts += torch.from_numpy(np.bincount(known, minlength=n_items)).to(counts.device)
    return processes.sum(counts).cpu().numpy()


def fit_sequence_dimensions(plan: Plan, items: ItemTable, *, length: int, seed: int) -> SequenceDimensions:
    """Read a sample of the rows (the same one in every process) and fit.

    Event types beyond the sample's largest are unknown for ever after. Ages of 0 throughout are none. `length` is the most
    events that a model shall read; it is less where rows are shorter.

    Raises:
        HandoverError: the files do not hold what was planned.
    """
    columns = ("sequence_idx", "event_types", "ages", "user_numbers", "user_categories")
    n_types, n_user_codes, has_times, has_user_numbers = 1, 1, False, False
    for batch in read_rows(plan.select(columns), plan.sample_share(SAMPLE_ROWS, seed=seed), 1024):
        n_types = max(n_types, int(batch["event_types"].max(initial=0)) + 1)
        n_user_codes = max(n_user_codes, int(batch["user_categories"].max(initial=0)) + 1)
        has_times |= bool(batch["ages"].any())
        has_user_numbers |= bool(batch["user_numbers"].any())
    # Where nothing is configured the tables have one number and one category, all 0.
    n_item_codes = items.n_codes() if items.categories.any() else 0
    content = content_of(items)
    has_numbers = bool(content.numbers.any())
    return SequenceDimensions(
        n_items=items.n_items,
        length=max(1, min(length, plan.column("items").length - 1)),
        # Of one type alone there is nothing to tell.
        n_event_types=n_types if n_types > 2 else 0,
        has_times=has_times,
        n_item_codes=n_item_codes,
        n_item_numbers=items.n_numbers if has_numbers else 0,
        n_user_codes=n_user_codes if n_user_codes > 1 else 0,
        n_user_numbers=plan.column("user_numbers").length if has_user_numbers else 0,
    )
