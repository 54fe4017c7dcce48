from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyspark.sql import functions as F

from recspark.candidates import cosine
from recspark.candidates.cosine import build_item_cosine, score_item_cosine_candidates
from recspark.candidates.spreading import spread
from recspark.tables import HISTORIES, NEIGHBOURS, REQUESTS, SOURCE_CANDIDATES
from recspark.tables.contract import Table, conform

Row = tuple[int, int, float, int, int]
COLUMNS = ("idx", "neighbour_idx", "score", "support", "position")


def _fits(frame: Any, table: Table, source: str) -> None:
    conform(frame.withColumns({"horizon": F.lit("h"), "source": F.lit(source)}), table, "the function")


def _rows(frame: Any) -> list[Row]:
    return sorted((tuple(row) for row in frame.select(*COLUMNS).collect()), key=lambda row: (row[0], row[4]))


def _reference(weights: dict[tuple[int, int], float], n: int, min_support: int, shrinkage: float) -> list[Row]:
    """Dense cosine of (user, item) -> weight."""
    items = sorted({item for _, item in weights})
    users = sorted({user for user, _ in weights})
    dense = np.zeros((len(users), len(items)))
    for (user, item), weight in weights.items():
        dense[users.index(user), items.index(item)] = weight
    norms = np.linalg.norm(dense, axis=0)
    used = (dense > 0).astype(int)
    cosines, supports = dense.T @ dense / np.outer(norms, norms), used.T @ used
    scores = (cosines * supports / np.maximum(supports + shrinkage, 1)).astype(np.float32)
    found: list[Row] = []
    for i, item in enumerate(items):
        near = [j for j in range(len(items)) if j != i and supports[i, j] >= max(1, min_support)]
        others = [(-scores[i, j], items[j], int(supports[i, j])) for j in near]
        found += [(item, other, float(-score), support, place) for place, (score, other, support) in enumerate(sorted(others)[:n])]
    return found


def _assert_equal(found: list[Row], expected: list[Row]) -> None:
    """Lists equal but for rounding: scores to 1e-6, and items of one score (to 1e-6) may stand in either order."""
    assert [(row[0], row[4]) for row in found] == [(row[0], row[4]) for row in expected]
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in expected], atol=1e-6)
    supports = {row[:2]: row[3] for row in expected}
    assert all(row[3] == supports.get(row[:2], row[3]) for row in found)
    assert sum(a[:2] != b[:2] for a, b in zip(found, expected, strict=True)) <= 0.02 * len(expected)


def _worlds(n: int) -> dict[tuple[int, int], float]:
    """Many small worlds side by side: user and item indexes of world w begin at 1000 w, so none touches another."""
    pairs: dict[tuple[int, int], float] = {}
    for world in range(n):
        rng = np.random.default_rng(world)
        n_users, n_items = rng.integers(1, 12, 2)
        used = rng.random((n_users, n_items)) < rng.random()
        used[:, 0] |= world % 3 == 0  # an item that everyone has
        used[0] |= world % 4 == 0  # a user with everything
        for user, item in np.argwhere(used):
            pairs[1000 * world + int(user), 1000 * world + int(item)] = float(rng.integers(1, 4))
    return pairs


def test_two_users_by_hand(events) -> None:  # type: ignore[no-untyped-def]
    # Columns (1, 2) and (1, 1): 3 / (sqrt(5) sqrt(2)), times 2 / (2 + 10). Item 2 has one user: too little support.
    frame = build_item_cosine(events([(0, 0), (1, 0), (1, 0), (0, 1), (1, 1), (1, 2)]), weights={"use": 1.0})
    _fits(frame, NEIGHBOURS, "item_cosine")
    score = pytest.approx(3 / 10**0.5 * 2 / 12)
    assert _rows(frame) == [(0, 1, score, 2, 0), (1, 0, score, 2, 0)]


def test_worlds_equal_the_dense_reference_however_they_are_partitioned(events) -> None:  # type: ignore[no-untyped-def]
    pairs = _worlds(24)
    frame = events([(user, item, "use", weight) for (user, item), weight in pairs.items()])
    first = None
    for partitions, n_blocks in ((1, 3), (2, 1), (7, 5)):
        shuffled = frame.orderBy(F.xxhash64("event_key", F.lit(partitions))).repartition(partitions)
        knobs: dict[str, Any] = {"n_neighbours": 4, "min_support": 2, "shrinkage": 3.0, "n_blocks": n_blocks}
        found = _rows(build_item_cosine(shuffled, weights={"use": 1.0}, value_as="linear", **knobs))
        first = first or found
        assert found == first
    assert first is not None
    _assert_equal(first, _reference(pairs, 4, 2, 3.0))


def test_histories_in_chunks_change_nothing(events, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    pairs = _worlds(6)
    frame = events([(user, item, "use", weight / 3) for (user, item), weight in pairs.items()])
    once = _rows(build_item_cosine(frame, weights={"use": 1.0}, min_support=1))
    monkeypatch.setattr(cosine, "_ENTRIES_AT_ONCE", 5)
    # One row a batch, so that the limit is met between batches.
    frame.sparkSession.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "1")
    try:
        assert _rows(build_item_cosine(frame, weights={"use": 1.0}, min_support=1)) == once
    finally:
        frame.sparkSession.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")


def test_a_long_history_is_sampled_by_hash_and_norms_and_support_follow(spark, events) -> None:  # type: ignore[no-untyped-def]
    pairs = {(user, item): 1.0 for user in range(5) for item in range(9)}
    frame = events([(user, item) for user, item in pairs])
    hashes = frame.select("user_idx", "item_idx", F.xxhash64("user_idx", "item_idx", F.lit(7)).alias("hash")).collect()
    kept: dict[tuple[int, int], float] = {}
    for user in range(5):
        drawn = sorted((row.hash, row.item_idx) for row in hashes if row.user_idx == user)[:3]
        kept |= {(user, item): 1.0 for _, item in drawn}
    found = _rows(build_item_cosine(frame, weights={"use": 1.0}, min_support=1, shrinkage=0.0, max_items_per_user=3, seed=7))
    _assert_equal(found, _reference(kept, 100, 1, 0.0))


def test_decay_and_empty_interactions(events) -> None:  # type: ignore[no-untyped-def]
    # Weights 1 and .5 (ten days earlier) in both columns: still one direction.
    rows = [(0, 0, "use", None, 10), (0, 1, "use", None, 10), (1, 0, "use", None, 0), (1, 1, "use", None, 10)]
    found = _rows(build_item_cosine(events(rows), weights={"use": 1.0}, half_life_days=10.0, shrinkage=0.0))
    # Columns (1, .5) and (1, 1).
    assert found[0][2] == pytest.approx(1.5 / (1.25**0.5 * 2**0.5))
    assert _rows(build_item_cosine(events([]), weights={"use": 1.0})) == []


@pytest.mark.parametrize("half_life_days", [3.0, 0.05])
def test_partitions_change_no_bit_of_decayed_sums(events, half_life_days) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(11)
    # Several events a pair, of weights that no sum of doubles adds up alike in two orders; over 40 days, down to 0.5^800.
    rows = [
        (int(user), int(item), "use", float(value), float(day))
        for user, item, value, day in zip(
            rng.integers(0, 30, 900), rng.integers(0, 12, 900), rng.random(900) * 9, rng.random(900) * 40, strict=True
        )
    ]
    frame = events(rows)
    found = []
    for partitions, n_blocks in ((1, 1), (2, 3), (7, 4)):
        shuffled = frame.orderBy(F.xxhash64("event_key", F.lit(partitions))).repartition(partitions)
        knobs: dict[str, Any] = {"min_support": 1, "n_blocks": n_blocks, "half_life_days": half_life_days}
        found.append(_rows(build_item_cosine(shuffled, weights={"use": 0.7}, **knobs)))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 12 * 11
    assert all(0 < row[2] <= 1 for row in found[0]) or half_life_days < 1


def test_each_block_has_its_partition(spark) -> None:  # type: ignore[no-untyped-def]
    rows = spark.range(22).select((F.col("id") % 11).cast("int").alias("block"))
    placed = spread(rows, "block", 11).select("block", F.spark_partition_id().alias("partition")).distinct().collect()
    assert {row.block: row.partition for row in placed} == {block: block for block in range(11)}


def test_candidates_are_sums_over_the_latest_history(table, seen, features, arrays) -> None:  # type: ignore[no-untyped-def]
    requests = table(REQUESTS, [{"request_idx": r, "user_idx": r, "k": 1} for r in range(6)])
    lists = {0: [0, 1], 1: [1, 0], 2: [], 3: [5], 4: [0, 1], 5: [0, 1]}
    histories = table(
        HISTORIES, [{"request_idx": r, "items": [*items, *[-1] * (3 - len(items))], "length": len(items)} for r, items in lists.items()]
    )
    # 0 -> 2 (.5), 3 (.25), 1 (.125); 1 -> 3 (.5), 4 (.5).
    neighbours = arrays(
        idx=np.array([0, 0, 0, 1, 1]), neighbour_idx=np.array([2, 3, 1, 3, 4]), score=np.array([0.5, 0.25, 0.125, 0.5, 0.5], np.float32)
    )
    masked = seen({0: [0, 1], 4: [1, 2, 3]}, {5: [0, 1, 2, 4]})
    frame = score_item_cosine_candidates(histories, requests, masked, neighbours, features(6, {4}), n_candidates=2)
    _fits(frame, SOURCE_CANDIDATES, "item_cosine")
    # Requests 2 (no history) and 3 (no neighbours) have no row; for 4 all is seen or not available; 5 may not get 3.
    found = {row.request_idx: (row["items"], row.scores) for row in frame.collect()}
    assert found == {0: ([3, 2], [0.75, 0.5]), 1: ([3, 2], [0.75, 0.5]), 5: ([2, 1], [0.5, 0.125])}
    short = score_item_cosine_candidates(histories, requests, masked, neighbours, features(6), n_candidates=9, max_history=1)
    assert {row.request_idx: row["items"] for row in short.collect()} == {0: [3, 4], 1: [2, 3, 1], 4: [4], 5: [4]}
