"""The work of neighbours, and of proposing what lies near to a history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recspark.preflight.activity import Activity
from recspark.preflight.factors import SHUFFLED_ROW
from recspark.preflight.work import Place, Step, Work

# An entry of a list of neighbours as a row, and as arrays.
_NEIGHBOUR_ROW, _NEIGHBOUR = 28, 28
# What a history's entry takes where it is sent, and where a task holds it.
_SENT, _HELD = 12, 44
_ENTRIES_AT_ONCE = 1 << 25


def item_knn_work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """Item neighbours. With d_u the capped histories' lengths and B blocks:

    additions   sum d_u^2
    shuffled    the events and pairs; and each history to the blocks that it touches: 12 bytes an entry
    task        44 bytes an entry of a block (of at most 2^25 at once), 16 a pair that is carried on beyond that, 16 an item
    """
    histories = activity.users.capped(knobs["max_items_per_user"])
    blocks, items = knobs["n_blocks"], activity.items.rows
    n = min(place.n_slots, blocks)
    copied = histories.copied(blocks, items)
    entries = copied / blocks + histories.most
    carried = 0.0 if entries <= _ENTRIES_AT_ONCE else min(histories.square, items**2) / blocks
    listed = items * min(knobs["n_neighbours"], items)
    return Work(
        pairs=histories.square / 2,
        unit="pairs of items",
        flops=2 * histories.square,
        steps=(
            Step("rows", 2 * activity.n_events + 3 * activity.users.pairs + copied / 16 + listed, place.n_slots),
            Step("additions", histories.square, n),
        ),
        shuffle_bytes=SHUFFLED_ROW * (activity.n_events + 3 * activity.users.pairs) + _SENT * copied,
        task_bytes=_HELD * min(entries, _ENTRIES_AT_ONCE) + 16 * carried + 16 * activity.n_places + _NEIGHBOUR_ROW * listed / blocks,
        driver_bytes=1 << 20,
    )


def knn_candidates_work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """Proposals from neighbours: each of a history's items adds its list up; the lists pass through the driver once."""
    histories = activity.users.capped(min(knobs["max_history"], knobs["max_length"]))
    per_user = histories.pairs / max(histories.rows, 1)
    requests, n = activity.n_requests, place.n_slots
    n_neighbours = min(knobs["n_neighbours"], activity.items.rows)
    additions = requests * per_user * n_neighbours
    lists = activity.items.rows * n_neighbours * _NEIGHBOUR
    return Work(
        pairs=additions,
        unit="neighbours of history items",
        flops=additions,
        steps=(Step("rows", 2 * requests + (histories.pairs + activity.users.pairs) / 16, n), Step("additions", additions, n)),
        shuffle_bytes=requests * 60 + 4 * (histories.pairs + activity.users.pairs),
        task_bytes=lists + 24 * activity.n_places + 10_000 * (4 * per_user + 16 * knobs["n_candidates"]),
        driver_bytes=3 * lists,
    )


def popular_candidates_work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """Proposals of what is popular: the first of one order that a request has not seen."""
    requests, items = activity.n_requests, activity.items.rows
    return Work(
        pairs=requests * knobs["n_candidates"],
        unit="proposals",
        flops=0.0,
        steps=(Step("rows", 2 * requests + activity.users.pairs / 16, place.n_slots),),
        shuffle_bytes=requests * 40 + 4 * activity.users.pairs,
        task_bytes=24 * items + 10_000 * 16 * knobs["n_candidates"],
        driver_bytes=3 * 40 * items,
    )
