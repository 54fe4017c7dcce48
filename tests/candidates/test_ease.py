from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from pyspark.sql import functions as F

from recspark.candidates import ease
from recspark.candidates.ease import score_ease_candidates
from recspark.errors import ConfigError, LimitError
from recspark.kernels.ease import invert_upper
from recspark.tables import NEIGHBOURS, REQUESTS, SOURCE_CANDIDATES
from recspark.tables.contract import check_rows, conform

fit_ease = partial(ease.fit_ease, n_slots=4)

Row = tuple[int, int, float, int, int]
COLUMNS = ("idx", "neighbour_idx", "score", "support", "position")


def _rows(frame: Any) -> list[Row]:
    return sorted((tuple(row) for row in frame.select(*COLUMNS).collect()), key=lambda row: (row[0], row[4]))


def _reference(pairs: set[tuple[int, int]], reg: float, n: int | None) -> list[Row]:
    """Steck's eight lines, over the items that somebody has."""
    items, users = (sorted({pair[side] for pair in pairs}) for side in (1, 0))
    dense = np.zeros((len(users), len(items)))
    for user, item in pairs:
        dense[users.index(user), items.index(item)] = 1
    counts = dense.T @ dense
    inverse = np.linalg.inv(counts + reg * np.eye(len(items)))
    weights = (-inverse / np.diag(inverse)).astype(np.float32)
    np.fill_diagonal(weights, 0)
    found: list[Row] = []
    for i, item in enumerate(items):
        # i is among the n strongest of column j.
        strongest = [
            j for j in range(len(items)) if i in np.argsort(-np.abs(weights[:, j]), kind="stable")[:n] and abs(weights[i, j]) > 1e-9
        ]
        ordered = sorted((-weights[i, j], items[j], int(counts[i, j])) for j in strongest)
        found += [(item, other, float(-weight), shared, place) for place, (weight, other, shared) in enumerate(ordered)]
    return found


def _world(seed: int) -> set[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    used = rng.random((40, 23)) < rng.random(23) ** 2
    used[:, 4] = True  # an item that everyone has
    used[7] = True  # a user with everything
    return {(int(user), 3 * int(item)) for user, item in np.argwhere(used)}


def test_two_items_by_hand(events) -> None:  # type: ignore[no-untyped-def]
    # Counts (2 1; 1 1) + 1 on the diagonal: inverse (2 -1; -1 3) / 5. B(0, 1) = 1 / 3, B(1, 0) = 1 / 2. A repeat counts once.
    frame = fit_ease(events([(0, 0), (0, 0), (0, 1), (1, 0), (1, 9, "other")]), weights={"use": 2.0, "other": 0.0}, reg=1.0)
    full = conform(frame.withColumns({"horizon": F.lit("h"), "source": F.lit("ease")}), NEIGHBOURS, "the function")
    check_rows(full, NEIGHBOURS)
    assert _rows(frame) == [(0, 1, pytest.approx(1 / 3), 1, 0), (1, 0, pytest.approx(1 / 2), 1, 0)]


@pytest.mark.parametrize("n", [None, 6])
def test_weights_equal_the_dense_reference_however_they_are_partitioned(events, n) -> None:  # type: ignore[no-untyped-def]
    pairs = _world(3)
    frame = events(sorted(pairs))
    found = []
    for partitions, n_blocks in ((1, 1), (7, 5)):
        shuffled = frame.orderBy(F.xxhash64("event_key", F.lit(partitions))).repartition(partitions)
        found.append(_rows(fit_ease(shuffled, weights={"use": 1.0}, reg=2.5, n_neighbours=n, n_blocks=n_blocks)))
    assert found[0] == found[1]
    expected = _reference(pairs, 2.5, n)
    assert [(*row[:2], *row[3:]) for row in found[0]] == [(*row[:2], *row[3:]) for row in expected]
    np.testing.assert_allclose([row[2] for row in found[0]], [row[2] for row in expected], rtol=1e-6)
    assert min(row[2] for row in expected) < 0
    single = _rows(fit_ease(frame, weights={"use": 1.0}, reg=2.5, n_neighbours=None, single_precision=True))
    if n is None:
        np.testing.assert_allclose([row[2] for row in single], [row[2] for row in expected], rtol=1e-3, atol=1e-6)


def test_limits_and_nothing_learnt(events) -> None:  # type: ignore[no-untyped-def]
    # 3 items: 8 * 9 bytes, and the setting.
    with pytest.raises(LimitError, match=r"EASE of 3 items needs 0\.0 GB .*\(8 bytes x items\^2\).*max_items is 2: .*single_precision"):
        fit_ease(events([(0, 0), (0, 1), (0, 2)]), weights={"use": 1.0}, max_items=2)
    with pytest.raises(ConfigError, match="no event type"):
        fit_ease(events([]), weights={"use": 0.0})
    assert fit_ease(events([]), weights={"use": 1.0}).collect() == []
    with pytest.raises(ValueError, match=r"not positive definite in float32: raise reg"):
        invert_upper(np.full((3, 3), 1e9, np.float32), 1e-3)


def test_candidates_sum_over_the_whole_history_up_to_the_request(table, events, seen, features, arrays) -> None:  # type: ignore[no-untyped-def]
    from tests.candidates.conftest import DAY_0

    # User 0 has 60 items, all before day 5 but item 60; user 1 only an event of no weight; user 2 nothing; user 3 item 0 twice.
    rows = [(0, item, "use", None, 1) for item in range(60)] + [(0, 60, "use", None, 9), (1, 0, "other", None, 1)]
    learnt = events([*rows, (3, 0, "use", None, 1), (3, 0, "use", None, 2)])
    day_5 = DAY_0.replace(day=6)
    requests = table(REQUESTS, [{"request_idx": 10 + user, "user_idx": user, "as_of": day_5, "k": 1} for user in range(4)])
    # Item 70 is worth .5 to item 0 and -.25 to item 59; 71 is worth 8 to item 60 and .125 to item 0.
    weights = arrays(
        idx=np.array([0, 0, 59, 60]), neighbour_idx=np.array([70, 71, 70, 71]), score=np.array([0.5, 0.125, -0.25, 8], np.float32)
    )
    known = seen({10: list(range(60)), 13: [0]})
    frame = score_ease_candidates(learnt, requests, known, weights, features(72), weights={"use": 1.0, "other": 0.0}, n_candidates=5)
    conform(frame.withColumns({"horizon": F.lit("h"), "source": F.lit("ease")}), SOURCE_CANDIDATES, "the function")
    found = {row.request_idx: (row["items"], row.scores) for row in frame.collect()}
    assert found == {10: ([70, 71], [0.25, 0.125]), 13: ([70, 71], [0.5, 0.125])}
