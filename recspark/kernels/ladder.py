"""The ladder that fills a list of recommendations to its length, and the reasons for what it holds. Plain arrays in and out."""

from __future__ import annotations

import numpy as np
from numba import njit

# Codes of columns.RUNGS: their places in it.
RANKER_RUNG, SOURCE_RUNG, POPULARITY_RUNG = 0, 1, 2
# "No source": what only the ranker's list held.
NO_SOURCE = -1
# Reciprocal rank fusion's constant (Cormack, Clarke, Buettcher 2009).
FUSION = 60.0


@njit(cache=True)
def _contains(ascending: np.ndarray, value: int) -> bool:
    at = np.searchsorted(ascending, value)
    return bool(at < ascending.size and ascending[at] == value)


@njit(cache=True)
def _may_stand(item: int, available: np.ndarray, seen: np.ndarray, chosen: np.ndarray) -> bool:
    """Available, unseen and not chosen yet."""
    if item < 0 or item >= available.size or not available[item] or _contains(seen, item):
        return False
    return not (chosen == item).any()


@njit(cache=True)
def best_source(item: int, request: int, offsets: np.ndarray, items: np.ndarray, n_sources: int) -> tuple[int, int]:
    """(source, index into `items`) of the source that places `item` best; ties go to the first source; (NO_SOURCE, -1) if none has it."""
    source, at, best = NO_SOURCE, -1, 1 << 40
    for s in range(n_sources):
        begin = offsets[s, request]
        for j in range(begin, min(offsets[s, request + 1], begin + best)):
            if items[j] == item:
                source, at, best = s, j, j - begin
                break
    return source, at


@njit(cache=True)
def fuse(request: int, offsets: np.ndarray, items: np.ndarray, n_sources: int) -> np.ndarray:
    """The request's items of all sources, distinct, by (reciprocal rank fusion score descending, item).

    The score is the sum over the sources that hold the item of 1 / (60 + place), the place counted from 1.
    """
    n = 0
    for s in range(n_sources):
        n += offsets[s, request + 1] - offsets[s, request]
    all_items, shares, at = np.empty(n, dtype=np.int32), np.empty(n), 0
    for s in range(n_sources):
        for j in range(offsets[s, request], offsets[s, request + 1]):
            all_items[at], shares[at] = items[j], 1.0 / (FUSION + 1.0 + j - offsets[s, request])
            at += 1
    distinct, scores, m = np.empty(n, dtype=np.int32), np.zeros(n), 0
    # Best places first, then by item: the same places make the same sum, whichever sources they are from.
    by_share = np.argsort(-shares, kind="mergesort")
    for j in by_share[np.argsort(all_items[by_share], kind="mergesort")]:
        if m == 0 or distinct[m - 1] != all_items[j]:
            distinct[m] = all_items[j]
            m += 1
        scores[m - 1] += shares[j]
    return distinct[:m][np.argsort(-scores[:m], kind="mergesort")]


@njit(cache=True)
def climb(
    ks: np.ndarray,
    champion: int,
    offsets: np.ndarray,
    items: np.ndarray,
    scores: np.ndarray,
    n_sources: int,
    seen_offsets: np.ndarray,
    seen: np.ndarray,
    available: np.ndarray,
    fallback: np.ndarray,
    fallback_scores: np.ndarray,
    popular_source: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fill each request's list rung by rung with items that are available, unseen and not in it yet.

    1. The champion's list: `champion` is a source's place, or `n_sources` for the ranker, whose list then stands behind the sources'.
    2. What the sources propose, fused (`fuse`).
    3. `fallback`: every item, most popular first.

    Args:
        ks: [n] how many items each request asks for.
        offsets, items, scores: the lists of the sources (and the ranker), offsets [lists x n + 1] into items and scores.
        seen_offsets, seen: items that a request must not get, ascending within a request.
        available: [n_items] boolean.
        fallback, fallback_scores: items in popularity order, and the scores they are given.
        popular_source: the code of popularity as a source.

    Returns:
        counts [n], then, of all requests one after the other: items, scores, sources, rungs. An item of the ranker's list has the
        ranker's score and names the source that places it best; an item of the second rung has that source's own score.
    """
    n = ks.size
    counts = np.zeros(n, dtype=np.int64)
    total = ks.sum()
    out_items, out_scores = np.empty(total, dtype=np.int32), np.empty(total, dtype=np.float32)
    out_sources, out_rungs = np.empty(total, dtype=np.int32), np.empty(total, dtype=np.int32)
    at = 0
    for i in range(n):
        begin, end = at, at + ks[i]
        forbidden = seen[seen_offsets[i] : seen_offsets[i + 1]]
        for j in range(offsets[champion, i], offsets[champion, i + 1]):
            if at == end:
                break
            if _may_stand(items[j], available, forbidden, out_items[begin:at]):
                out_items[at], out_scores[at] = items[j], scores[j]
                out_sources[at], out_rungs[at] = champion, SOURCE_RUNG
                if champion == n_sources:
                    out_sources[at], out_rungs[at] = best_source(items[j], i, offsets, items, n_sources)[0], RANKER_RUNG
                at += 1
        if at < end:
            for item in fuse(i, offsets, items, n_sources):
                if at == end:
                    break
                if _may_stand(item, available, forbidden, out_items[begin:at]):
                    source, found = best_source(item, i, offsets, items, n_sources)
                    out_items[at], out_scores[at], out_sources[at], out_rungs[at] = item, scores[found], source, SOURCE_RUNG
                    at += 1
        for j in range(fallback.size):
            if at == end:
                break
            if _may_stand(fallback[j], available, forbidden, out_items[begin:at]):
                out_items[at], out_scores[at] = fallback[j], fallback_scores[j]
                out_sources[at], out_rungs[at] = popular_source, POPULARITY_RUNG
                at += 1
        counts[i] = at - begin
    return counts, out_items[:at], out_scores[:at], out_sources[:at], out_rungs[:at]


@njit(cache=True)
def count_seen(seen_offsets: np.ndarray, seen: np.ndarray, available: np.ndarray) -> np.ndarray:
    """[n] how many of each request's seen items are available: what they take away from it."""
    counts = np.zeros(seen_offsets.size - 1, dtype=np.int64)
    for i in range(counts.size):
        for item in seen[seen_offsets[i] : seen_offsets[i + 1]]:
            if 0 <= item < available.size and available[item]:
                counts[i] += 1
    return counts


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
def _take_best(past: np.ndarray, weights: np.ndarray, out: np.ndarray) -> bool:
    """Write into `out` the items of `past` with the largest positive weights, earlier ones first among equals; True if any."""
    n = 0
    for j in np.argsort(-weights, kind="mergesort"):
        if n == out.size or not weights[j] > 0:
            break
        out[n] = past[j]
        n += 1
    return n > 0


@njit(cache=True)
def explain(
    counts: np.ndarray,
    items: np.ndarray,
    rungs: np.ndarray,
    histories: np.ndarray,
    lengths: np.ndarray,
    n_because: int,
    neighbours_of: np.ndarray,
    neighbours: np.ndarray,
    neighbour_scores: np.ndarray,
    vectors_of: np.ndarray,
    vectors: np.ndarray,
) -> np.ndarray:
    """For each recommended item the history items that speak for it most, best first: [items x n_because], then -1.

    By similarity, the larger of the two ways in which either may be the other's neighbour; where no history item is similar, by
    cosine of the item vectors; where none is positive, the latest history items. Ties go to the later event. Items of the
    popularity rung have no reasons but popularity.

    Args:
        counts: [n] how many of `items` and `rungs` are each request's.
        histories, lengths: [n x L] history items, oldest first, and how many of the L count.
        neighbours_of, neighbours, neighbour_scores: the similarity lists, ascending by `neighbours_of`.
        vectors_of, vectors: [m] ascending items, [m x D].
    """
    because = np.full((items.size, n_because), -1, dtype=np.int32)
    begin = 0
    for i in range(counts.size):
        # Distinct, latest first.
        past, m = np.empty(lengths[i], dtype=np.int32), 0
        for j in range(lengths[i] - 1, -1, -1):
            known = False
            for one in past[:m]:
                known = known or one == histories[i, j]
            if not known:
                past[m] = histories[i, j]
                m += 1
        past = past[:m]
        weights = np.empty(m)
        for r in range(begin, begin + counts[i]):
            if rungs[r] == POPULARITY_RUNG or m == 0:
                continue
            item = items[r]
            for j in range(m):
                there = _similarity(past[j], item, neighbours_of, neighbours, neighbour_scores)
                back = _similarity(item, past[j], neighbours_of, neighbours, neighbour_scores)
                weights[j] = max(there, back)
            if _take_best(past, weights, because[r]):
                continue
            for j in range(m):
                weights[j] = 0.0 if past[j] == item else _cosine(past[j], item, vectors_of, vectors)
            if not _take_best(past, weights, because[r]):
                because[r, : min(m, n_because)] = past[:n_because]
        begin += counts[i]
    return because
