from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from pyspark.sql import functions as F

from recspark.candidates import cooccurring, item_knn
from recspark.candidates.spreading import spread
from recspark.errors import ConfigError
from recspark.kernels.packing import lot
from recspark.tables import NEIGHBOURS
from recspark.tables.contract import conform
from tests import dense

build_item_knn = partial(item_knn.build_item_knn, n_slots=4)

COLUMNS = ("idx", "neighbour_idx", "score", "support", "position")
USE = {"use": 1.0}


def rows(frame: Any) -> list[dense.Row]:
    return sorted((tuple(row) for row in frame.select(*COLUMNS).collect()), key=lambda row: (row[0], row[4]))


def used(values: np.ndarray) -> list[tuple[Any, ...]]:
    return [(int(user), int(item), "use", float(values[user, item])) for user, item in np.argwhere(values)]


def test_two_users_by_hand(events) -> None:  # type: ignore[no-untyped-def]
    # Columns (1, 2) and (1, 1): 3 / (sqrt(5) sqrt(2)), times 2 / (2 + 10). Item 2 has one user: too little support.
    frame = build_item_knn(events([(0, 0), (1, 0), (1, 0), (0, 1), (1, 1), (1, 2)]), weights=USE)
    conform(frame.withColumns({"horizon": F.lit("h"), "source": F.lit("item_knn")}), NEIGHBOURS, "the function")
    score = pytest.approx(3 / 10**0.5 * 2 / 12)
    assert rows(frame) == [(0, 1, score, 2, 0), (1, 0, score, 2, 0)]


def test_asymmetry_by_hand(events) -> None:  # type: ignore[no-untyped-def]
    # The same columns, squares 5 and 2: all of the norm is the own item's.
    found = build_item_knn(events([(0, 0), (1, 0), (1, 0), (0, 1), (1, 1)]), weights=USE, asymmetry=1.0, shrinkage=0.0)
    assert [row[:3] for row in rows(found)] == [(0, 1, pytest.approx(3 / 5)), (1, 0, pytest.approx(3 / 2))]


@pytest.mark.parametrize(
    ("similarity", "weighting", "form"),
    [
        *((one, "none", "support") for one in ("cosine", "jaccard", "pearson", "lift", "llr", "conditional")),
        ("cosine", "tf_idf", "support"),
        ("cosine", "bm25", "norm"),
    ],
)
def test_each_measure_equals_the_dense_reference(events, similarity, weighting, form) -> None:  # type: ignore[no-untyped-def]
    x = dense.world(3)
    knobs: dict[str, Any] = {"value_as": "linear", "n_neighbours": 4, "shrinkage": 3.0, "n_blocks": 3}
    found = rows(build_item_knn(events(used(x)), weights=USE, similarity=similarity, weighting=weighting, shrinkage_form=form, **knobs))
    held = (x > 0).astype(int)
    score = dense.scores(x, similarity, weighting, norm=3.0 if form == "norm" else None)
    assert len(found) > 100
    dense.assert_close(found, dense.top(score, held.T @ held, 4, 2, 0.0 if form == "norm" else 3.0))


@pytest.mark.parametrize("half_life_days", [3.0, 0.05])
def test_partitions_and_blocks_change_no_bit_of_decayed_sums(events, half_life_days) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(11)
    # Several events a pair, of weights that no sum of doubles adds up alike in two orders; over 40 days, down to 0.5^800.
    columns = (rng.integers(0, 30, 900), rng.integers(0, 12, 900), rng.random(900) * 9, rng.random(900) * 40)
    frame = events([(int(user), int(item), "use", float(value), float(day)) for user, item, value, day in zip(*columns, strict=True)])
    found = []
    for partitions, n_blocks in ((1, 1), (2, 3), (7, 4)):
        shuffled = frame.orderBy(F.xxhash64("event_key", F.lit(partitions))).repartition(partitions)
        knobs: dict[str, Any] = {"min_support": 1, "n_blocks": n_blocks, "half_life_days": half_life_days}
        found.append(rows(build_item_knn(shuffled, weights={"use": 0.7}, **knobs)))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 12 * 11
    assert all(0 < row[2] <= 1 for row in found[0])


def test_small_batches_change_nothing(events, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    x = dense.world(5, n=9)
    frame = events(used(x))
    once = rows(build_item_knn(frame, weights=USE, value_as="linear", min_support=1, n_blocks=2))
    monkeypatch.setattr(cooccurring, "_GATHERED", 5)
    frame.sparkSession.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "7")
    try:
        assert rows(build_item_knn(frame, weights=USE, value_as="linear", min_support=1, n_blocks=2)) == once
    finally:
        frame.sparkSession.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")


def test_a_long_history_is_sampled_by_lot_and_norms_and_support_follow(events) -> None:  # type: ignore[no-untyped-def]
    kept = np.zeros((5, 9))
    for user in range(5):
        kept[user, sorted(range(9), key=lambda item: lot(user, item, 7))[:3]] = 1
    knobs: dict[str, Any] = {"min_support": 1, "shrinkage": 0.0, "max_items_per_user": 3, "seed": 7}
    found = rows(build_item_knn(events(used(np.ones((5, 9)))), weights=USE, **knobs))
    dense.assert_close(found, dense.top(dense.scores(kept, "cosine"), (kept.T @ kept).astype(int), 100))


def test_decay_and_empty_interactions(events) -> None:  # type: ignore[no-untyped-def]
    # Columns (1, .5) and (1, 1): ten days earlier, half the weight.
    rows_of_days = [(0, 0, "use", None, 10), (0, 1, "use", None, 10), (1, 0, "use", None, 0), (1, 1, "use", None, 10)]
    found = rows(build_item_knn(events(rows_of_days), weights=USE, half_life_days=10.0, shrinkage=0.0))
    assert found[0][2] == pytest.approx(1.5 / (1.25**0.5 * 2**0.5))
    for similarity, weighting in (("cosine", "bm25"), ("pearson", "none"), ("llr", "none")):
        assert rows(build_item_knn(events([]), weights=USE, similarity=similarity, weighting=weighting)) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"similarity": "llr", "weighting": "bm25"}, "^neighbours_item_knn.weighting: bm25 has no meaning where .* is llr; only cosine"),
        ({"similarity": "jaccard", "shrinkage_form": "norm"}, "^neighbours_item_knn.shrinkage_form: norm has no meaning"),
        ({"similarity": "pearson", "half_life_days": 3.0}, "^neighbours_item_knn.half_life_days: 3 has no meaning where .* is pearson"),
    ],
)
def test_knobs_that_the_measure_does_not_have(events, knobs, said) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=said):
        build_item_knn(events([]), weights=USE, **knobs)


def test_each_block_has_its_partition(spark) -> None:  # type: ignore[no-untyped-def]
    blocks = spark.range(22).select((F.col("id") % 11).cast("int").alias("block"))
    placed = spread(blocks, "block", 11).select("block", F.spark_partition_id().alias("partition")).distinct().collect()
    assert {row.block: row.partition for row in placed} == {block: block for block in range(11)}
