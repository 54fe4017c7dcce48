"""Forecasts against the counted truth, on worlds of other seeds and shapes than the rates are measured on: within a factor of 2."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recspark.kernels.adding import DOT
from recspark.kernels.cooccurrence import Block, _opened, by_popularity, fold, no_sums, top_neighbours
from recspark.kernels.lists import Neighbours, merge, open_lists
from recspark.kernels.packing import Histories, as_histories, rows_of_block
from recspark.kernels.similarity import Measure, measure_of
from recspark.preflight import similarity
from recspark.preflight.models import MODELS
from recspark.preflight.similarity import ease_work, item_knn_work, user_knn_work
from recspark.preflight.work import Place, Work
from recspark.runtime.job import find_jobs
from tests.preflight.counted import WORLDS, activity, capped, pairs_of, size_of, within
from tests.worlds import with_user_of_everything, zipf

KNN = {"max_items_per_user": 500, "n_neighbours": 20, "min_support": 1, "n_blocks": 4}


def _groups(rows: Histories, at_once: int) -> list[Histories]:
    """Whole histories together until they have `at_once` entries or more."""
    cuts = [0]
    while cuts[-1] < len(rows.users):
        cuts.append(min(len(rows.users), int(np.searchsorted(rows.offsets, rows.offsets[cuts[-1]] + at_once))))
    return [
        Histories(
            rows.users[a:b], rows.offsets[a : b + 1] - rows.offsets[a], *(part[rows.offsets[a] : rows.offsets[b]] for part in rows[2:])
        )
        for a, b in itertools.pairwise(cuts)
    ] or [rows]


def _block_of_items(block: Block, rows: Histories, measure: Measure, at_once: int) -> tuple[int, float, Neighbours]:
    """The most that lives together of a block's arrays; the entries that it added up; its lists."""
    held, added, carried = 0, 0.0, no_sums(block)
    groups = _groups(rows, at_once)
    items = len(block.catalogue.item_of)
    # The totals, the catalogue, the measure's columns by item and by rank, and which sums were touched.
    of_items = 24 * items + size_of(block.catalogue) + 2 * 24 * items + 12 * items
    for place, group in enumerate(groups):
        opened, sums = _opened(block, group)
        row_offsets, _, _, holders, where, places = opened
        own = np.concatenate([np.arange(holders[rank], holders[rank + 1]) for rank in block.own])
        added += float((places[own].astype(np.int64) - row_offsets[where[own]].astype(np.int64)).sum())
        now = of_items + size_of(group) + size_of(opened) + sums.nbytes
        if place < len(groups) - 1:
            before, carried = carried, fold(block, carried, group)
            held = max(held, now + size_of(before) + 2 * size_of(carried))
            continue
        found = top_neighbours(block, carried, group, measure, n=20, min_support=1)
        room = open_lists(items if block.triangle else len(block.own), 20)
        held = max(held, now + size_of(carried) + size_of(room) + size_of(found))
    return held, added, found


def _merging(parts: list[Neighbours], part: int, n_blocks: int) -> float:
    """What one task holds to merge the lists of its items, as numpy counts it, the batches that came included."""
    own = [Neighbours(*(column[found.items % n_blocks == part] for column in found)) for found in parts]
    merge(own[0], 20)  # compiled before memory is counted
    tracemalloc.start()
    merge(Neighbours(*(np.concatenate(column) for column in zip(*own, strict=True))), 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return sum(map(size_of, own)) + peak


def _assert_neighbours(work: Work, pairs: np.ndarray, events: np.ndarray, cap: int, n_blocks: int, at_once: int = 1 << 26) -> None:
    """`pairs`: (history, entry); `events`: the history of each event. Pairs of entries that meet in a capped history; what goes to each
    block of entries; what the kernels open there."""
    kept = capped(pairs, cap)
    # Histories come to a block in no order of their lengths.
    kept[:, 0] = np.random.default_rng(9).permutation(kept[:, 0].max() + 1)[kept[:, 0]]
    lengths = np.bincount(kept[:, 0]).astype(float)
    assert within(1.1, work.pairs, (lengths**2).sum() / 2)

    histories = as_histories(kept[:, 0], kept[:, 1].astype(np.int32), np.ones(len(kept)) / 2, limit=cap, seed=1)
    counts = np.bincount(kept[:, 1])
    measure = measure_of("cosine", counts, counts / 4, len(histories.users), shrinkage=0.0)
    # Of the histories of each block: 28 bytes an entry that they have, to every block of entries.
    totals = 28 * sum(len(np.unique(kept[kept[:, 0] % n_blocks == part, 1])) for part in range(n_blocks))
    sent, held, added, lists = 20.0 * len(events), [], 0.0, []
    for number in range(n_blocks):
        rows = rows_of_block(histories, number, n_blocks)
        block = Block(number, n_blocks, by_popularity(counts), True, DOT, 1)
        most, n_added, found = _block_of_items(block, rows, measure, at_once)
        sent += 8 * len(rows.items) + 12 * len(rows.users) + 16 * len(found.items) + totals
        held.append(most + totals)
        lists.append(found)
        added += n_added
    additions = next(step.amount for step in work.steps if step.rate == "additions")
    assert within(2, additions, added + len(kept) / 2)  # a pair of an entry with itself is none
    assert within(2, work.shuffle_bytes, sent)
    # Before, a block of histories is sorted, in 60 bytes an event (candidates.cooccurring); afterwards, lists are merged.
    sorting = 60 * np.bincount(events % n_blocks).max()
    merging = max(_merging(lists, part, n_blocks) for part in range(n_blocks))
    assert within(2, work.task_bytes, max(*held, sorting, merging))


def test_a_machine_that_repeats_itself_is_sorted_with_all_its_events():
    """100,000 events of one user and 400 items: 60 bytes each, whatever the history is capped at."""
    world = with_user_of_everything(zipf(300, 400, 3_000, seed=505), 100_000)
    work = item_knn_work(activity(world), {**KNN, "max_items_per_user": 10, "n_blocks": 64}, Place(2))
    assert within(1.1, work.task_bytes, 60 * np.bincount(world.users % 64).max())


@pytest.mark.parametrize("at_once", [1 << 26, 500])
@pytest.mark.parametrize("n_blocks", [1, 4])
@pytest.mark.parametrize("cap", [10, 500])
@pytest.mark.parametrize("name", WORLDS)
def test_item_neighbours(name: str, cap: int, n_blocks: int, at_once: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(similarity, "ENTRIES_AT_ONCE", at_once)
    world, knobs = WORLDS[name], {**KNN, "max_items_per_user": cap, "n_blocks": n_blocks}
    _assert_neighbours(item_knn_work(activity(world), knobs, Place(2)), pairs_of(world), world.users, cap, n_blocks, at_once)


@pytest.mark.parametrize("name", WORLDS)
def test_ease(name: str):
    world, pairs = WORLDS[name], pairs_of(WORLDS[name])
    n_items = len(np.unique(pairs[:, 1]))
    matrix = csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])))
    counts = (matrix.T @ matrix).tocoo()
    knobs = {"n_neighbours": None, "n_blocks": 4, "max_items": n_items, "single_precision": False}
    work = ease_work(activity(world), knobs, Place(2))
    assert (work.pairs, work.refused) == ((np.bincount(pairs[:, 0]).astype(float) ** 2).sum() / 2, "")
    assert work.task_bytes == 8 * n_items**2
    met = activity(world).met(activity(world).users)
    assert within(1.5, met @ activity(world).items.n_rows, np.count_nonzero(counts.row != counts.col))
    moved = next(step.amount for step in work.steps if step.rate == "moved")
    copied = sum(np.isin(pairs[:, 0], pairs[pairs[:, 1] % 4 == block, 0]).sum() for block in range(4))
    assert within(1.5, moved, copied + 2 * np.count_nonzero(counts.row <= counts.col))
    single = ease_work(activity(world), {**knobs, "single_precision": True, "max_items": n_items - 1}, Place(2))
    assert single.task_bytes == 4 * n_items**2
    assert single.refused.startswith(f"has {n_items:,} items, and neighbours_ease.max_items is {n_items - 1:,}: raise it where")


USER_KNN = {"n_neighbours": 20, "min_support": 1, "max_exact_users": 10**9, "n_clusters": 8, "n_probes": 2, "n_rounds": 1, "n_measured": 5}


@pytest.mark.parametrize("n_blocks", [1, 4])
@pytest.mark.parametrize("cap", [10, None])
@pytest.mark.parametrize("name", WORLDS)
def test_user_neighbours(name: str, cap: int | None, n_blocks: int):
    """Histories are the items' users."""
    world = WORLDS[name]
    work = user_knn_work(activity(world), {**USER_KNN, "max_users_per_item": cap, "n_blocks": n_blocks}, Place(2))
    assert work.unit == "pairs of users"
    _assert_neighbours(work, pairs_of(world)[:, ::-1], world.items, cap or 10**9, n_blocks)


def test_user_neighbours_in_clusters_by_hand():
    world, pairs = WORLDS["usual"], pairs_of(WORLDS["usual"])
    users = len(np.unique(pairs[:, 0]))
    knobs = {**USER_KNN, "max_users_per_item": None, "n_blocks": 2, "max_exact_users": users - 1}
    work = user_knn_work(activity(world), knobs, Place(2))
    square = (np.bincount(pairs[:, 1]).astype(float) ** 2).sum()
    assert work.pairs == square / 2
    # 2 of 8 clusters; two assignments to 8 centroids; 5 measured.
    additions = next(step.amount for step in work.steps if step.rate == "additions")
    assert additions == pytest.approx(square / 4 + 2 * len(pairs) * 8 / 8 + 2 * 5 * len(pairs) / users)
    # Fewer probes are cheaper, and capped items.
    less = [user_knn_work(activity(world), {**knobs, **lever}, Place(2)) for lever in ({"n_probes": 1}, {"max_users_per_item": 10})]
    assert all(one.flops < work.flops and one.shuffle_bytes < work.shuffle_bytes for one in less)


def test_long_lists_of_few_entries_take_their_room():
    """2,000 items with room for 300 of 24 bytes each, of which hardly any is filled: 14.4 MB."""
    work = item_knn_work(activity(WORLDS["long tail"]), {**KNN, "n_neighbours": 300}, Place(2))
    assert within(1.2, work.task_bytes, size_of(open_lists(activity(WORLDS["long tail"]).n_places, 300)))


def test_every_model_is_of_a_job_and_of_its_knobs():
    jobs = find_jobs()
    for name, model in MODELS.items():
        told = {path.split(".")[0]: path.split(".")[1] for path in model.told.values()}
        own = set(jobs[name].section.model_fields)
        assert all(knob in jobs[section].section.model_fields for section, knob in told.items())
        assert {*model.levers, *model.instead} <= own | set(model.told)
        assert model.blocks is None or model.blocks in own
    # Of the torch room's no time is forecast.
    expensive = {n for n, job in jobs.items() if n.startswith(("vectors_", "neighbours_", "source_candidates_")) and job.runner == "spark"}
    assert set(MODELS) == expensive


def test_no_cap_is_a_cap_that_no_history_reaches() -> None:
    counted = activity(WORLDS[next(iter(WORLDS))])
    uncapped, capped = (item_knn_work(counted, {**KNN, "max_items_per_user": cap}, Place(2)) for cap in (None, 1_000_000))
    assert uncapped == capped
