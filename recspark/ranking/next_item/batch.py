"""What a next-item model sees: sequences of events as tensors, and the content of the catalogue.

Shapes: B rows, L events, E embedding size, n items, H items that a row must not be offered.
Sequences are padded on the right, oldest event first: position i has i events before it, and a causal model needs no mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from recspark.columns import PAD_ITEM
from recspark.handover.plan import Plan
from recspark.handover.reader import REAL
from recspark.ranking.draws import HELD_OUT, uniform_draws

# The columns of `sequences` that every next-item model learns from, and those of `contexts` that it reads;
COLUMNS = ("sequence_idx", "user_idx", "window", "items", "event_types", "ages", "length", "user_numbers", "user_categories")
CONTEXT_COLUMNS = ("request_idx", "items", "event_types", "ages", "length", "user_numbers", "user_categories")
# B x H: what the user has beside the row's own items, the latest event's first. As wide as all windows: read where it is needed.
SEEN = "seen_items"
# The columns of a value an event, and what they are padded with.
PADDING = {"items": PAD_ITEM, "event_types": 0, "times": 0, "targets": PAD_ITEM}
# In `items`, what stands for an item that is to be guessed (BERT4Rec).
MASKED_ITEM = -2


@dataclass(frozen=True)
class SequenceBatch:
    """B sequences of L events.

    rows: B int64, identifies each row. items: B x L int64 (-1 padding, -2 masked), event_types: B x L int64 (0 padding or
    unknown), times: B x L float32 days. user_numbers: B x N float32, user_categories: B x C int64. targets: B x L int64, the item that
    each position has to say (-1: none). negatives: B x K int64 and negative_log_odds: B x K float32, the logarithm of the expected number of
    times that each was drawn (K = 0 where the loss wants none). seen: B x H int64 (-1 padding), what the row must
    not be offered. weight: B float32, 0 for padding rows.
    """

    rows: Tensor
    items: Tensor
    event_types: Tensor
    times: Tensor
    user_numbers: Tensor
    user_categories: Tensor
    targets: Tensor
    negatives: Tensor
    negative_log_odds: Tensor
    seen: Tensor
    weight: Tensor

    @property
    def mask(self) -> Tensor:
        """B x L bool: an event, not padding."""
        return self.items != PAD_ITEM

    @property
    def last(self) -> Tensor:
        """B int64: the position of the last event; 0 in a row without events."""
        return (self.mask.sum(1) - 1).clamp(min=0)

    def to(self, device: torch.device) -> SequenceBatch:
        """The same batch on `device`."""
        return SequenceBatch(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})


def from_table(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows of `sequences` or `contexts` as models see them: `sequence_idx` tells rows apart, ages are `times` that ascend, all weigh 1."""
    rows = columns["sequence_idx"] if "sequence_idx" in columns else columns["request_idx"]
    weight = np.ones(len(rows), np.float32)
    return {"weight": weight, **columns, "sequence_idx": rows, "times": -columns["ages"]}


def judging_users(columns: Mapping[str, np.ndarray], share: float, seed: int) -> np.ndarray:
    """B bool: rows of the seeded `share` of the users whose latest event is held out."""
    drawn: np.ndarray = uniform_draws(columns["user_idx"], 1, seed=seed, epoch=0, purpose=HELD_OUT)[:, 0] < share
    return drawn


def is_held_out(columns: Mapping[str, np.ndarray], share: float, seed: int) -> np.ndarray:
    """B bool: rows of which the last event is not learnt from: the latest ones of a seeded `share` of the users."""
    return judging_users(columns, share, seed) & (columns["window"] == 0) & (columns["length"] > 1)


def hold_out(columns: Mapping[str, np.ndarray], share: float, seed: int) -> dict[str, np.ndarray]:
    """The rows without the last events of those that are held out; what else such a user has does not tell of it either."""
    held = is_held_out(columns, share, seed)
    length = columns["length"] - held
    kept = part_of(columns, np.zeros(len(length), np.int64), length, columns["items"].shape[1])
    if SEEN in columns:
        seen = columns[SEEN].copy()
        seen[judging_users(columns, share, seed), 0] = PAD_ITEM
        kept[SEEN] = seen
    return kept


def sequence_plan(plan: Plan, *, seen: bool) -> Plan:
    """The plan, reading only what next-item models read; `seen`: also what else a row's user has.

    Raises:
        HandoverError: the plan lacks a column.
    """
    return plan.select((*COLUMNS, SEEN) if seen else COLUMNS)


def part_of(columns: Mapping[str, np.ndarray], first: np.ndarray, n_events: np.ndarray, width: int) -> dict[str, np.ndarray]:
    """`n_events` (B) events of each row, at most `width`, from the event `first` (B) on."""
    place = np.arange(width)[None]
    source = np.minimum(first[:, None] + place, columns["items"].shape[1] - 1)
    part: dict[str, np.ndarray] = {}
    for name in PADDING.keys() & columns.keys():
        taken = np.take_along_axis(columns[name], source, axis=1)
        part[name] = np.where(place < n_events[:, None], taken, np.asarray(PADDING[name], taken.dtype))
    return {**columns, **part, "length": n_events.astype(columns["length"].dtype)}


def trimmed(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without the positions that are padding in every row; at least one stays."""
    longest = max(1, int(columns["length"].max(initial=1)))
    return {name: array[:, :longest] if name in PADDING else array for name, array in columns.items()}


def latest_events(columns: Mapping[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    """At most the last `length` events of each row: what is served, where rows are longer than what a model reads."""
    kept = np.minimum(columns["length"], length)
    return part_of(columns, columns["length"] - kept, kept, min(length, columns["items"].shape[1]))


def with_next_targets(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every event but the last has to say the one after it: what causal models learn. Adds `targets`; lengths shrink by one."""
    items, length = columns["items"], columns["length"]
    inputs = np.arange(items.shape[1])[None] < length[:, None] - 1
    shifted = np.concatenate([items[:, 1:], np.full((len(items), 1), PAD_ITEM, items.dtype)], axis=1)
    return {
        **columns,
        "items": np.where(inputs, items, PAD_ITEM),
        "targets": np.where(inputs, shifted, PAD_ITEM),
        "length": np.maximum(length - 1, 0).astype(length.dtype),
    }


def with_last_target(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The last event is what the one before it has to say, and is no longer among what was seen: what models are judged by.

    Adds `targets`. Rows of less than two events have none.
    """
    with_all = with_next_targets(columns)
    is_last = np.arange(columns["items"].shape[1])[None] == with_all["length"][:, None] - 1
    return {**with_all, "targets": np.where(is_last, with_all["targets"], PAD_ITEM)}


def to_batch(columns: Mapping[str, np.ndarray]) -> SequenceBatch:
    """Tensors of the columns that `sequences` gives and those that targets and negatives added. Rows that are padding weigh 0.

    What a row must not be offered is its own items, and the user's others where they were read. Without `targets` no position has
    one.
    """
    items = columns["items"].astype(np.int64)
    shape, none = items.shape, np.zeros((len(items), 0))
    real = columns.get(REAL, np.ones(len(items), bool))
    mask = (items != PAD_ITEM) & real[:, None]
    items = np.where(mask, items, PAD_ITEM)
    targets = np.where(real[:, None], columns.get("targets", np.full(shape, PAD_ITEM)), PAD_ITEM)
    arrays = {
        "rows": columns["sequence_idx"].astype(np.int64),
        "items": items,
        "event_types": np.where(mask, columns["event_types"], 0).astype(np.int64),
        "times": np.where(mask, columns["times"], 0).astype(np.float32),
        "user_numbers": columns["user_numbers"].astype(np.float32),
        "user_categories": columns["user_categories"].astype(np.int64),
        "targets": targets.astype(np.int64),
        "negatives": columns.get("negatives", none).astype(np.int64),
        "negative_log_odds": columns.get("negative_log_odds", none).astype(np.float32),
        "seen": np.concatenate([items, columns[SEEN]], axis=1).astype(np.int64) if SEEN in columns else items,
        "weight": (columns["weight"] * real).astype(np.float32),
    }
    return SequenceBatch(**{name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()})
