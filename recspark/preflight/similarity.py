"""The work of neighbours: of items, of items by one dense inverse, and of users."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from recspark.kernels.cooccurrence import ENTRIES_AT_ONCE, PLACES
from recspark.preflight.activity import Activity, Degrees
from recspark.preflight.work import DRIVER_COPIES, SHUFFLED_ROW, Place, Step, Work, size

_SMALL = 1 << 20
# Spark hands a task so much at once at most (spark.sql.execution.arrow.maxBytesPerBatch).
_MOST_OF_BATCH = 1 << 31


def item_knn_work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """Neighbours by `candidates.cooccurring`. With d_u the capped histories' lengths, E events, N places of items, K neighbours, B
    blocks, C the entries of all histories in each block that they touch (`Degrees.copied`):

    pairs       sum d_u^2 / 2; additions: as many, or where N K > 2^25, whose lists a block cannot hold, twice as many
    shuffled    20 E + 8 C and 12 a copied history + 28 B^2 a block's items (totals) + 16 L, the entries of the blocks' lists
    task        the most of: 60 bytes an event of a block of users, repeats and all;
                a block of items: 44 C / B + 150 N and the totals of its first batch, with 60 a pair carried on or 20 and the lists
                of 24 H K + 16 L / B, H = N (or N / B) (`kernels.cooccurrence`);
                to merge its lists: 64 L / B + 40 K N / B (`kernels.lists.merge`, and the batches that came)
    """
    histories = activity.users.capped(knobs["max_items_per_user"])
    blocks, items, places, n = knobs["n_blocks"], activity.items.rows, activity.n_places, knobs["n_neighbours"]
    slots = min(place.n_slots, blocks)
    is_half = places * n <= PLACES
    additions = histories.square / (2 if is_half else 1)
    copied = histories.copied(blocks, items)
    entries = copied / blocks + histories.most
    lists = places if is_half else places / blocks
    met = activity.met(histories)
    distinct = float(met @ activity.items.n_rows) / (2 if is_half else 1)
    carried = 0.0 if entries <= ENTRIES_AT_ONCE else distinct / blocks
    totals = blocks**2 * min(items, histories.pairs / blocks)
    # They are added up as they come, and lie in the first batch until its histories are.
    first_batch = min(28 * totals / blocks, _MOST_OF_BATCH)
    # A block lists what it has met, at most n an item; each pair is met in one block, or each side in its own.
    listed = float(np.minimum(met, n * blocks if is_half else n) @ activity.items.n_rows)
    return Work(
        pairs=histories.square / 2,
        unit="pairs of items",
        flops=2 * additions,
        steps=(
            Step("rows", activity.n_events + items * n, place.n_slots),
            Step("moved", copied + listed, slots),
            Step("additions", additions, slots),
        ),
        shuffle_bytes=20 * activity.n_events + 8 * copied + 12 * _copies(histories, copied) + 28 * totals + 16 * listed,
        task_bytes=max(
            60 * (activity.n_events / blocks + histories.busiest),
            44 * min(entries, ENTRIES_AT_ONCE)
            + 150 * places
            + first_batch
            + max(24 * lists * n + 16 * listed / blocks + 20 * carried, 60 * carried),
            64 * listed / blocks + 40 * n * items / blocks,
        ),
        driver_bytes=_SMALL,
        published_rows=float(np.minimum(activity.met(histories, knobs["min_support"]), n) @ activity.items.n_rows),
    )


def _copies(histories: Degrees, copied: float) -> float:
    """Of whole histories, about."""
    return copied / max(histories.pairs, 1) * histories.rows


def ease_work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """`fit_ease`. With d_u the histories' lengths, H pairs, N items, B blocks, C as in `item_knn_work`:

    pairs       sum d_u^2 / 2, added up; then N^3 multiplications in one task
    shuffled    the events; 4 C; 8 a count that is not 0, at most N^2 / 2
    task        4 N^2 / B in a block of counts; 8 N^2 (4 in single precision) in the one that solves
    """
    histories, items, blocks = activity.users, activity.items.rows, knobs["n_blocks"]
    slots = min(place.n_slots, blocks)
    copied = histories.copied(blocks, items)
    counts = float(activity.met(histories) @ activity.items.n_rows) / 2 + items
    listed = items * min(knobs["n_neighbours"] or items, items)
    width = 4 if knobs["single_precision"] else 8
    refused = (
        f"has {items:,.0f} items, and neighbours_ease.max_items is {knobs['max_items']:,}: raise it where a task has {size(width * items**2)}, "
        "or leave `ease` out of `sources`"
        if items > knobs["max_items"]
        else ""
    )
    return Work(
        pairs=histories.square / 2,
        unit="pairs of items",
        flops=histories.square / 2 + items**3,
        steps=(
            Step("rows", activity.n_events + 2 * histories.pairs + listed, place.n_slots),
            Step("moved", copied + 2 * counts, slots),
            Step("additions", histories.square / 2, slots),
            Step("inverse", items**3 * width / 8, place.n_threads),
        ),
        shuffle_bytes=SHUFFLED_ROW * (activity.n_events + histories.pairs) + 4 * copied + 8 * counts,
        task_bytes=max(width * items**2, 4 * items**2 / blocks),
        driver_bytes=DRIVER_COPIES * 4 * items,
        published_rows=listed,
        refused=refused,
    )


def user_knn_work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """`fit_user_knn`: up to max_exact_users `item_knn_work`, where the histories are the items' users and the places the users.

    Above, with d_i the items' capped users, E events, H capped pairs, U users, K neighbours:

    additions   the share n_probes / n_clusters of sum d_i^2, and H n_clusters / 8 a round of clustering
    shuffled    20 E, the pairs, and 12 H (1 + n_probes + rounds)
    task        60 bytes an event of a block of items; or of a cluster's visitors 24 bytes a pair (vectors, and by item) and 12 K a user
    """
    capped = knobs["max_users_per_item"]
    users, n, blocks = activity.users.rows, knobs["n_neighbours"], knobs["n_blocks"]
    if users <= knobs["max_exact_users"]:
        turned = replace(activity, users=activity.items, items=activity.users, n_places=int(users))
        return replace(item_knn_work(turned, {**knobs, "max_items_per_user": capped}, place), unit="pairs of users", published_rows=0.0)
    histories, slots = activity.items.capped(capped), min(place.n_slots, blocks)
    pairs, clusters = histories.pairs, knobs["n_clusters"] or math.isqrt(int(users))
    probes, rounds = min(knobs["n_probes"], clusters), knobs["n_rounds"] + 1
    additions = histories.square * probes / clusters + rounds * pairs * clusters / 8 + 2 * knobs["n_measured"] * pairs / max(users, 1)
    copies, share = 1.0 + probes + rounds, probes / clusters
    return Work(
        pairs=histories.square / 2,
        unit="pairs of users",
        flops=2 * additions,
        steps=(
            Step("rows", activity.n_events + 3 * pairs + users * n, place.n_slots),
            Step("moved", copies * pairs, slots),
            Step("additions", additions, slots),
        ),
        shuffle_bytes=20 * activity.n_events + SHUFFLED_ROW * pairs + 12 * pairs * copies,
        task_bytes=max(
            60 * (activity.n_events / blocks + activity.items.most),
            24 * (pairs * share + activity.users.most) + 12 * n * users * share + 16 * activity.n_places,
        ),
        driver_bytes=_SMALL,
    )
