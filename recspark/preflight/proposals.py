"""The work of proposing items to every request, source by source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recspark.preflight.activity import Activity, Degrees
from recspark.preflight.work import DRIVER_COPIES, Place, Step, Work

# Rows that a task holds at once, of an Arrow batch; and what it holds of scores, whatever there are of users and items.
_BATCH, _TILES = 10_000, 4 << 20
# An entry of a list of neighbours as published: idx, neighbour, score, support, position.
_NEIGHBOUR = 28


def _lists(knobs: Mapping[str, Any]) -> float:
    """What a batch's proposals are: items and scores, as lists and as arrays."""
    return float(_BATCH * 16 * knobs["n_candidates"])


def als_candidates_work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """`score_als_candidates`: R requests, I items: 2 R I rank operations at most; all item vectors through the driver once, mapped by tasks."""
    return _by_vectors(activity, knobs, place, activity.items.rows)


def next_item_candidates_work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """`score_next_item_candidates`: likewise, over every item of the index."""
    return _by_vectors(activity, knobs, place, activity.n_places)


def _by_vectors(activity: Activity, knobs: Mapping[str, Any], place: Place, items: float) -> Work:
    requests, rank = activity.n_requests, knobs["rank"]
    flops, vectors = 2 * requests * items * rank, items * (4 * rank + 12)
    return Work(
        pairs=requests * items,
        unit="scores",
        flops=flops,
        steps=(
            Step("rows", 2 * requests, place.n_slots),
            Step("moved", requests * rank + activity.users.pairs, place.n_slots),
            Step("products", flops, place.n_slots),
        ),
        shuffle_bytes=requests * (4 * rank + 40) + 4 * activity.users.pairs,
        task_bytes=vectors + 4 * _BATCH * rank + _lists(knobs) + _TILES,
        driver_bytes=DRIVER_COPIES * vectors,
    )


def _standing_in(items: Degrees, most: np.ndarray | float, n_entries: float) -> np.ndarray:
    """Of each bucket of items: in how many lists an item of it stands, where all lists have n_entries together.

    In proportion to its degree, in `most` at most (measured: the sums over histories are within a factor of 2).
    """
    low, high = 0.0, max(n_entries, 1.0)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(most, middle * items.means) @ items.n_rows < n_entries else (low, middle)
    return np.asarray(np.minimum(most, high * items.means))


def _by_lists(
    activity: Activity, knobs: Mapping[str, Any], place: Place, histories: Degrees, lengths: np.ndarray, rows: float, copies: int
) -> Work:
    """Each item of a history adds up its list, of `lengths` by bucket of items; `rows` pass through the driver, `copies` lie in a task."""
    requests, items = activity.n_requests, activity.items
    mean = histories.pairs / max(histories.rows, 1)
    # What stands in a history is drawn by popularity.
    additions = requests * mean * float(lengths @ items.n_pairs) / max(items.pairs, 1)
    return Work(
        pairs=additions,
        unit="list entries",
        flops=additions,
        steps=(
            Step("rows", 2 * requests, place.n_slots),
            Step("moved", histories.pairs + activity.users.pairs, place.n_slots),
            Step("additions", additions, place.n_slots),
        ),
        shuffle_bytes=requests * 60 + 4 * (histories.pairs + activity.users.pairs),
        task_bytes=copies * rows * _NEIGHBOUR + 24 * activity.n_places + 4 * _BATCH * mean + _lists(knobs),
        driver_bytes=DRIVER_COPIES * rows * _NEIGHBOUR,
        published_rows=rows,
    )


def list_candidates_work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """Proposals from item neighbours, K of each item or as many as it meets; a history's item adds up its list, or (`lists_of`:
    candidates) those that it stands in, which are up to all. The lists pass through the driver once."""
    items, from_candidates = activity.items, knobs["lists_of"] == "candidates"
    met = activity.met(activity.users.capped(knobs["max_items_per_user"]), knobs["min_support"])
    lengths = np.minimum(met, knobs["n_neighbours"])
    rows = float(lengths @ items.n_rows)
    histories = activity.users.capped(min(knobs["max_history"], knobs["max_length"]))
    lengths = _standing_in(items, met, rows) if from_candidates else lengths
    return _by_lists(activity, knobs, place, histories, lengths, rows, 2 if from_candidates else 1)


def ease_candidates_work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """Proposals from EASE's weights over whole histories: N items keep K each, which stand in the lists of up to all N."""
    items = activity.items
    rows = items.rows * min(knobs["n_neighbours"] or items.rows, items.rows)
    return _by_lists(activity, knobs, place, activity.users, _standing_in(items, items.rows, rows), rows, 1)


def user_knn_candidates_work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """`score_user_knn_candidates`: U users of K neighbours with h items each: 4 h B min(U, U K / B) bytes to B blocks, and 12 U K."""
    requests, users, blocks = activity.n_requests, activity.users.rows, knobs["n_blocks"]
    mean, n = activity.users.pairs / max(users, 1), min(knobs["n_neighbours"], users)
    met = min(users, users * n / blocks)
    additions = min(requests, users) * n * mean
    return Work(
        pairs=additions,
        unit="neighbours' items",
        flops=additions,
        steps=(
            Step("rows", 2 * requests + activity.n_events + users * n + met * blocks, place.n_slots),
            Step("moved", mean * met * blocks, min(blocks, place.n_slots)),
            Step("additions", additions, min(blocks, place.n_slots)),
        ),
        shuffle_bytes=4 * mean * met * blocks + 12 * users * n + 4 * activity.users.pairs + 40 * requests,
        task_bytes=2 * 4 * mean * met + 12 * _BATCH * n + 24 * activity.n_places + _lists(knobs),
        driver_bytes=1 << 20,
    )


def popular_candidates_work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """Proposals of what is popular: the first of one order that a request has not seen."""
    requests, items = activity.n_requests, activity.items.rows
    return Work(
        pairs=requests * knobs["n_candidates"],
        unit="proposals",
        flops=0.0,
        steps=(Step("rows", 2 * requests, place.n_slots), Step("moved", activity.users.pairs, place.n_slots)),
        shuffle_bytes=requests * 40 + 4 * activity.users.pairs,
        task_bytes=24 * items + _lists(knobs),
        driver_bytes=DRIVER_COPIES * 40 * items,
    )
