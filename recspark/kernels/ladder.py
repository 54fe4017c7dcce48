"""The ladder that fills a list of recommendations to its length, and the reasons for what it holds. Plain arrays in and out."""

from __future__ import annotations

import numpy as np
from numba import njit

from recspark.columns import NOT_FOUND
from recspark.kernels.masks import Mask, count_items, is_masked, takes_place

# Codes of columns.RUNGS: their places in it.
RANKER_RUNG, SOURCE_RUNG, POPULARITY_RUNG = 0, 1, 2
# "No source": what only the ranker's list held.
NO_SOURCE = -1
# How the rows of a source are explained that says of no item what it adds.
BY_NOTHING = -1


@njit(cache=True)
def best_source(positions: np.ndarray) -> int:
    """The source that places an item best, of its positions in the sources' lists; ties go to the first; NO_SOURCE if none has it."""
    best = NO_SOURCE
    for source in range(positions.size):
        if positions[source] != NOT_FOUND and (best == NO_SOURCE or positions[source] < positions[best]):
            best = source
    return best


@njit(cache=True)
def _place_of(item: int, items: np.ndarray, begin: int, end: int) -> int:
    """The place of `item` in items[begin:end]; -1 where it is not there."""
    for place in range(begin, end):
        if items[place] == item:
            return place
    return -1


@njit(cache=True)
def _is_added(item: int, mask: Mask, row: int, listed: np.ndarray, taken: np.ndarray) -> bool:
    """Whether the item comes into the list, and then is counted there."""
    return not is_masked(item, mask, row) and not (listed == item).any() and takes_place(item, mask.quota, taken)


@njit(cache=True)
def climb(
    ks: np.ndarray,
    history_lengths: np.ndarray,
    champion: int,
    own_offsets: np.ndarray,
    own_items: np.ndarray,
    own_scores: np.ndarray,
    offsets: np.ndarray,
    items: np.ndarray,
    positions: np.ndarray,
    scores: np.ndarray,
    mask: Mask,
    fallback: np.ndarray,
    fallback_scores: np.ndarray,
    popular_source: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fill each request's list rung by rung with items that the mask leaves, that have room, and are not in it yet.

    1. The champion's list.
    2. The candidates: what all sources propose, fused.
    3. `fallback`: every item, most popular first. A request without history has this rung alone: nothing speaks for any
       item but that others like it.

    Args:
        ks, history_lengths: [n] how many items each request asks for, and how many events it is known by.
        champion: a source's code, or the number of sources S for the ranker.
        own_offsets, own_items, own_scores: the champion's lists, offsets [n + 1].
        offsets, items: the candidates, best fused first, offsets [n + 1].
        positions, scores: [candidates x S] where each source places the candidate (-1 not at all), and its score.
        mask: what each request must not get, and how much of a category.
        fallback, fallback_scores: items in popularity order, and the scores they are given.
        popular_source: the code of popularity as a source.

    Returns:
        counts [n], then, of all requests one after the other: items, scores, sources, rungs. An item of the ranker's list has the
        ranker's score and names the source that places it best; an item of the second rung has that source's own score.
    """
    n, n_sources = ks.size, positions.shape[1]
    counts = np.zeros(n, dtype=np.int64)
    total = ks.sum()
    out_items, out_scores = np.empty(total, dtype=np.int32), np.empty(total, dtype=np.float32)
    out_sources, out_rungs = np.empty(total, dtype=np.int32), np.empty(total, dtype=np.int32)
    taken = np.zeros(mask.quota.n_categories, dtype=np.int64)
    at = 0
    for i in range(n):
        begin, end = at, at + ks[i]
        is_warm = history_lengths[i] > 0
        for j in range(own_offsets[i], own_offsets[i + 1]):
            if at == end or not is_warm:
                break
            item = own_items[j]
            if _is_added(item, mask, i, out_items[begin:at], taken):
                out_items[at], out_scores[at], out_sources[at], out_rungs[at] = item, own_scores[j], champion, SOURCE_RUNG
                if champion == n_sources:
                    place = _place_of(item, items, offsets[i], offsets[i + 1])
                    out_sources[at], out_rungs[at] = best_source(positions[place]) if place >= 0 else NO_SOURCE, RANKER_RUNG
                at += 1
        for j in range(offsets[i], offsets[i + 1]):
            if at == end or not is_warm:
                break
            item, source = items[j], best_source(positions[j])
            if _is_added(item, mask, i, out_items[begin:at], taken):
                out_items[at], out_scores[at], out_sources[at], out_rungs[at] = item, scores[j, source], source, SOURCE_RUNG
                at += 1
        for j in range(fallback.size):
            if at == end:
                break
            item = fallback[j]
            if _is_added(item, mask, i, out_items[begin:at], taken):
                out_items[at], out_scores[at], out_sources[at], out_rungs[at] = item, fallback_scores[j], popular_source, POPULARITY_RUNG
                at += 1
        counts[i] = at - begin
        count_items(out_items[begin:at], mask.quota, taken, -1)
    return counts, out_items[:at], out_scores[:at], out_sources[:at], out_rungs[:at]


@njit(cache=True)
def _similarity(one: int, other: int, of: np.ndarray, neighbours: np.ndarray, scores: np.ndarray) -> float:
    """The score of `other` among the neighbours of `one`; 0 when it is none of them."""
    for j in range(np.searchsorted(of, one, side="left"), np.searchsorted(of, one, side="right")):
        if neighbours[j] == other:
            return scores[j]
    return 0.0


@njit(cache=True)
def _cosine(one: int, other: int, of: np.ndarray, vectors: np.ndarray) -> float:
    i, j = np.searchsorted(of, one), np.searchsorted(of, other)
    if i == of.size or j == of.size or of[i] != one or of[j] != other:
        return 0.0
    dot, a, b = 0.0, 0.0, 0.0
    for d in range(vectors.shape[1]):
        x, y = float(vectors[i, d]), float(vectors[j, d])
        dot += x * y
        a += x * x
        b += y * y
    return dot / np.sqrt(a * b) if a > 0 and b > 0 else 0.0


@njit(cache=True)
def _take_best(past: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Write into `out` the items of `past` with the largest positive weights, earlier ones first among equals."""
    best = np.argsort(-weights, kind="mergesort")[: out.size]
    for place in range(best.size):
        if weights[best[place]] > 0:
            out[place] = past[best[place]]


@njit(cache=True)
def _weigh_by_neighbours(item: int, past: np.ndarray, similar: tuple[np.ndarray, np.ndarray, np.ndarray], weights: np.ndarray) -> None:
    of, neighbours, scores = similar
    for j in range(past.size):
        weights[j] = _similarity(past[j], item, of, neighbours, scores)


@njit(cache=True)
def _weigh_by_vectors(item: int, past: np.ndarray, of_items: tuple[np.ndarray, np.ndarray], weights: np.ndarray) -> None:
    of, vectors = of_items
    for j in range(past.size):
        weights[j] = _cosine(past[j], item, of, vectors)


@njit(cache=True)
def explain(
    counts: np.ndarray,
    items: np.ndarray,
    sources: np.ndarray,
    histories: np.ndarray,
    lengths: np.ndarray,
    available: np.ndarray,
    n_because: int,
    means: np.ndarray,
    similar: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...],
    vectors: tuple[tuple[np.ndarray, np.ndarray], ...],
) -> np.ndarray:
    """For each recommended item the history items that speak for it most, best first: [items x n_because], then -1.

    By the means of the source that made the row, and no other. A source of neighbours adds up the lists' scores over the history:
    the reasons are the items that add most. Of a source of vectors, the items whose vectors point as the item's does. Ties go to
    the later event. No item is its own reason, and none that is not available is named.

    Args:
        counts: [n] how many of `items` and `sources` are each request's.
        histories, lengths: [n x L] history items that may be named, oldest first, and how many of the L count.
        available: [n_items] bool, by item index; an item beyond its end is not available.
        means: by source (the last one of NO_SOURCE): a place in `similar`, behind those one in `vectors`, or BY_NOTHING.
        similar: (of, neighbours, scores), ascending by `of`: what an item of the history (`of`) adds to a neighbour; all of the same types.
        vectors: (of [m], vectors [m x D]), ascending by `of`; all of the same types.
    """
    because = np.full((items.size, n_because), -1, dtype=np.int32)
    begin = 0
    for i in range(counts.size):
        # Distinct, latest first.
        past, m = np.empty(lengths[i], dtype=np.int32), 0
        for j in range(lengths[i] - 1, -1, -1):
            item = histories[i, j]
            is_left_out = item >= available.size or not available[item]
            for one in past[:m]:
                is_left_out = is_left_out or one == item
            if not is_left_out:
                past[m] = item
                m += 1
        past = past[:m]
        weights = np.empty(m)
        for r in range(begin, begin + counts[i]):
            own = means[sources[r]]
            if own == BY_NOTHING:
                continue
            if own < len(similar):
                _weigh_by_neighbours(items[r], past, similar[own], weights)
            else:
                _weigh_by_vectors(items[r], past, vectors[own - len(similar)], weights)
            weights[past == items[r]] = 0.0
            _take_best(past, weights, because[r])
        begin += counts[i]
    return because
