"""What the table `activity` holds of a world, counted by numpy; worlds of shapes and seeds that no rate was measured on."""

from __future__ import annotations

from typing import Any

import numpy as np

from recspark.preflight.activity import Activity, activity_of
from tests.worlds import World, with_item_of_everyone, with_user_of_everything, zipf

WORLDS = {
    "usual": zipf(900, 500, 20_000, seed=101),
    "few users": zipf(40, 3_000, 9_000, seed=202),
    "few items": zipf(4_000, 60, 16_000, seed=303),
    "long tail": zipf(2_000, 2_000, 5_000, seed=404, exponent=1.4, offset=2.0),
    "a user of everything": with_user_of_everything(zipf(300, 400, 3_000, seed=505), 1_000),
    "an item of everyone": with_item_of_everyone(zipf(500, 300, 4_000, seed=606)),
}


def pairs_of(world: World) -> np.ndarray:
    """[n x 2]: the distinct pairs."""
    return np.unique(np.column_stack([world.users, world.items]).astype(np.int64), axis=0)


def _histogram(kind: str, own: np.ndarray, events: np.ndarray) -> list[dict[str, Any]]:
    """`own`: this side of each distinct pair; `events`: of each event."""
    idx, degrees = np.unique(own, return_counts=True)
    n_events = np.bincount(events, minlength=idx.max() + 1)[idx]
    buckets = np.floor(8 * np.log2(degrees)).astype(int)
    rows = []
    for bucket in np.unique(buckets):
        of = buckets == bucket
        row = {"kind": kind, "bucket": int(bucket), "n_rows": int(of.sum()), "n_pairs": int(degrees[of].sum())}
        row |= {"squares": float((degrees[of] ** 2.0).sum()), "largest": int(degrees[of].max())}
        row |= {"n_events": int(n_events[of].sum()), "most_events": int(n_events[of].max())}
        rows.append({**row, "largest_idx": int(idx[of].max())})
    return rows


def activity_rows(world: World) -> list[dict[str, Any]]:
    pairs = pairs_of(world)
    return _histogram("user", pairs[:, 0], world.users) + _histogram("item", pairs[:, 1], world.items)


def activity(world: World) -> Activity:
    return activity_of(activity_rows(world))


def capped(pairs: np.ndarray, cap: int) -> np.ndarray:
    """At most `cap` pairs of a user, by lot."""
    order = np.lexsort((np.random.default_rng(3).random(len(pairs)), pairs[:, 0]))
    place = np.arange(len(pairs)) - np.searchsorted(pairs[order, 0], pairs[order, 0])
    return pairs[order[place < cap]]


def size_of(found: tuple[np.ndarray, ...]) -> int:
    return sum(array.nbytes for array in found)


def within(factor: float, forecast: float, truth: float) -> bool:
    return truth / factor <= forecast <= truth * factor
