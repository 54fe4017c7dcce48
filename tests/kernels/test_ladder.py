import numpy as np
import pytest

from recspark.kernels.ladder import BY_NOTHING, NO_SOURCE, best_source, climb, explain
from tests.kernels.masked import World


def ragged(lists, dtype=np.int32):
    return np.cumsum([0, *map(len, lists)]).astype(np.int64), np.array([x for one in lists for x in one], dtype=dtype)


def climbed(ks, champion, own, candidates, seen, available=(True,) * 8, history_lengths=None, allow=None, categories=(), most=0):
    """Per request: [(item, score, source, rung)]. A candidate is (item, positions of two sources); its score is 10 * source + position,
    an item of the champion's own list has 20 + its place."""
    fallback = np.array([item for item in range(7, -1, -1) if available[item]], dtype=np.int32)
    offsets, items = ragged([[item for item, *_ in one] for one in candidates])
    positions = np.array([place for one in candidates for _, *place in one], dtype=np.int32).reshape(-1, 2)
    counts, *flat = climb(
        np.array(ks),
        np.ones(len(ks), np.int64) if history_lengths is None else np.array(history_lengths),
        champion,
        *ragged(own),
        np.array([20 + place for one in own for place in range(len(one))], np.float32),
        offsets,
        items,
        positions,
        (positions + np.array([0, 10])).astype(np.float32),
        World(np.array(available), seen, allow or [None] * len(ks), categories, most).mask(),
        fallback,
        (100.0 + fallback).astype(np.float32),
        2,
    )
    rows = list(zip(*[part.tolist() for part in flat], strict=True))
    ends = np.cumsum(counts)
    return [rows[end - count : end] for end, count in zip(ends, counts, strict=True)]


# Source 0 proposes 3, 2; source 1 proposes 1, 2. Fused: 2 (1/62 twice), then 1 and 3 (1/61 each).
CANDIDATES = [(2, 1, 1), (1, -1, 0), (3, 0, -1)]


def test_the_rankers_list_then_the_candidates_then_popularity():
    (rows,) = climbed([5], 2, [[2, 1]], [CANDIDATES], [[]])
    # 2 and 1 are the ranker's: 2 stands second in both sources, 1 first in source 1. Then 3; then the fallback.
    assert rows == [(2, 20, 0, 0), (1, 21, 1, 0), (3, 0, 0, 1), (7, 107, 2, 2), (6, 106, 2, 2)]


def test_a_champion_that_is_a_source_has_the_source_rung_and_its_own_scores():
    (rows,) = climbed([3], 1, [[1, 2]], [CANDIDATES], [[]])
    assert rows == [(1, 20, 1, 1), (2, 21, 1, 1), (3, 0, 0, 1)]


def test_a_request_without_history_has_what_is_popular_though_lists_hold_it():
    cold, warm = climbed([2, 2], 1, [[1, 2], [1, 2]], [CANDIDATES, CANDIDATES], [[7], []], history_lengths=[0, 3])
    assert cold == [(6, 106, 2, 2), (5, 105, 2, 2)]
    assert warm == [(1, 20, 1, 1), (2, 21, 1, 1)]


def test_seen_unavailable_repeated_and_foreign_items_are_passed_over():
    available = [True, True, False, True, True, True, True, True]
    (rows,) = climbed([4], 2, [[4, 2, 4, 9, -1, 1]], [[(5, 0, -1), (3, 1, -1)]], [[1, 5]], available)
    # 4; not 2 (not available), 4 (there), 9, -1 (no items), 1 (seen). Not 5 (seen); 3. Then 7, 6.
    assert [row[0] for row in rows] == [4, 3, 7, 6]


def test_an_item_that_only_the_ranker_has_names_no_source():
    (rows,) = climbed([1], 2, [[4]], [[]], [[]])
    assert rows == [(4, 20, NO_SOURCE, 0)]


def test_fewer_than_k_only_where_no_more_are_eligible():
    rows = climbed([3, 3, 2], 2, [[], [], []], [[], [(1, 0, -1)], []], [[0, 1, 2, 3, 4, 5], range(8), []])
    assert [[row[0] for row in one] for one in rows] == [[7, 6], [], [7, 6]]


def test_allow_lists_hold_on_every_rung():
    rows = climbed([5, 5, 5], 2, [[2, 1]] * 3, [CANDIDATES] * 3, [[], [], [5]], allow=[[1, 3, 5], [], [5, 6]])
    assert [[row[0] for row in one] for one in rows] == [[1, 3, 5], [], [6]]


def test_quotas_count_over_all_rungs_and_the_list_is_still_full():
    # Even items are of category 0, odd ones of 1, and 7 of both; one of each: 2 and 1, and nothing else.
    categories = [[item % 2] for item in range(7)] + [[0, 1]]
    assert [row[0] for row in climbed([5], 2, [[2, 1]], [CANDIDATES], [[]], categories=categories, most=1)[0]] == [2, 1]
    # Two of each: 7 takes the last place of both, and 6 finds none; requests do not share their places.
    rows = climbed([5, 2], 2, [[2, 1], [4]], [CANDIDATES[:1], []], [[], [7]], categories=categories, most=2)
    assert [[row[0] for row in one] for one in rows] == [[2, 1, 7], [4, 6]]
    # Items beyond the list of categories have none.
    assert [row[0] for row in climbed([4], 2, [[2, 1]], [[]], [[]], categories=categories[:4], most=1)[0]] == [2, 1, 7, 6]


def test_best_source_by_place_then_first_named():
    found = [best_source(np.array(positions)) for positions in ([1, 1, -1], [1, 0, 5], [-1, 3, 2], [-1, -1, -1], [])]
    assert found == [0, 1, 2, NO_SOURCE, NO_SOURCE]


def lists_of(neighbours):
    """(of, neighbour, score) rows as three arrays."""
    rows = sorted(neighbours, key=lambda row: row[0])
    return tuple(np.array([row[j] for row in rows], dtype=kind) for j, kind in enumerate((np.int64, np.int64, np.float32)))


def explained(items, history, neighbours=(), vectors=(), n_because=2, sources=None, others=(), unavailable=()):
    """Reasons of each item of one request; neighbours of sources 0 and 1 (of, neighbour, score); source 2 has vectors (item, vector)."""
    vectors_of = np.array([row[0] for row in vectors], dtype=np.int64)
    matrix = np.array([row[1] for row in vectors], dtype=np.float32).reshape(len(vectors), -1) if vectors else np.zeros((0, 1), np.float32)
    found = explain(
        np.array([len(items)]),
        np.array(items, dtype=np.int32),
        np.zeros(len(items), np.int32) if sources is None else np.array(sources, np.int32),
        np.array([[*history, -1]], dtype=np.int32),
        np.array([len(history)]),
        ~np.isin(np.arange(9), unavailable),
        n_because,
        np.array([0, 1, 2, BY_NOTHING, BY_NOTHING]),
        (lists_of(neighbours), lists_of(others)),
        ((vectors_of, matrix),),
    )
    return [[item for item in row if item >= 0] for row in found.tolist()]


def test_reasons_are_the_items_that_add_most_to_the_score():
    # 9 is a neighbour of 1 (0.2) and 4 (0.3); that 9 has 2 as neighbour adds nothing.
    neighbours = [(1, 9, 0.2), (4, 9, 0.3), (9, 2, 0.5), (9, 1, 0.05)]
    assert explained([9], [1, 2, 3, 4], neighbours) == [[4, 1]]


def test_a_rows_own_source_explains_it_and_no_other():
    means = {"neighbours": [(1, 9, 0.9)], "others": [(2, 9, 0.1)], "vectors": [(3, [1, 0]), (9, [1, 0])]}
    # By the first source's neighbours, the second's, vectors; popularity, and what no source holds, have no reasons.
    assert explained([9] * 5, [1, 2, 3], **means, sources=[0, 1, 2, 3, NO_SOURCE]) == [[1], [2], [3], [], []]
    # Where it finds nothing, nothing is said.
    assert explained([9] * 3, [4], **means, sources=[0, 1, 2]) == [[], [], []]


def test_an_item_that_is_not_available_is_no_reason():
    neighbours = [(1, 9, 0.5), (2, 9, 0.4), (3, 9, 0.3), (99, 9, 0.9)]
    assert explained([9], [1, 2, 3, 99], neighbours, unavailable=[2]) == [[1, 3]]


def test_equal_similarities_go_to_the_later_event_and_an_item_is_named_once():
    alike = [(1, 9, 0.5), (2, 9, 0.5)]
    assert explained([9], [2, 1, 2, 3], alike) == [[2, 1]]
    assert explained([9], [2, 1], alike) == [[1, 2]]


def test_vectors_that_point_elsewhere_or_nowhere_explain_nothing():
    vectors = [(1, [1, 1]), (2, [0, 2]), (3, [-1, 0]), (9, [5, 0]), (10, [0, 0])]
    # cos(9, 1) = 0.71, cos(9, 2) = 0, cos(9, 3) = -1; 10 has no direction; 11 has no vector.
    assert explained([9, 10, 11], [1, 2, 3], vectors=vectors, sources=[2] * 3) == [[1], [], []]


def test_an_item_is_no_reason_for_itself():
    assert explained([1], [1, 2], vectors=[(1, [1, 0]), (2, [1, 1])], sources=[2]) == [[2]]
    assert explained([1], [1], [(1, 1, 1.0)]) == [[]]


def test_no_reasons_without_history():
    assert explained([9], [], [(1, 9, 0.5)]) == [[]]


@pytest.mark.parametrize("counts", [[2, 1], [0, 3], [3, 0]])
def test_reasons_stay_with_their_request(counts):
    found = explain(
        np.array(counts),
        np.array([7, 7, 7], dtype=np.int32),
        np.zeros(3, np.int32),
        np.array([[1], [2]], dtype=np.int32),
        np.array([1, 1]),
        np.full(3, True),
        1,
        np.array([0]),
        (lists_of([(1, 7, 0.5), (2, 7, 0.5)]), lists_of([])),
        ((np.zeros(0, dtype=np.int64), np.zeros((0, 1), dtype=np.float32)),),
    )
    assert found.ravel().tolist() == [1] * counts[0] + [2] * counts[1]
