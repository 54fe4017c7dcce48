from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from pyspark.sql import functions as F

from recspark.candidates import user_knn, user_search
from recspark.candidates.compared import transposed
from recspark.candidates.user_scores import score_user_knn_candidates
from recspark.candidates.user_vectors import pack_vectors
from recspark.errors import ConfigError, LimitError
from recspark.kernels.packing import lot
from recspark.runtime.job import find_jobs
from recspark.tables import NEIGHBOURS, REQUESTS, SOURCE_CANDIDATES
from recspark.tables.contract import check_rows, conform
from tests import dense
from tests.candidates.test_item_knn import USE, rows, used


def fit_user_knn(*inputs: Any, **knobs: Any) -> Any:
    return user_knn.fit_user_knn(*inputs, **{"tell": lambda name, value: None, "n_slots": 2, "weights": USE, **knobs})


def test_two_users_by_hand(events) -> None:  # type: ignore[no-untyped-def]
    # Rows (2, 1, 0) and (1, 1, 1): 3 / (sqrt(5) sqrt(3)), times 2 / (2 + 10). User 2 shares one item: too little support.
    frame = fit_user_knn(events([(0, 0), (0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 2)]))
    full = conform(frame.withColumns({"horizon": F.lit("h"), "source": F.lit("user_knn")}), NEIGHBOURS, "the function")
    check_rows(full, NEIGHBOURS)
    score = pytest.approx(3 / 15**0.5 * 2 / 12)
    assert rows(frame) == [(0, 1, score, 2, 0), (1, 0, score, 2, 0)]


@pytest.mark.parametrize(
    ("similarity", "weighting", "form", "asymmetry"),
    [
        *((one, "none", "support", 0.5) for one in ("jaccard", "pearson", "lift", "llr", "conditional")),
        ("cosine", "none", "norm", 0.2),
        ("cosine", "tf_idf", "support", 0.5),
        ("cosine", "bm25", "support", 0.7),
    ],
)
def test_each_measure_equals_the_dense_reference(events, similarity, weighting, form, asymmetry) -> None:  # type: ignore[no-untyped-def]
    """Of the transposed matrix: users are documents, and items terms."""
    x = dense.world(3)
    knobs: dict[str, Any] = {"value_as": "linear", "n_neighbours": 4, "shrinkage": 3.0, "n_blocks": 3, "asymmetry": asymmetry}
    found = rows(fit_user_knn(events(used(x)), similarity=similarity, weighting=weighting, shrinkage_form=form, **knobs))
    held = (x > 0).astype(int)
    norm, on_support = (3.0, 0.0) if form == "norm" else (None, 3.0)
    score = dense.scores(x.T, similarity, weighting, norm=norm, asymmetry=asymmetry)
    assert len(found) > 100
    dense.assert_close(found, dense.top(score, held @ held.T, 4, 2, on_support))


@pytest.mark.parametrize(
    "knobs",
    [
        {"weighting": "bm25", "bm25_k1": 2.0, "bm25_b": 0.3, "asymmetry": 0.7, "shrinkage_form": "norm"},
        {"similarity": "jaccard"},
        {"similarity": "pearson"},
    ],
    ids=lambda knobs: "-".join(str(value) for value in knobs.values()),
)
def test_one_cluster_is_the_exact_search(events, knobs) -> None:  # type: ignore[no-untyped-def]
    """The same weights, formulas, shrinkage and samples: items of more than 4 users are sampled in both."""
    frame = events(used(dense.world(4))).coalesce(1)
    told: dict[str, Any] = {}
    settings = {"value_as": "linear", "n_neighbours": 4, "shrinkage": 2.0, "min_support": 1, "max_users_per_item": 4, **knobs}
    clusters = {"max_exact_users": 0, "n_clusters": 1, "n_probes": 1, "n_rounds": 0, "n_measured": 9, "n_blocks": 1}
    found = rows(fit_user_knn(frame, tell=told.__setitem__, **clusters, **settings))
    assert len(found) > 100
    assert told == {"search": {"recall": 1.0, "n_measured": 9, "n_probes": 1, "n_clusters": 1}}
    dense.assert_close(found, rows(fit_user_knn(frame, **settings)))


def test_partitions_change_no_bit(events) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(5)
    # Weights that no sum of doubles adds up alike in two orders; item 0 is everyone's, user 0 has everything.
    pairs = {(int(user), int(item)): float(rng.random()) for user, item in rng.integers(0, (40, 30), (400, 2))}
    pairs |= {(user, 0): 0.3 for user in range(40)} | {(0, item): 0.7 for item in range(30)}
    frame, found = events([(user, item, "use", value) for (user, item), value in pairs.items()]), []
    clusters: dict[str, Any] = {"max_exact_users": 10, "n_clusters": 5, "n_probes": 3, "n_rounds": 1, "min_recall": 0.2}
    for partitions, n_blocks in ((1, 1), (3, 4)):
        shuffled = frame.orderBy(F.xxhash64("event_key", F.lit(partitions))).repartition(partitions)
        knobs: dict[str, Any] = {"weights": {"use": 0.7}, "weighting": "bm25", "n_blocks": n_blocks, "max_users_per_item": 20}
        found.append((rows(fit_user_knn(shuffled, **knobs)), rows(fit_user_knn(shuffled, **knobs, **clusters))))
    assert found[0] == found[1]
    assert min(len(lists) for lists in found[0]) > 400
    assert fit_user_knn(events([])).collect() == []


def test_users_of_a_popular_item_are_sampled_by_lot_and_norms_and_support_follow(events) -> None:  # type: ignore[no-untyped-def]
    kept = np.zeros((9, 5))
    for item in range(5):
        kept[sorted(range(9), key=lambda user: lot(item, user, 7))[:3], item] = 1
    frame = events(used(np.ones((9, 5))))
    found = rows(fit_user_knn(frame, min_support=1, shrinkage=0.0, max_users_per_item=3, seed=7))
    dense.assert_close(found, dense.top(dense.scores(kept.T, "cosine"), (kept @ kept.T).astype(int), 100))
    # Without a cap everybody meets everybody.
    assert len(rows(fit_user_knn(frame, max_users_per_item=None))) == 9 * 8


def test_raters_of_one_number_correlate_with_nobody(events) -> None:  # type: ignore[no-untyped-def]
    # 3.7 three times is 11.1, whose third is not 3.7: what is left of each rating is no opinion. Users 2 and 3 have one.
    ratings = {0: (3.7, 3.7, 3.7), 1: (3.7, 3.7, 3.7), 2: (1.0, 3.0, 5.0), 3: (2.0, 3.0, 4.0)}
    frame = events([(user, item, "use", value) for user, values in ratings.items() for item, value in enumerate(values)])
    assert rows(fit_user_knn(frame, similarity="pearson", shrinkage=0.0)) == [(2, 3, 1.0, 3, 0), (3, 2, 1.0, 3, 0)]


def test_indexes_in_the_millions_are_numbered_densely_and_named_again(events) -> None:  # type: ignore[no-untyped-def]
    x = dense.world(6, n=5)
    idx = [5_000_000, 7_000_001, *range(2_000_000_000, 2_000_000_000 + 10**8 * len(x), 10**8)]
    far = [(idx[user], item, kind, value) for user, item, kind, value in used(x)]
    knobs: dict[str, Any] = {"n_neighbours": 3, "min_support": 1, "shrinkage": 1.0}
    near = rows(fit_user_knn(events(used(x)), **knobs))
    assert rows(fit_user_knn(events(far), **knobs)) == [(idx[user], idx[other], *rest) for user, other, *rest in near]
    assert len(near) > 40
    with pytest.raises(LimitError, match=r"the largest user_idx is [\d,]+, and [\d]+ users are above .*max_exact_users \(3\)"):
        fit_user_knn(events(far), max_exact_users=3)


def _tastes() -> list[tuple[int, int]]:
    """120 users of 6 tastes: 8 of the 15 items of their taste, and 2 of any."""
    rng = np.random.default_rng(2)
    chosen = [(user, 15 * (user % 6) + int(item)) for user in range(120) for item in rng.choice(15, 8, replace=False)]
    return sorted({*chosen, *((user, int(item)) for user in range(120) for item in rng.integers(0, 90, 2))})


def _recall(found: list[dense.Row], exact: list[dense.Row]) -> float:
    """Of each user as many as there are exact neighbours, at least as near as the last of them."""
    least = {user: score for user, _, score, _, _ in exact}  # the last position's
    hits = sum(score >= least[user] for user, _, score, _, _ in found if user in least)
    return hits / len(exact)


def test_clusters_hold_most_of_the_exact_neighbours_and_say_so(events) -> None:  # type: ignore[no-untyped-def]
    frame = events(_tastes())
    exact = rows(fit_user_knn(frame, n_neighbours=10))
    knobs: dict[str, Any] = {"n_neighbours": 10, "max_exact_users": 119, "n_clusters": 12, "n_measured": 120, "n_blocks": 2}
    told: dict[str, Any] = {}
    recall = _recall(rows(fit_user_knn(frame, n_probes=2, tell=told.__setitem__, **knobs)), exact)
    assert 0.8 < recall < 1
    # All users are measured: what is told is what was found.
    assert told == {"search": {"recall": pytest.approx(recall), "n_measured": 120, "n_probes": 2, "n_clusters": 12}}
    # With every cluster looked into nothing is missed.
    assert {row[:2] for row in rows(fit_user_knn(frame, n_probes=12, **knobs))} == {row[:2] for row in exact}
    with pytest.raises(
        LimitError, match=r"120 users are above .*max_exact_users \(119\), and 1 of 12 clusters hold 0\.\d+ of .*min_recall"
    ):
        fit_user_knn(frame, n_probes=1, n_rounds=0, min_recall=0.99, **knobs)


def test_identical_users_do_not_fill_one_cluster(spark) -> None:  # type: ignore[no-untyped-def]
    # 2,000 users of items 0 to 2, and no centroid that tells them apart: one cluster of 10, with ten times the mean.
    entries = spark.range(6000).select((F.col("id") % 2000).alias("user_idx"), (F.col("id") % 3).cast("int").alias("item_idx"))
    vectors = pack_vectors(transposed(entries).withColumn("value", F.lit(1.0)))
    assigned = user_search.assign_clusters(vectors, 10, 2, 1, 2, 1)
    sizes = [row["count"] for row in assigned.groupBy(F.col("clusters")[0]).count().collect()]
    # Three parts, of 667 in the mean, where four times the mean are 800.
    assert len(sizes) == 3
    assert max(sizes) < 800
    found = user_search.search_clusters(assigned, assigned, 5, user_knn.Measure(), 2)
    assert [tuple(row) for row in found.groupBy("score", "support").count().collect()] == [(1.0, 3, 10_000)]
    # Which of the identical ones were found does not matter.
    sample = assigned.filter("user_idx % 100 = 0")
    assert (
        user_search.measure_recall(found.filter("idx % 100 = 0"), user_search.search_for_few(sample, assigned, 5, user_knn.Measure(), 2))
        == 1
    )


def test_centroids_keep_their_heaviest_entries(spark, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(user_search, "_HEAVIEST", 2)
    frame = spark.createDataFrame([(7, [1, 4, 6, 9], [0.5, -3.0, 0.5, 0.25])], user_search.SCHEMA)
    assert [tuple(row) for row in user_search._heaviest(frame).collect()] == [(7, [1, 4], [0.5, -3.0])]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"similarity": "pearson", "weighting": "bm25"}, "^neighbours_user_knn.weighting: bm25 has no meaning where .* is pearson"),
        ({"similarity": "jaccard", "asymmetry": 0.4}, r"^neighbours_user_knn.asymmetry: 0\.4 has no meaning where .* is jaccard"),
        ({"similarity": "lift", "half_life_days": 3.0}, "^neighbours_user_knn.half_life_days: 3 has no meaning where .* is lift"),
        (
            {"similarity": "llr", "max_exact_users": 1},
            r"similarity is llr, and 2 users are above .*max_exact_users \(1\).* knows cosine, jaccard",
        ),
    ],
)
def test_guards(events, knobs, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=message):
        fit_user_knn(events([(0, 0), (1, 0)]), **knobs)


@pytest.mark.parametrize("name", ["neighbours_user_knn", "neighbours_item_knn"])
def test_shares_are_within_0_and_1(name: str) -> None:
    section = find_jobs()[name].section
    section(weights={"use": 1.0}, bm25_b=1.0)
    shares = {"bm25_b": 1.1} | ({"asymmetry": 1.5} if name == "neighbours_user_knn" else {})
    for knob, value in shares.items():
        with pytest.raises(ValidationError, match=f"{knob}\n.* less than or equal to 1"):
            section(weights={"use": 1.0}, **{knob: value})


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
