"""The work of proposing items to every request, source by source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recspark.preflight.activity import Activity
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
    requests, items, rank = activity.n_requests, activity.items.rows, knobs["rank"]
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


def list_candidates_work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """Proposals from item neighbours: each item of a history adds its list up; the lists pass through the driver once."""
    most = min(knobs.get("max_history", float("inf")), knobs.get("max_length", float("inf")))
    histories = activity.users.capped(most)
    requests, items = activity.n_requests, activity.items.rows
    mean = histories.pairs / max(histories.rows, 1)
    n_neighbours = min(knobs["n_neighbours"] or items, items)
    additions, lists = requests * mean * n_neighbours, items * n_neighbours * _NEIGHBOUR
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
        task_bytes=lists + 24 * activity.n_places + 4 * _BATCH * mean + _lists(knobs),
        driver_bytes=DRIVER_COPIES * lists,
    )


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
