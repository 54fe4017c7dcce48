import math

import numpy as np
import pytest
from scipy.stats import poisson, rankdata

from recspark.kernels.metrics import (
    LIST_METRICS,
    NOT_LISTED,
    SLATE_METRICS,
    add_replicates,
    jaccard,
    mark_listed,
    measure_lists,
    measure_slates,
    poisson_weight,
    settle_ties,
)

NOTHING = np.zeros(0, dtype=np.int32)


def ragged(lists, dtype=np.int32):
    return np.cumsum([0, *map(len, lists)]).astype(np.int64), np.array([x for one in lists for x in one], dtype=dtype)


def measured(items, positives, ks, novelty=(), popular=(), categories=((0,),)):
    """{metric: figures at ks} of one request; None where not defined."""
    num, den = np.zeros((1, 10 * len(ks))), np.zeros((1, 10 * len(ks)))
    arrays = np.array(novelty, dtype=np.float64), np.array(popular, dtype=np.bool_), np.array(categories, dtype=np.int32)
    measure_lists(*ragged([items]), *ragged([sorted(positives)]), np.array(ks), *arrays, num, den)
    return {m: [num[0, 10 * i + j] if den[0, 10 * i + j] else None for i in range(len(ks))] for j, m in enumerate(LIST_METRICS)}


LOG3, LOG5 = math.log2(3), math.log2(5)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        # The list is 7 3 9 1, of 1, 3 and 5 wanted; cuts 2, 4 and 10: a miss, a hit, a miss, a hit, then nothing.
        ("precision", [1 / 2, 2 / 4, 2 / 10]),
        ("recall", [1 / 3, 2 / 3, 2 / 3]),
        ("f1", [2 / 5, 4 / 7, 4 / 13]),
        ("hit_rate", [1, 1, 1]),
        ("map", [(1 / 2) / 2, (1 / 2 + 2 / 4) / 3, (1 / 2 + 2 / 4) / 3]),
        ("mrr", [1 / 2, 1 / 2, 1 / 2]),
        (
            "ndcg",
            [(1 / LOG3) / (1 + 1 / LOG3), (1 / LOG3 + 1 / LOG5) / (1 + 1 / LOG3 + 1 / 2), (1 / LOG3 + 1 / LOG5) / (1 + 1 / LOG3 + 1 / 2)],
        ),
    ],
)
def test_accuracy_by_hand(metric, expected):
    assert measured([7, 3, 9, 1], {1, 3, 5}, [2, 4, 10])[metric] == pytest.approx(expected)


def test_ties_count_against_or_for_what_is_wanted():
    offsets, items = ragged([[7, 3, 9, 1], [4, 5], [], [3, 6]])
    scores = np.array([2.0, 1, 1, 1, 0, 0, 5, 5], dtype=np.float32)
    positives = ragged([[1, 3, 7], [8], [3], [3]])
    assert settle_ties(offsets, items, scores, *positives, False).tolist() == [7, 9, 3, 1, 4, 5, 6, 3]
    assert settle_ties(offsets, items, scores, *positives, True).tolist() == [7, 3, 1, 9, 4, 5, 3, 6]
    assert items.tolist() == [7, 3, 9, 1, 4, 5, 3, 6]


def test_first_hit_below_the_cut_counts_for_nothing():
    figures = measured([7, 9, 3], {3}, [2])
    assert [figures[m] for m in LIST_METRICS[:7]] == [[0.0]] * 7


def test_perfect_list_shorter_than_k_has_full_ndcg_and_map():
    figures = measured([3, 1], {1, 3}, [5])
    assert (figures["ndcg"], figures["map"], figures["precision"]) == ([1.0], [1.0], [2 / 5])


def test_no_list_is_zero_and_nothing_beyond_and_no_positives_is_undefined():
    empty = measured([], {1}, [5], novelty=[1, 1], popular=[True, False])
    assert [empty[m] for m in LIST_METRICS] == [[0.0]] * 7 + [[None]] * 3
    unlabelled = measured([1], set(), [5], novelty=[1, 1], popular=[True, False])
    assert [unlabelled[m] for m in LIST_METRICS] == [[None]] * 7 + [[1.0], [None], [0.0]]


def test_an_item_that_stands_twice_is_a_hit_once():
    assert measured([3, 3], {3, 4}, [2])["recall"] == [1 / 2]


def test_beyond_accuracy_by_hand():
    # Items 0 1 2 3 of 1, 2, 3 and unknown bits; 0 is popular; categories {3,4} {4} none (unknown, out of vocabulary) {3,4,5}, 9 is no item.
    figures = measured(
        [0, 1, 2, 3, 9],
        set(),
        [1, 2, 5],
        novelty=[1, 2, 3, np.nan],
        popular=[True, False, False, False],
        categories=[[4, 3, 0], [4, 4, 2], [1, 2, 0], [5, 4, 3]],
    )
    assert figures["novelty"] == [1, 1.5, 2]
    # Pairs of known sets: {3,4} {4}: 1/2; {3,4} {3,4,5}: 2/3; {4} {3,4,5}: 1/3.
    assert figures["diversity"] == [None, pytest.approx(1 / 2), pytest.approx(1 - (1 / 2 + 2 / 3 + 1 / 3) / 3)]
    assert figures["popularity_share"] == [1, 1 / 2, 1 / 5]


def test_popularity_share_is_undefined_where_nothing_is_popular():
    assert measured([0], set(), [1], novelty=[np.nan], popular=[False])["popularity_share"] == [None]


def test_jaccard():
    assert jaccard(np.array([2, 3]), np.array([3, 4, 5])) == 1 / 4
    assert jaccard(np.array([2]), np.array([], dtype=np.int64)) == 0


def slate(items, scores, positives):
    num, den = np.zeros((1, 3)), np.zeros((1, 3))
    offsets, flat = ragged([items])
    measure_slates(offsets, flat, np.array(scores, dtype=np.float32), *ragged([sorted(positives)]), num, den)
    return {m: num[0, j] / den[0, j] if den[0, j] else None for j, m in enumerate(SLATE_METRICS)}


def test_slate_by_hand():
    # Positives 1 and 4 at 3.0 and -1.0, others at 3.0, 0.0 and -2.0. Pairs: 1 ties one, beats two; 4 beats one. 3.5 of 6.
    figures = slate([1, 2, 3, 4, 5], [3.0, 3.0, 0.0, -1.0, -2.0], {1, 4})
    # Said yes to the first two, 1 and 2: right about 1, 3 and 5.
    assert figures == {"auc": pytest.approx(3.5 / 6), "accuracy": 3 / 5, "base_rate": 2 / 5}
    # What all scores have in common means nothing to a softmax.
    assert slate([1, 2, 3, 4, 5], [103.0, 103.0, 100.0, 99.0, 98.0], {1, 4}) == figures
    assert slate([1, 2, 3], [-1.0, -2.0, -3.0], {1, 2})["accuracy"] == 1


def test_slate_of_one_class_has_no_auc_and_unlabelled_requests_have_nothing():
    assert slate([1, 2], [1.0, -1.0], {9}) == {"auc": None, "accuracy": 1, "base_rate": 0}
    assert slate([1], [1.0], {1})["auc"] is None
    assert slate([1], [1.0], set()) == {"auc": None, "accuracy": None, "base_rate": None}


def test_a_score_that_is_no_number_ends():
    assert slate([1, 2], [np.nan, np.nan], {1})["base_rate"] == 1 / 2


def test_auc_against_ranks():
    rng = np.random.default_rng(3)
    for _ in range(50):
        n = rng.integers(3, 30)
        scores = np.sort(rng.integers(-4, 5, n).astype(np.float32))[::-1]
        positives = rng.choice(n, rng.integers(1, n), replace=False)
        ranks = rankdata(scores)[positives].sum()
        expected = (ranks - len(positives) * (len(positives) + 1) / 2) / (len(positives) * (n - len(positives)))
        assert slate(range(n), scores, set(positives.tolist()))["auc"] == pytest.approx(expected)


def test_mark_listed_keeps_the_best_place_of_each_group():
    first = np.full((2, 4), NOT_LISTED)
    mark_listed(*ragged([[2, 0, 1], [0, 2], [3, 9]]), np.array([0, 0, 1]), 2, first)
    assert first.tolist() == [[0, 255, 0, 255], [255, 255, 255, 0]]


def test_weights_are_poisson_and_replicate_0_is_the_sample_itself():
    weights = np.array([[poisson_weight(r, b, 5) for b in range(201)] for r in range(500)])
    assert (weights[:, 0] == 1).all()
    drawn = weights[:, 1:].ravel()
    expected = poisson.pmf(np.arange(5), 1) * drawn.size
    found = np.bincount(drawn, minlength=5)[:5]
    # Five standard deviations of each count.
    assert (np.abs(found - expected) < 5 * np.sqrt(expected)).all()
    assert np.corrcoef(weights[:-1, 1:].ravel(), weights[1:, 1:].ravel())[0, 1] == pytest.approx(0, abs=0.02)
    assert poisson_weight(7, 3, 5) == weights[7, 3]
    assert any(poisson_weight(r, 1, 6) != weights[r, 1] for r in range(500))


def test_replicates_add_weighted_figures_by_group():
    request_idx, groups = np.array([4, 8, 15]), np.array([0, 1, 1])
    num, den = np.array([[1.0, 2], [3, 4], [5, 6]]), np.array([[1.0, 1], [1, 0], [1, 1]])
    sums = np.zeros((3, 2, 2, 2))
    add_replicates(request_idx, groups, num, den, 9, sums)
    assert sums[0].tolist() == [[[1, 2], [1, 1]], [[8, 10], [2, 1]]]
    w = [poisson_weight(r, 2, 9) for r in request_idx]
    assert sums[2].tolist() == [[[w[0], 2 * w[0]], [w[0], w[0]]], [[3 * w[1] + 5 * w[2], 4 * w[1] + 6 * w[2]], [w[1] + w[2], w[2]]]]
