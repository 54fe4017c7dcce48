"""Sequences changed a little, anew each epoch: windows, crops, masks, reordered parts (Xie et al., CL4SRec, ICDE 2022).

All draws follow from (seed, epoch, row) alone: the same on any number of processes. Columns in, columns out; padding stays
on the right. Apply before targets are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from recspark.columns import PAD_ITEM
from recspark.ranking.draws import CHOICE, CROP, LAST, MASK, REORDER, SHUFFLE, WINDOW, uniform_draws
from recspark.ranking.next_item.batch import MASKED_ITEM, part_of

Columns = Mapping[str, np.ndarray]
Share = Annotated[float, Field(ge=0, le=1)]


class AugmentationKnobs(BaseModel):
    """What can be set about augmentation; in the configuration, `augmentation` of the next-item model."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    rows: Share = 0.0  # share of the rows that are changed, each by one of the three below
    crop: Annotated[float, Field(gt=0, le=1)] = 0.6  # of a sequence that is kept
    mask: Share = 0.3  # of its events that lose their item
    reorder: Share = 0.6  # of it that is shuffled


def slide_windows(columns: Columns, length: int, *, seed: int, epoch: int) -> dict[str, np.ndarray]:
    """At most `length` events of each row, from a random start on: each epoch sees long rows through other windows."""
    start = uniform_draws(columns["sequence_idx"], 1, seed=seed, epoch=epoch, purpose=WINDOW)[:, 0]
    return _taken(columns, start, np.minimum(columns["length"], length), width=min(length, columns["items"].shape[1]))


def crop_sequences(columns: Columns, share: float, *, seed: int, epoch: int) -> dict[str, np.ndarray]:
    """A contiguous `share` of each sequence, rounded up, from a random start on."""
    start = uniform_draws(columns["sequence_idx"], 1, seed=seed, epoch=epoch, purpose=CROP)[:, 0]
    return _taken(columns, start, np.ceil(share * columns["length"]).astype(np.int64), width=columns["items"].shape[1])


def mask_items(columns: Columns, share: float, *, seed: int, epoch: int) -> dict[str, np.ndarray]:
    """Each event loses its item with probability `share`; type and time stay."""
    hidden = _hidden(columns, share, seed=seed, epoch=epoch)
    return {**columns, "items": np.where(hidden, MASKED_ITEM, columns["items"])}


def reorder_items(columns: Columns, share: float, *, seed: int, epoch: int) -> dict[str, np.ndarray]:
    """The events of a contiguous `share` of each sequence, rounded down, in random order. Times stay ascending."""
    rows, width, length = columns["sequence_idx"], columns["items"].shape[1], columns["length"].astype(np.int64)
    n_shuffled = np.floor(share * length).astype(np.int64)
    first = uniform_draws(rows, 1, seed=seed, epoch=epoch, purpose=REORDER)[:, 0]
    start = np.floor(first * (length - n_shuffled + 1)).astype(np.int64)[:, None]
    place = np.arange(width)[None]
    inside = (place >= start) & (place < start + n_shuffled[:, None])
    draws = uniform_draws(rows, width, seed=seed, epoch=epoch, purpose=SHUFFLE)
    order = np.argsort(np.where(inside, start + draws * n_shuffled[:, None], place), axis=1, kind="stable")
    moved = {name: np.take_along_axis(columns[name], order, axis=1) for name in ("items", "event_types")}
    return {**columns, **moved}


def with_masked_targets(columns: Columns, share: float, share_of_last: float, *, seed: int, epoch: int) -> dict[str, np.ndarray]:
    """Items to be guessed from all others: what bidirectional models learn. Adds `targets`: the items that were hidden.

    Each item is hidden with probability `share`; at least one a row. With probability `share_of_last` a row hides its last
    item and no other, as it is asked when it is served (Sun et al., CIKM 2019, section 3.6). As then, nothing is told of the event: its
    type is unknown, its time that of the event before.
    """
    place, length = np.arange(columns["items"].shape[1])[None], columns["length"][:, None]
    hidden = _hidden(columns, share, seed=seed, epoch=epoch)
    only_last = uniform_draws(columns["sequence_idx"], 1, seed=seed, epoch=epoch, purpose=LAST) < share_of_last
    hidden = np.where(only_last | ~hidden.any(1, keepdims=True), place == length - 1, hidden)
    times = columns["times"]
    return {
        **columns,
        "event_types": np.where(hidden, 0, columns["event_types"]).astype(columns["event_types"].dtype),
        "times": np.where(hidden, np.concatenate([times[:, :1], times[:, :-1]], axis=1), times),
        "items": np.where(hidden, MASKED_ITEM, columns["items"]),
        "targets": np.where(hidden, columns["items"], PAD_ITEM),
    }


def augment_sequences(columns: Columns, knobs: AugmentationKnobs, *, seed: int, epoch: int) -> dict[str, np.ndarray]:
    """Each row as it is, or, with probability `knobs.rows`, cropped, masked or reordered."""
    if not knobs.rows:
        return dict(columns)
    draws = uniform_draws(columns["sequence_idx"], 1, seed=seed, epoch=epoch, purpose=CHOICE)[:, 0]
    choice = np.where(draws < knobs.rows, np.floor(draws / knobs.rows * 3), 3).astype(np.int64)
    changed = [
        crop_sequences(columns, knobs.crop, seed=seed, epoch=epoch),
        mask_items(columns, knobs.mask, seed=seed, epoch=epoch),
        reorder_items(columns, knobs.reorder, seed=seed, epoch=epoch),
        columns,
    ]
    names = ("items", "event_types", "times", "length")
    rows = np.arange(len(choice))
    return {**columns, **{name: np.stack([one[name] for one in changed])[choice, rows] for name in names}}


def _hidden(columns: Columns, share: float, *, seed: int, epoch: int) -> np.ndarray:
    width = columns["items"].shape[1]
    draws = uniform_draws(columns["sequence_idx"], width, seed=seed, epoch=epoch, purpose=MASK)
    return (draws < share) & (np.arange(width)[None] < columns["length"][:, None])


def _taken(columns: Columns, start: np.ndarray, n_kept: np.ndarray, width: int) -> dict[str, np.ndarray]:
    """`n_kept` events of each row; `start` in [0, 1) says from which of the possible places on."""
    first = np.floor(start * (columns["length"] - n_kept + 1)).astype(np.int64)
    return part_of(columns, first, n_kept, width)
