from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyspark.sql import functions as F

from recspark.candidates import user_knn
from recspark.candidates.user_scores import score_user_knn_candidates
from recspark.errors import ConfigError, LimitError
from recspark.tables import NEIGHBOURS, REQUESTS, SOURCE_CANDIDATES
from recspark.tables.contract import check_rows, conform

Row = tuple[int, int, float, int, int]
Pairs = dict[tuple[int, int], float]
COLUMNS = ("idx", "neighbour_idx", "score", "support", "position")


def fit_user_knn(*inputs: Any, **knobs: Any) -> Any:
    return user_knn.fit_user_knn(*inputs, **{"tell": lambda name, value: None, "n_slots": 4, **knobs})


def _rows(frame: Any) -> list[Row]:
    return sorted((tuple(row) for row in frame.select(*COLUMNS).collect()), key=lambda row: (row[0], row[4]))


def _reference(pairs: Pairs, similarity: str, n: int, min_support: int = 1, shrinkage: float = 0.0, **knobs: Any) -> list[Row]:
    users, items = (sorted({pair[side] for pair in pairs}) for side in (0, 1))
    dense, used = np.zeros((len(users), len(items))), np.zeros((len(users), len(items)), bool)
    for (user, item), weight in pairs.items():
        dense[users.index(user), items.index(item)], used[users.index(user), items.index(item)] = weight, True
    lengths, supports = used.sum(1), used.astype(int) @ used.T
    rarity = np.log((1 + len(users)) / (1 + used.sum(0)))
    if similarity == "pearson":
        dense = np.where(used, dense - (dense.sum(1) / lengths)[:, None], 0)
    if knobs.get("weighting") == "tf_idf":
        dense = np.sqrt(dense) * rarity
    if knobs.get("weighting") == "bm25":
        dense = dense * 2.2 / (1.2 * (0.25 + 0.75 * lengths / lengths.mean())[:, None] + dense) * rarity
    squares, a = (dense**2).sum(1), knobs.get("asymmetry", 0.5)
    bottoms = np.outer(squares**a, squares ** (1 - a))
    if similarity == "pearson":
        bottoms = np.sqrt((dense**2 @ used.T) * (dense**2 @ used.T).T)
    if knobs.get("shrinkage_form") == "norm":
        bottoms, shrinkage = bottoms + shrinkage, 0.0
    if similarity == "jaccard":
        scores = supports / (lengths[:, None] + lengths - supports)
    else:
        scores = np.divide(dense @ dense.T, bottoms, out=np.zeros_like(bottoms), where=bottoms > 0)
    scores = (scores * supports / np.maximum(supports + shrinkage, 1)).astype(np.float32)
    found: list[Row] = []
    for u, user in enumerate(users):
        near = [v for v in range(len(users)) if v != u and supports[u, v] >= min_support and scores[u, v] > 1e-9]
        others = sorted((-scores[u, v], users[v], int(supports[u, v])) for v in near)
        found += [(user, other, float(-score), support, place) for place, (score, other, support) in enumerate(others[:n])]
    return found


def _assert_equal(found: list[Row], expected: list[Row]) -> None:
    """Lists equal but for rounding: scores to 1e-6, and users of one score (to 1e-6) may stand in either order."""
    assert [(row[0], row[4]) for row in found] == [(row[0], row[4]) for row in expected]
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in expected], atol=1e-6)
    assert sum(a[:2] != b[:2] for a, b in zip(found, expected, strict=True)) <= 0.05 * len(expected)


def _worlds(n: int) -> Pairs:
    """Many small worlds side by side: user and item indexes of world w begin at 1000 w, so none touches another."""
    pairs: Pairs = {}
    for world in range(n):
        rng = np.random.default_rng(world)
        n_users, n_items = rng.integers(1, 12, 2)
        used = rng.random((n_users, n_items)) < rng.random()
        used[:, 0] |= world % 3 == 0  # an item that everyone has
        used[0] |= world % 4 == 0  # a user with everything
        for user, item in np.argwhere(used):
            pairs[1000 * world + int(user), 1000 * world + int(item)] = float(rng.integers(1, 6))
    return pairs


def _events_of(events: Any, pairs: Pairs) -> Any:
    return events([(user, item, "use", weight) for (user, item), weight in pairs.items()])


def test_two_users_by_hand(events) -> None:  # type: ignore[no-untyped-def]
    # Rows (2, 1, 0) and (1, 1, 1): 3 / (sqrt(5) sqrt(3)), times 2 / (2 + 10). User 2 shares one item: too little support.
    frame = fit_user_knn(events([(0, 0), (0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 2)]), weights={"use": 1.0})
    full = conform(frame.withColumns({"horizon": F.lit("h"), "source": F.lit("user_knn")}), NEIGHBOURS, "the function")
    check_rows(full, NEIGHBOURS)
    score = pytest.approx(3 / 15**0.5 * 2 / 12)
    assert _rows(frame) == [(0, 1, score, 2, 0), (1, 0, score, 2, 0)]


@pytest.mark.parametrize(
    "knobs",
    [
        {"similarity": "cosine", "min_support": 2, "shrinkage": 3.0},
        {"similarity": "cosine", "asymmetry": 0.2, "shrinkage": 2.0, "shrinkage_form": "norm"},
        {"similarity": "cosine", "weighting": "tf_idf"},
        {"similarity": "cosine", "weighting": "bm25", "asymmetry": 0.7},
        {"similarity": "jaccard", "shrinkage": 1.0},
        {"similarity": "pearson", "min_support": 2},
    ],
    ids=lambda knobs: "-".join(str(value) for value in knobs.values()),
)
def test_worlds_equal_the_dense_reference(events, knobs) -> None:  # type: ignore[no-untyped-def]
    pairs = _worlds(16)
    settings = {"min_support": 1, "shrinkage": 0.0, "n_blocks": 3, **knobs}
    found = _rows(fit_user_knn(_events_of(events, pairs), weights={"use": 1.0}, value_as="linear", n_neighbours=4, **settings))
    _assert_equal(found, _reference(pairs, n=4, **knobs))
    assert len(found) > 100


def test_partitions_change_no_bit(events) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(5)
    # Weights that no sum of doubles adds up alike in two orders; item 0 is everyone's, user 0 has everything.
    pairs = {(int(user), int(item)): float(rng.random()) for user, item in rng.integers(0, (40, 30), (400, 2))}
    pairs |= {(user, 0): 0.3 for user in range(40)} | {(0, item): 0.7 for item in range(30)}
    frame, found = _events_of(events, pairs), []
    for partitions, n_blocks in ((1, 1), (7, 5)):
        shuffled = frame.orderBy(F.xxhash64("event_key", F.lit(partitions))).repartition(partitions)
        exact = fit_user_knn(shuffled, weights={"use": 0.7}, weighting="bm25", n_blocks=n_blocks)
        knobs: dict[str, Any] = {
            "max_exact_users": 10,
            "n_clusters": 5,
            "n_probes": 3,
            "n_rounds": 1,
            "min_recall": 0.2,
            "n_blocks": n_blocks,
        }
        found.append((_rows(exact), _rows(fit_user_knn(shuffled, weights={"use": 0.7}, weighting="bm25", **knobs))))
    assert found[0] == found[1]
    assert fit_user_knn(events([]), weights={"use": 1.0}).collect() == []


def _tastes() -> Pairs:
    """120 users of 6 tastes: 8 of the 15 items of their taste, and 2 of any."""
    rng = np.random.default_rng(2)
    chosen = [(user, 15 * (user % 6) + int(item)) for user in range(120) for item in rng.choice(15, 8, replace=False)]
    return dict.fromkeys([*chosen, *((user, int(item)) for user in range(120) for item in rng.integers(0, 90, 2))], 1.0)


def test_clusters_hold_most_of_the_exact_neighbours_and_say_so(events) -> None:  # type: ignore[no-untyped-def]
    frame = _events_of(events, _tastes())
    exact = {row[:2] for row in _rows(fit_user_knn(frame, weights={"use": 1.0}, n_neighbours=10))}
    knobs: dict[str, Any] = {"n_neighbours": 10, "max_exact_users": 119, "n_clusters": 12, "n_measured": 120, "n_blocks": 2}
    told: dict[str, Any] = {}
    found = _rows(fit_user_knn(frame, weights={"use": 1.0}, n_probes=4, tell=told.__setitem__, **knobs))
    recall = len(exact & {row[:2] for row in found}) / len(exact)
    assert recall > 0.9
    # All users are measured: what is told is what was found.
    assert told == {"search": {"recall": pytest.approx(recall), "n_measured": 120, "n_probes": 4, "n_clusters": 12}}
    # With every cluster looked into nothing is missed.
    assert {row[:2] for row in _rows(fit_user_knn(frame, weights={"use": 1.0}, n_probes=12, **knobs))} == exact
    with pytest.raises(
        LimitError, match=r"120 users are above .*max_exact_users \(119\), and 1 of 12 clusters hold 0\.\d+ of .*min_recall"
    ):
        fit_user_knn(frame, weights={"use": 1.0}, n_probes=1, n_rounds=0, min_recall=0.99, **knobs)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"asymmetry": 1.5}, r"asymmetry is 1\.5"),
        ({"similarity": "pearson", "weighting": "bm25"}, r"similarity is pearson: weighting \(bm25\)"),
        ({"similarity": "jaccard", "asymmetry": 0.4}, r"asymmetry \(0\.4\) .* the cosine's"),
    ],
)
def test_guards(events, knobs, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=message):
        fit_user_knn(events([]), weights={"use": 1.0}, **knobs)


def _neighbours(table: Any, lists: dict[int, list[tuple[int, float]]]) -> Any:
    rows = [
        {"source": "user_knn", "kind": "user", "idx": user, "neighbour_idx": other, "score": score, "support": 1, "position": place}
        for user, others in lists.items()
        for place, (other, score) in enumerate(others)
    ]
    return table(NEIGHBOURS, rows)


def test_candidates_are_what_the_neighbours_use(table, events, seen, features) -> None:  # type: ignore[no-untyped-def]
    learnt = events([(0, 0), (1, 1), (1, 2), (1, 2), (2, 2), (2, 3), (3, 4), (3, 5, "other")])
    lists = _neighbours(table, {0: [(1, 0.5), (2, 0.25)], 1: [(3, 0.5), (0, 0.125)], 2: [(9, 0.5)]})
    # Two requests of user 0; users 2 (a neighbour without events) and 7 (no neighbours) get nothing.
    requests = table(REQUESTS, [{"request_idx": r, "user_idx": user, "k": 1} for r, user in ((10, 0), (11, 1), (12, 2), (17, 7), (20, 0))])
    inputs = (learnt, requests, lists, seen({10: [0, 1], 20: [2]}), features(6, {4}))
    for n_blocks in (1, 3):
        frame = score_user_knn_candidates(*inputs, n_slots=4, weights={"use": 1.0, "other": 0.0}, n_candidates=2, n_blocks=n_blocks)
        conform(frame.withColumns({"horizon": F.lit("h"), "source": F.lit("user_knn")}), SOURCE_CANDIDATES, "the function")
        found = {row.request_idx: (row["items"], row.scores) for row in frame.collect()}
        # Item 2: .5 + .25. Item 4 is not available, item 5 was not used in a way that counts.
        assert found == {10: ([2, 3], [0.75, 0.25]), 11: ([0], [0.125]), 20: ([1, 3], [0.5, 0.25])}
    # User 1 is in the list of user 0 (.5), user 0 in that of user 1 (.125), user 2 in that of user 0; one counts.
    frame = score_user_knn_candidates(*inputs, n_slots=4, weights={"use": 1.0, "other": 0.0}, lists="others", max_neighbours=1)
    found = {row.request_idx: (row["items"], row.scores) for row in frame.collect()}
    assert found == {10: ([2], [0.125]), 11: ([0], [0.5]), 12: ([0], [0.25]), 20: ([1], [0.125])}


def test_candidates_equal_the_dense_product_whatever_the_batches(spark, table, events, seen, features) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(4)
    used = rng.random((30, 40)) < 0.2
    similarities = np.where(rng.random((30, 30)) < 0.2, rng.integers(1, 64, (30, 30)) / 64, 0)
    lists = {user: [(int(other), float(row[other])) for other in np.flatnonzero(row)] for user, row in enumerate(similarities)}
    requests = table(REQUESTS, [{"request_idx": user, "user_idx": user, "k": 1} for user in range(30)])
    learnt = events([(int(user), int(item)) for user, item in np.argwhere(used)])
    masked = seen({user: [int(item) for item in np.flatnonzero(used[user])] for user in range(30)})
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "3")
    try:
        frame = score_user_knn_candidates(
            learnt, requests, _neighbours(table, lists), masked, features(40), weights={"use": 1.0}, n_candidates=5, n_slots=4
        )
        found = {row.request_idx: (row["items"], row.scores) for row in frame.collect()}
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    sums = np.where(used, 0, similarities @ used)
    for user in range(30):
        best = [item for item in np.lexsort((np.arange(40), -sums[user]))[:5] if sums[user, item] > 0]
        assert found.get(user, ([], []))[0] == best
        assert found.get(user, ([], []))[1] == [sums[user, item] for item in best]
