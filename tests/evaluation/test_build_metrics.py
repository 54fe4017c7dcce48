import math

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from recspark.errors import ConfigError
from recspark.evaluation.beyond_accuracy import most_popular, novelty_of
from recspark.evaluation.metrics import build_metrics
from recspark.handover.arrays import publish
from recspark.kernels.metrics import poisson_weight
from recspark.tables import HISTORIES, LABELS, METRICS, PREDICTIONS, RANKED, REQUESTS, SOURCE_CANDIDATES
from recspark.tables.contract import conform

N_ITEMS = 12
N_USERS = np.array([8, 4, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0])
CATEGORIES = np.array([[3, 4], [4, 0], [5, 0], [3, 4], [1, 2], [6, 3], [0, 0], [4, 5], [3, 0], [6, 2], [5, 6], [3, 5]], dtype=np.int32)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("arrays"))
    known = np.flatnonzero(N_USERS)
    popularity = publish({"item_idx": known.astype(np.int32), "n_users": N_USERS[known]}, folder)
    available = np.arange(N_ITEMS) != 11
    features = {"item_idx": np.arange(N_ITEMS, dtype=np.int32), "categories": CATEGORIES, "available": available}
    return {"item_popularity": popularity, "item_features": publish(features, folder)}


def frames(table, cases):
    """Cases by request: (history length, positives, ranker's list, {source: list}); None is no row."""
    requests, histories, labels, ranked, candidates = [], [], [], [], []
    for request_idx, (length, positives, ranker, lists) in enumerate(cases):
        requests.append({"request_idx": request_idx, "user_idx": request_idx, "k": 5})
        if length is not None:
            histories.append({"request_idx": request_idx, "length": length})
        if positives is not None:
            items = sorted({*positives, (request_idx + 1) % N_ITEMS})  # a label that is not positive, unless it is
            labels.append({"request_idx": request_idx, "items": items, "positive": [item in positives for item in items]})
        if ranker is not None:
            ranked.append({"request_idx": request_idx, "items": ranker, "scores": [1.0 - place for place in range(len(ranker))]})
        for source, items in lists.items():
            candidates.append({"source": source, "request_idx": request_idx, "items": items, "scores": [0.0] * len(items)})
    return {
        "requests": table(REQUESTS, requests),
        "histories": table(HISTORIES, histories),
        "labels": table(LABELS, labels),
        "ranked": table(RANKED, ranked),
        "source_candidates": table(SOURCE_CANDIDATES, candidates),
    }


def rows_of(metrics):
    assert conform(metrics, METRICS_AS_RETURNED, "build_metrics") is not None
    rows = metrics.collect()
    found = {(r.model, r.baseline, r.metric, r.k, r.slice): r for r in rows}
    assert len(found) == len(rows)
    return found


METRICS_AS_RETURNED = type(METRICS)(METRICS.name, METRICS.doc, METRICS.columns[1:], METRICS.key[1:])


def reference(listed, positives, k):
    """Figures of one request, from the definitions."""
    hits = np.array([float(item in positives) for item in listed[:k]] + [0.0] * (k - len(listed[:k])))
    n, places = len(positives), np.arange(1, k + 1)
    precision, recall = hits.sum() / k, hits.sum() / n
    f1 = 0.0 if hits.sum() == 0 else 2 * precision * recall / (precision + recall)
    average = (hits * np.cumsum(hits) / places).sum() / min(k, n)
    first = (hits / places).max()
    ndcg = (hits / np.log2(places + 1)).sum() / (1 / np.log2(places[: min(k, n)] + 1)).sum()
    return {"precision": precision, "recall": recall, "f1": f1, "hit_rate": hits.max(), "map": average, "mrr": first, "ndcg": ndcg}


ITEMS = st.lists(st.integers(0, N_ITEMS - 1), unique=True, max_size=8)
CASE = st.tuples(
    st.sampled_from([None, 0, 1, 3]),
    st.none() | st.sets(st.integers(0, N_ITEMS - 1), max_size=6),
    st.none() | ITEMS,
    st.dictionaries(st.sampled_from(["als", "popular"]), ITEMS),
)
KS = [1, 3, 6]


def drawn(strategy, n):
    """n cases of a hypothesis strategy, so that all of them fit into one frame."""
    cases = []

    @settings(max_examples=n, derandomize=True, deadline=None, database=None, phases=[Phase.generate])
    @given(strategy)
    def draw(case):
        cases.append(case)

    draw()
    return cases


def test_accuracy_and_intervals_against_the_reference(table, arrays):
    cases = drawn(CASE, 150)
    frame = build_metrics(**frames(table, cases), **arrays, predictions=None, ks=KS, sources=["als", "popular"], n_bootstrap=20, seed=4)
    found = rows_of(frame)
    for name, wanted in (("all", (0, 1)), ("cold", (0,)), ("warm", (1,))):
        inside = [(i, *case) for i, case in enumerate(cases) if case[1] and int(bool(case[0])) in wanted]
        weights = np.array([[poisson_weight(i, b, 4) for b in range(21)] for i, *_ in inside])
        replicates = {}
        for model in ("ranker", "als", "popular"):
            for k in KS:
                figures = [reference((r or []) if model == "ranker" else s.get(model, []), p, k) for _, _, p, r, s in inside]
                for metric in figures[0]:
                    values = (weights * np.array([f[metric] for f in figures])[:, None]).sum(axis=0) / weights.sum(axis=0)
                    replicates[model, metric, k] = values
                    row = found[model, "", metric, k, name]
                    assert (row.n, row.value) == (len(inside), pytest.approx(values[0]))
                    assert (row.low, row.high) == pytest.approx(tuple(np.percentile(values[1:], [2.5, 97.5])))
        for (model, metric, k), values in replicates.items():
            for baseline in {"ranker": ["als", "popular"], "als": ["popular"], "popular": []}[model]:
                difference = values - replicates[baseline, metric, k]
                row = found[model, baseline, metric, k, name]
                assert (row.n, row.value) == (len(inside), pytest.approx(difference[0]))
                assert (row.low, row.high) == pytest.approx(tuple(np.percentile(difference[1:], [2.5, 97.5])))


HAND = [
    # history, positives, ranker, sources
    (2, {0, 5}, [0, 1, 5], {"als": [1, 0], "popular": [0, 1]}),
    (0, {2}, None, {"popular": [0, 1]}),
    (1, None, [2, 11], {}),
]


@pytest.fixture
def hand(table, arrays, measured):
    """The figures of the world by hand, computed once."""
    if not measured:
        inputs = frames(table, HAND)
        measured |= rows_of(build_metrics(**inputs, **arrays, predictions=None, ks=[2], sources=["als", "popular"], n_bootstrap=0))
    return measured


@pytest.fixture(scope="module")
def measured():
    return {}


def test_a_request_without_a_list_counts_as_zero_and_one_without_positives_does_not_count(hand):
    # The ranker: one of two wanted in the first two for request 0, nothing for request 1; request 2 wants nothing.
    recall = {s: (hand["ranker", "", "recall", 2, s].n, hand["ranker", "", "recall", 2, s].value) for s in ("all", "cold", "warm")}
    assert recall == {"all": (2, 1 / 4), "cold": (1, 0), "warm": (1, 1 / 2)}
    assert hand["ranker", "popular", "recall", 2, "all"].value == 0
    assert ("popular", "popular", "recall", 2, "all") not in hand


def test_no_bootstrap_no_interval(hand):
    assert hand["ranker", "", "recall", 2, "all"].low is None
    assert hand["ranker", "als", "recall", 2, "all"].high is None


def test_coverage_counts_available_items_in_all_lists_once(hand):
    # 11 of the 12 items are available. ranker: 0, 1, 2 (11 is not available, 5 stands third); popular: 0, 1 twice.
    values = {(m, s): (r.n, r.value) for (m, _, metric, _, s), r in hand.items() if metric == "coverage"}
    assert values == {
        ("ranker", "all"): (2, 3 / 11),
        ("ranker", "warm"): (2, 3 / 11),
        ("als", "all"): (1, 2 / 11),
        ("als", "warm"): (1, 2 / 11),
        ("popular", "all"): (2, 2 / 11),
        ("popular", "cold"): (1, 2 / 11),
        ("popular", "warm"): (1, 2 / 11),
    }


def test_novelty_diversity_and_popularity_share_of_all_lists(hand):
    # 16 pairs were learnt from: items 0, 1, 2 have 8, 4, 2 of them (1, 2, 3 bits), item 11 none: as if 1 (4 bits).
    assert hand["popular", "", "novelty", 2, "all"].value == 1.5
    assert (hand["ranker", "", "novelty", 2, "all"].n, hand["ranker", "", "novelty", 2, "all"].value) == (2, (1.5 + 3.5) / 2)
    # Items 0 {2,3}, 1 {3}: overlap 1/2. Items 2 {4}, 11 {2,4}: 1/2.
    assert hand["ranker", "", "diversity", 2, "all"].value == 1 / 2
    # Five items have users; a fifth of them is item 0.
    assert hand["popular", "", "popularity_share", 2, "all"].value == 1 / 2
    assert hand["ranker", "", "popularity_share", 2, "all"].value == (1 / 2 + 0) / 2


def test_slates(hand):
    # Only request 0 has a slate and positives: 0, 1, 5 at 1, 0, -1; positives 0 and 5. One pair of two; yes to 0 and 1: one right.
    assert hand["ranker", "", "auc", 0, "all"].value == 1 / 2
    assert (hand["ranker", "", "accuracy", 0, "all"].n, hand["ranker", "", "accuracy", 0, "all"].value) == (3, pytest.approx(1 / 3))
    assert hand["ranker", "", "base_rate", 0, "all"].value == pytest.approx(2 / 3)


def test_without_ranker_there_are_no_rows_of_it_and_ratings_have_errors_by_pairs(table, arrays):
    pairs = [(0, 1, 4.0, 3.0, "none"), (0, 2, 1.0, 1.0, "item_mean"), (1, 1, 5.0, 3.0, "global_mean"), (9, 1, 5.0, 0.0, "none")]
    predictions = [{"request_idx": r, "item_idx": i, "value": v, "predicted": p, "fallback": f} for r, i, v, p, f in pairs]
    inputs = frames(table, HAND) | {"ranked": None, "predictions": table(PREDICTIONS, predictions)}
    found = rows_of(build_metrics(**inputs, **arrays, ks=[2], sources=["als", "popular"], n_bootstrap=50))
    assert {key[0] for key in found} == {"als", "popular"}
    # Errors -1, 0 and -2; request 9 does not exist. Request 1 is cold.
    assert {m: (found["als", "", m, 0, "all"].n, found["als", "", m, 0, "all"].value) for m in ("mae", "rmse", "rating_coverage")} == {
        "mae": (3, 1.0),
        "rmse": (3, pytest.approx(math.sqrt(5 / 3))),
        "rating_coverage": (3, pytest.approx(1 / 3)),
    }
    assert found["als", "", "rmse", 0, "cold"].value == 2
    assert found["als", "", "rmse", 0, "all"].low <= math.sqrt(5 / 3) <= found["als", "", "rmse", 0, "all"].high


def test_a_ranker_without_any_list_has_no_rows(table, arrays):
    inputs = frames(table, [(length, positives, None, lists) for length, positives, _, lists in HAND])
    found = rows_of(build_metrics(**inputs, **arrays, predictions=None, ks=[2], sources=["als", "popular"], n_bootstrap=5))
    assert {key[0] for key in found} == {"als", "popular"}


def test_no_requests_no_rows(table, arrays):
    assert build_metrics(**frames(table, []), **arrays, predictions=None).count() == 0


def test_partitions_and_row_order_change_nothing(table, arrays):
    rng = np.random.default_rng(11)
    cases = []
    for _ in range(60):
        ranker, als = (rng.permutation(N_ITEMS)[:6].tolist() for _ in range(2))
        cases.append((int(rng.integers(0, 3)), set(rng.choice(N_ITEMS, 2).tolist()), ranker, {"als": als, "popular": [0, 1, 2]}))
    inputs = frames(table, cases)

    def built(n):
        shuffled = {name: frame.repartition(n, F.hash("request_idx", F.lit(n))) for name, frame in inputs.items()}
        knobs = {"ks": [3, 6], "sources": ["als", "popular"], "n_bootstrap": 10}
        return build_metrics(**shuffled, **arrays, predictions=None, **knobs).orderBy(*METRICS.key[1:]).collect()

    one = [tuple(row) for row in built(1)]
    for n in (2, 7):
        for expected, found in zip(one, built(n), strict=True):
            assert tuple(found)[:6] == expected[:6]
            assert tuple(found)[6:] == pytest.approx(expected[6:], abs=1e-9)


@pytest.mark.parametrize(
    ("knobs", "named"),
    [
        ({"ks": []}, "metrics.ks"),
        ({"ks": [5, 5]}, "metrics.ks"),
        ({"ks": [0]}, "metrics.ks"),
        ({"ks": [255]}, "254"),
        ({"sources": []}, "metrics.sources"),
        ({"sources": ["als", "als"]}, "metrics.sources"),
        ({"sources": ["ranker"]}, "metrics.sources"),
        ({"n_bootstrap": -1}, "metrics.n_bootstrap"),
        ({"popular_share": 1.0}, "metrics.popular_share"),
    ],
)
def test_knobs_out_of_range(knobs, named):
    with pytest.raises(ConfigError, match=named):
        build_metrics(None, None, None, None, None, None, None, None, **knobs)


def test_most_popular_breaks_ties_by_item_and_counts_only_items_with_users():
    assert most_popular(np.array([3, 5, 0, 3, 3, 0]), 0.5).tolist() == [True, True, False, False, False, False]
    assert not most_popular(np.zeros(3, dtype=np.int64), 0.2).any()
    # A fifth of 15 is 3, although 0.2 * 15 is a hair more.
    assert most_popular(np.arange(1, 16), 0.2).sum() == 3


def test_novelty_without_any_users_is_unknown():
    assert np.isnan(novelty_of(np.zeros(2, dtype=np.int64))).all()
    assert novelty_of(np.array([3, 1, 0])).tolist() == [-math.log2(3 / 4), 2, 2]


def test_ties_may_count_against_the_models(table, arrays):
    """The list has one score: items 1 to 4, of which 1 is wanted, and the ranker's 3, 1 with scores of its own."""
    given = frames(table, [(1, {1}, [3, 1], {"popular": [2, 1, 3, 4]})])
    knobs = {"predictions": None, "ks": [1, 3, 4], "sources": ["popular"], "n_bootstrap": 0}
    found = {ties: rows_of(build_metrics(**given, **arrays, **knobs, ties=ties)) for ties in ("by_item", "against", "in_favour")}
    hits = {ties: [rows["popular", "", "hit_rate", k, "all"].value for k in (1, 3, 4)] for ties, rows in found.items()}
    assert hits == {"by_item": [0, 1, 1], "against": [0, 0, 1], "in_favour": [1, 1, 1]}
    assert [found["against"]["ranker", "", "mrr", 4, "all"].value, found["against"]["popular", "", "mrr", 4, "all"].value] == [1 / 2, 1 / 4]
