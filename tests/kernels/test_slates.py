import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.errors import ContractError
from recspark.kernels.slates import describe_catalogue, feature_names, slate_features

CATEGORIES = np.array([[3, 4], [3, 2], [5, 1], [1, 2], [4, 5]], np.int32)
# Items 0, 2 and 4 were learnt from.
CATALOGUE = describe_catalogue(
    np.array([0, 2, 4], np.int32), np.array([math.e - 1, math.e**2 - 1, 0.0]), np.array([0.0, math.e - 1, 9.0], np.float32), CATEGORIES
)


def features_of(slates, histories, n_sources, catalogue=CATALOGUE):
    """`slates`: a list of (item, positions, scores) each."""
    flat = [entry for slate in slates for entry in slate]
    return slate_features(
        np.cumsum([0, *map(len, slates)]),
        np.array([entry[0] for entry in flat], np.int32),
        np.array([entry[1] for entry in flat], np.int32).reshape(len(flat), n_sources),
        np.array([entry[2] for entry in flat], np.float32).reshape(len(flat), n_sources),
        np.cumsum([0, *map(len, histories)]),
        np.array([item for history in histories for item in history], np.int32),
        catalogue,
    )


def test_names_are_three_a_source_and_six():
    assert feature_names(["als", "popular"]) == [
        "als_found",
        "als_reciprocal_position",
        "als_score",
        "popular_found",
        "popular_reciprocal_position",
        "popular_score",
        "popularity",
        "recency",
        "category_match",
        "category_match_recent",
        "n_sources",
        "blended_reciprocal_position",
    ]


def test_the_catalogue_counts_items_that_were_not_learnt_from():
    # Logs of popularity: 1, 0, 2, 0, 0.
    assert pytest.approx(3 / 5) == CATALOGUE.mean
    assert pytest.approx(math.sqrt(5 / 5 - 0.36)) == CATALOGUE.std
    assert CATALOGUE.oldest == 9.0


def test_two_slates_by_hand():
    slates = [[(0, (0, -1), (3.0, 0.0)), (2, (3, 1), (1.0, 7.0)), (3, (-1, 0), (0.0, 7.0))], [(1, (0, -1), (5.0, 0.0))]]
    # Of items 0 {2, 3}, 1 {2} and 4 {3, 4}, the last the latest: weights 1/3, 1/2, 1.
    histories = [[0, 1, 4], []]
    mean, std = CATALOGUE.mean, CATALOGUE.std
    total = 1 / 3 + 1 / 2 + 1
    expected = [
        # found, 1 / (1 + position), (3 - 2) / 1; not found; item 0 shares with 0, 1 and 4
        [1, 1, 1, 0, 0, 0, (1 - mean) / std, 0, 1, 1, 1, 1],
        # item 2 {4} shares with 4
        [1, 1 / 4, -1, 1, 1 / 2, 0, (2 - mean) / std, 1, 1 / 3, 1 / total, 2, 1 / 2],
        # item 3 is unknown: no code to share, and as old as the oldest
        [0, 0, 0, 1, 1, 0, -mean / std, math.log(10), 0, 0, 1, 1 / 3],
        [1, 1, 0, 0, 0, 0, -mean / std, math.log(10), 0, 0, 1, 1],
    ]
    got = features_of(slates, histories, 2)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_recent_matches_weigh_more():
    # 3 shares nothing with anybody; 1 shares {2} with 0.
    match, recent = features_of([[(1, (0,), (1.0,))]] * 2, [[0, 3], [3, 0]], 1)[:, 5:7].T
    np.testing.assert_allclose(match, [1 / 2, 1 / 2])
    np.testing.assert_allclose(recent, [(1 / 2) / (3 / 2), 1 / (3 / 2)])


def test_equal_scores_have_no_spread():
    slate = [(i, (i,), (0.1,)) for i in range(3)]
    np.testing.assert_array_equal(features_of([slate], [[]], 1)[:, 2], [0, 0, 0])


def test_nothing_learnt_and_no_candidates():
    bare = describe_catalogue(np.zeros(0, np.int32), np.zeros(0), np.zeros(0, np.float32), CATEGORIES)
    got = features_of([[(4, (0,), (1.0,))], []], [[0], []], 1, bare)
    np.testing.assert_array_equal(got, np.array([[1, 1, 0, 0, 0, 1, 1, 1, 1]], np.float32))
    assert features_of([[]], [[]], 2, bare).shape == (0, 12)


def test_negative_popularity_counts_as_none():
    disliked = describe_catalogue(np.array([1], np.int32), np.array([-5.0]), np.zeros(1, np.float32), CATEGORIES)
    assert (disliked.mean, disliked.std) == (0.0, 0.0)


def reference(slate, history, n_sources, popularity, ages):
    """`slate_features` of one slate, as the docstring says it. `popularity` and `ages` of every item, nan where not learnt from."""
    logs = np.log1p(np.nan_to_num(popularity))
    standardised = (logs - logs.mean()) / (logs.std() or 1)
    ages = np.where(np.isnan(ages), np.nanmax(ages) if len(ages[~np.isnan(ages)]) else 0, ages)
    rows = []
    for place, (item, positions, _) in enumerate(slate):
        row = []
        for s in range(n_sources):
            scores = np.array([entry[2][s] for entry in slate if entry[1][s] >= 0])
            found = positions[s] >= 0
            spread = scores.std() if len(set(scores.tolist())) > 1 else 0
            row += [
                found,
                found / (1 + positions[s]) if found else 0,
                (slate[place][2][s] - scores.mean()) / spread if found and spread else 0,
            ]
        shares = np.array([bool((set(CATEGORIES[item].tolist()) & set(CATEGORIES[h].tolist())) - {0, 1, 2}) for h in history], float)
        weights = 1 / np.arange(len(history), 0, -1)
        match = [shares.mean(), (shares * weights).sum() / weights.sum()] if history else [0, 0]
        row += [standardised[item], np.log1p(ages[item]), *match, sum(p >= 0 for p in positions), 1 / (1 + place)]
        rows.append(row)
    return np.array(rows, float).reshape(len(slate), 3 * n_sources + 6)


ITEM = st.integers(0, len(CATEGORIES) - 1)
SLATE = st.lists(
    st.tuples(ITEM, st.tuples(*[st.integers(-1, 20)] * 2), st.tuples(*[st.integers(-8, 8).map(float)] * 2)),
    max_size=6,
    unique_by=lambda e: e[0],
)
LEARNT = st.dictionaries(ITEM, st.tuples(st.floats(0, 1e4), st.integers(0, 400)), max_size=5)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(SLATE, st.lists(ITEM, max_size=4)), min_size=1, max_size=4), LEARNT)
def test_any_slates_equal_the_reference(requests, learnt):
    popularity, ages = (np.array([learnt.get(i, (np.nan, np.nan))[field] for i in range(len(CATEGORIES))], float) for field in (0, 1))
    known = np.flatnonzero(~np.isnan(ages)).astype(np.int32)
    catalogue = describe_catalogue(known, popularity[known], ages[known].astype(np.float32), CATEGORIES)
    slates, histories = [slate for slate, _ in requests], [history for _, history in requests]
    expected = np.concatenate([reference(slate, history, 2, popularity, ages) for slate, history in requests])
    np.testing.assert_allclose(features_of(slates, histories, 2, catalogue), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("items", [[5], [-1]])
def test_refuses_items_beyond_the_catalogue(items):
    with pytest.raises(ContractError, match="candidate items run from"):
        features_of([[(items[0], (0,), (1.0,))]], [[]], 1)
    with pytest.raises(ContractError, match="history items run from"):
        features_of([[(0, (0,), (1.0,))]], [items], 1)


def test_refuses_arrays_that_do_not_fit():
    one, none = np.array([0, 1]), np.array([0, 0])
    item, table = np.zeros(1, np.int32), np.zeros((1, 2), np.int32)
    history = np.zeros(0, np.int32)
    with pytest.raises(ContractError, match="one history a request"):
        slate_features(one, item, table, table[:, :1].astype(np.float32), none, history, CATALOGUE)
    with pytest.raises(ContractError, match="one history a request"):
        slate_features(one, item, table, table.astype(np.float32), np.array([0]), history, CATALOGUE)
    with pytest.raises(ContractError, match="begin at 0"):
        slate_features(np.array([0, 2]), item, table, table.astype(np.float32), none, history, CATALOGUE)
