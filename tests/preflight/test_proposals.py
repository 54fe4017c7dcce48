"""Forecasts of proposals against what real lists hold and what histories add up of them: within a factor of 2."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recspark.kernels.adding import DOT
from recspark.kernels.cooccurrence import Block, by_popularity, no_sums, top_neighbours
from recspark.kernels.ease import invert_upper, top_weights
from recspark.kernels.packing import as_histories
from recspark.kernels.similarity import measure_of
from recspark.preflight.proposals import als_candidates_work, ease_candidates_work, list_candidates_work
from recspark.preflight.similarity import item_knn_work
from recspark.preflight.work import Place
from tests.preflight.counted import WORLDS, activity, capped, pairs_of, within
from tests.preflight.test_forecasts import KNN


def test_candidates_by_hand():
    found = activity(WORLDS["few users"])
    items = len(np.unique(WORLDS["few users"].items))
    work = als_candidates_work(found, {"n_candidates": 10, "rank": 16}, Place(2))
    assert (work.pairs, work.flops) == (40 * items, 2 * 40 * items * 16)
    assert work.driver_bytes == 3 * items * (4 * 16 + 12)


@pytest.mark.parametrize("lists_of", ["history", "candidates"])
@pytest.mark.parametrize(("n", "min_support"), [(20, 1), (20, 2), (100, 2)])
@pytest.mark.parametrize("name", WORLDS)
def test_proposals_from_lists(name: str, n: int, min_support: int, lists_of: str):
    """What real lists hold, and what histories of 10 items add up of them."""
    pairs = pairs_of(WORLDS[name])
    knobs = {
        **KNN,
        "n_candidates": 10,
        "n_neighbours": n,
        "min_support": min_support,
        "lists_of": lists_of,
        "max_history": 10,
        "max_length": 30,
    }
    work = list_candidates_work(activity(WORLDS[name]), knobs, Place(2))
    histories = as_histories(pairs[:, 0], pairs[:, 1].astype(np.int32), np.ones(len(pairs)), limit=500, seed=1)
    counts = np.bincount(pairs[:, 1])
    measure = measure_of("cosine", counts, counts.astype(float), len(histories.users), shrinkage=10.0)
    block = Block(0, 1, by_popularity(counts), True, DOT, 1)
    found = top_neighbours(block, no_sums(block), histories, measure, n=n, min_support=min_support)
    lengths = np.bincount(found.items if lists_of == "history" else found.others, minlength=len(counts))
    assert within(2, work.published_rows, len(found.items))
    assert within(2, work.pairs, lengths[capped(pairs, 10)[:, 1]].sum())
    assert work.published_rows == item_knn_work(activity(WORLDS[name]), knobs, Place(2)).published_rows
    assert work.driver_bytes == pytest.approx(3 * 28 * work.published_rows)


@pytest.mark.parametrize("n", [20, None])
@pytest.mark.parametrize("name", WORLDS)
def test_proposals_from_ease(name: str, n: int | None):
    """Lists are cut by column: a popular item stands in those of nearly all."""
    pairs = pairs_of(WORLDS[name])
    ids, items = np.unique(pairs[:, 1], return_inverse=True)
    matrix = csr_matrix((np.ones(len(pairs)), (pairs[:, 0], items))).toarray()
    weights = matrix.T @ matrix
    invert_upper(weights, 500.0)
    lengths = np.bincount(np.concatenate([np.searchsorted(ids, found.idx) for found in top_weights(weights, ids, n)]), minlength=len(ids))
    work = ease_candidates_work(activity(WORLDS[name]), {"n_candidates": 10, "n_neighbours": n}, Place(2))
    assert within(1.5, work.published_rows, lengths.sum())  # some weights are 0
    assert within(2, work.pairs, lengths[items].sum())
