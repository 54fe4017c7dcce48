import numpy as np
import pytest

from recspark.kernels.ladder import NO_SOURCE, best_source, climb, count_seen, explain, fuse
from recspark.kernels.ragged import stack

NOTHING = np.zeros(0, dtype=np.int32)


def ragged(lists, dtype=np.int32):
    return np.cumsum([0, *map(len, lists)]).astype(np.int64), np.array([x for one in lists for x in one], dtype=dtype)


def lists_of(*columns):
    offsets, items = stack([ragged(column) for column in columns])
    # Every item's score says where it stands: 10 * list + place.
    scores = np.concatenate([10 * c + np.arange(len(one)) for c, column in enumerate(columns) for one in column] or [NOTHING])
    return offsets, items, scores.astype(np.float32)


def climbed(ks, champion, columns, seen, available=(True,) * 8, fallback=(7, 6, 5, 4, 3, 2, 1, 0)):
    """Per request: [(item, score, source, rung)]. Sources are all columns but the last, which is the ranker's."""
    fallback = np.array([item for item in fallback if available[item]], dtype=np.int32)
    counts, *flat = climb(
        np.array(ks),
        champion,
        *lists_of(*columns),
        len(columns) - 1,
        *ragged(seen),
        np.array(available),
        fallback,
        (100.0 + fallback).astype(np.float32),
        len(columns) - 1,
    )
    rows = list(zip(*[part.tolist() for part in flat], strict=True))
    ends = np.cumsum(counts)
    return [rows[end - count : end] for end, count in zip(ends, counts, strict=True)]


def test_the_rankers_list_then_the_sources_then_popularity():
    # Sources 0 and 1 and the ranker (2); item 7 is popular.
    (rows,) = climbed([5], 2, [[[3, 2]], [[1, 2]], [[2, 1]]], [[]])
    # 2 and 1 are the ranker's: 2 stands second in both sources, 1 first in source 1. Then 3; then the fallback.
    assert rows == [(2, 20, 0, 0), (1, 21, 1, 0), (3, 0, 0, 1), (7, 107, 2, 2), (6, 106, 2, 2)]


def test_a_champion_that_is_a_source_has_the_source_rung_and_its_own_scores():
    (rows,) = climbed([3], 1, [[[3, 2]], [[1, 2]], [[]]], [[]])
    assert rows == [(1, 10, 1, 1), (2, 11, 1, 1), (3, 0, 0, 1)]


def test_seen_unavailable_repeated_and_foreign_items_are_passed_over():
    available = [True, True, False, True, True, True, True, True]
    (rows,) = climbed([4], 2, [[[5, 3]], [[]], [[4, 2, 4, 9, -1, 1]]], [[1, 5]], available)
    # 4; not 2 (not available), 4 (there), 9, -1 (no items), 1 (seen). Not 5 (seen); 3. Then 7, 6.
    assert [row[0] for row in rows] == [4, 3, 7, 6]


def test_an_item_that_only_the_ranker_has_names_no_source():
    (rows,) = climbed([1], 1, [[[]], [[4]]], [[]])
    assert rows == [(4, 10, NO_SOURCE, 0)]


def test_fewer_than_k_only_where_no_more_are_eligible():
    rows = climbed([3, 3, 2], 1, [[[], [1], []], [[], [], []]], [[0, 1, 2, 3, 4, 5], range(8), []])
    assert [[row[0] for row in one] for one in rows] == [[7, 6], [], [7, 6]]


def test_fusion_by_hand_with_ties_by_item():
    offsets, items, _ = lists_of([[5, 3, 4]], [[4, 6, 5]], [[1, 6]])
    # 1/61 + 1/63 for 5 and 4 alike, then 6: 2/62 is less by convexity, then 1: 1/61, then 3: 1/62.
    assert 1 / 61 + 1 / 63 > 2 / 62 > 1 / 61 > 1 / 62
    assert fuse(0, offsets, items, 3).tolist() == [4, 5, 6, 1, 3]


def test_fusion_against_a_dictionary():
    rng = np.random.default_rng(2)
    for _ in range(50):
        columns = [[rng.permutation(12)[: rng.integers(0, 12)].tolist()] for _ in range(3)]
        expected = {}
        for column in columns:
            for place, item in enumerate(column[0]):
                expected.setdefault(item, []).append(place)
        order = sorted(expected, key=lambda item: (-sum(1 / (61 + place) for place in sorted(expected[item])), item))
        offsets, items, _ = lists_of(*columns)
        assert fuse(0, offsets, items, 3).tolist() == order


def test_best_source_by_place_then_first_named():
    offsets, items, _ = lists_of([[5, 3]], [[4, 3, 5]], [[9, 4]])
    assert best_source(3, 0, offsets, items, 3) == (0, 1)
    assert best_source(4, 0, offsets, items, 3) == (1, 2)
    assert best_source(9, 0, offsets, items, 2) == (NO_SOURCE, -1)


def test_count_seen_counts_available_items_only():
    assert count_seen(*ragged([[0, 1, 9], []]), np.array([True, False])).tolist() == [1, 0]


def explained(items, history, neighbours=(), vectors=(), rungs=None, n_because=2):
    """Reasons of each item of one request; neighbours (of, neighbour, score), vectors (item, vector)."""
    neighbours = sorted(neighbours, key=lambda row: row[0])
    of, other, score = (np.array([row[j] for row in neighbours], dtype=kind) for j, kind in enumerate((np.int64, np.int64, np.float32)))
    vectors_of = np.array([row[0] for row in vectors], dtype=np.int64)
    matrix = np.array([row[1] for row in vectors], dtype=np.float32).reshape(len(vectors), -1) if vectors else np.zeros((0, 1), np.float32)
    rungs = np.zeros(len(items), dtype=np.int32) if rungs is None else np.array(rungs, dtype=np.int32)
    found = explain(
        np.array([len(items)]),
        np.array(items, dtype=np.int32),
        rungs,
        np.array([[*history, -1]], dtype=np.int32),
        np.array([len(history)]),
        n_because,
        of,
        other,
        score,
        vectors_of,
        matrix,
    )
    return [[item for item in row if item >= 0] for row in found.tolist()]


def test_reasons_are_the_most_similar_either_way():
    # 9 is a neighbour of 1 (0.2) and has 2 as neighbour (0.5) and 3 (0.1).
    neighbours = [(1, 9, 0.2), (9, 2, 0.5), (9, 3, 0.1), (9, 1, 0.05)]
    assert explained([9], [1, 2, 3], neighbours) == [[2, 1]]
    assert explained([9], [1, 2, 3], neighbours, n_because=0) == [[]]


def test_equal_similarities_go_to_the_later_event_and_an_item_is_named_once():
    assert explained([9], [2, 1, 2, 3], [(9, 1, 0.5), (9, 2, 0.5)]) == [[2, 1]]
    assert explained([9], [2, 1], [(9, 1, 0.5), (9, 2, 0.5)]) == [[1, 2]]


def test_without_similar_items_cosine_then_the_latest_events():
    vectors = [(1, [1, 1]), (2, [0, 2]), (3, [-1, 0]), (9, [5, 0]), (10, [0, 0])]
    # cos(9, 1) = 0.71, cos(9, 2) = 0, cos(9, 3) = -1; 10 has no direction; 11 has no vector.
    assert explained([9, 10, 11], [1, 2, 3], vectors=vectors) == [[1], [3, 2], [3, 2]]


def test_an_item_is_no_reason_for_itself_by_its_own_vector():
    assert explained([1], [1, 2], vectors=[(1, [1, 0]), (2, [1, 1])]) == [[2]]


def test_no_reasons_without_history_or_on_the_popularity_rung():
    assert explained([9], [], [(9, 1, 0.5)]) == [[]]
    assert explained([9, 8], [1], [(9, 1, 0.5)], rungs=[2, 1]) == [[], [1]]


@pytest.mark.parametrize("counts", [[2, 1], [0, 3], [3, 0]])
def test_reasons_stay_with_their_request(counts):
    found = explain(
        np.array(counts),
        np.array([7, 8, 9], dtype=np.int32),
        np.zeros(3, dtype=np.int32),
        np.array([[1], [2]], dtype=np.int32),
        np.array([1, 1]),
        1,
        *(np.zeros(0, kind) for kind in (np.int64, np.int64, np.float32)),
        np.zeros(0, dtype=np.int64),
        np.zeros((0, 1), dtype=np.float32),
    )
    assert found.ravel().tolist() == [1] * counts[0] + [2] * counts[1]
