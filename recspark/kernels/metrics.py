"""Figures of one list against one request's positives, and their Poisson bootstrap. Plain arrays in, plain arrays out."""

from __future__ import annotations

import numpy as np
from numba import njit

from recspark.columns import FIRST_CATEGORY
from recspark.kernels.masks import contains

# The columns that `measure_lists` fills for each k, in order.
LIST_METRICS = ("precision", "recall", "f1", "hit_rate", "map", "mrr", "ndcg", "novelty", "diversity", "popularity_share")
# The columns that `measure_slates` fills.
SLATE_METRICS = ("auc", "accuracy", "base_rate")
# No place in any list; places in lists are counted from 0 and stay below.
NOT_LISTED = np.uint8(255)

_N_LIST_METRICS = len(LIST_METRICS)
# P(X <= x) of a Poisson variable X with mean 1, for x = 0, 1, ...
_POISSON = np.cumsum(np.exp(-1.0) / np.cumprod(np.array([1.0, *range(1, 18)])))


@njit(cache=True)
def rank_metrics(hits: np.ndarray, n_positives: int, ks: np.ndarray, num: np.ndarray, den: np.ndarray) -> None:
    """Accuracy of one ranked list with binary relevance, at each k.

    `hits[j]` says that place j (from 0) holds a positive, n = `n_positives` > 0. Missing places count as misses.

        precision@k = hits in the first k / k
        recall@k    = hits in the first k / n
        f1@k        = 2 * precision * recall / (precision + recall), 0 without a hit
        hit_rate@k  = 1 where the first k hold a hit
        map@k       = sum over hits at place j < k of (hits up to and with j) / (j + 1), divided by min(k, n)
        mrr@k       = 1 / (1 + place of the first hit), 0 when it is not among the first k
        ndcg@k      = sum over hits at j < k of 1 / log2(j + 2), divided by the same sum over the first min(k, n) places

    Sources: Manning, Raghavan, Schuetze, Introduction to Information Retrieval, ch. 8; Jarvelin, Kekalainen 2002 (ndcg).
    `num` and `den` ([K * 10]) get the figures and 1s in their places; they hold zeros before.
    """
    for i in range(ks.size):
        k = ks[i]
        n_hits, average, first, gain, ideal = 0, 0.0, 0.0, 0.0, 0.0
        for j in range(min(k, hits.size)):
            if hits[j]:
                n_hits += 1
                average += n_hits / (j + 1.0)
                gain += 1.0 / np.log2(j + 2.0)
                if n_hits == 1:
                    first = 1.0 / (j + 1.0)
        for j in range(min(k, n_positives)):
            ideal += 1.0 / np.log2(j + 2.0)
        precision, recall = n_hits / k, n_hits / n_positives
        at = i * _N_LIST_METRICS
        num[at] = precision
        num[at + 1] = recall
        num[at + 2] = 2.0 * precision * recall / (precision + recall) if n_hits > 0 else 0.0
        num[at + 3] = 1.0 if n_hits > 0 else 0.0
        num[at + 4] = average / min(k, n_positives)
        num[at + 5] = first
        num[at + 6] = gain / ideal
        den[at : at + 7] = 1.0


@njit(cache=True)
def _known_categories(codes: np.ndarray, out: np.ndarray) -> int:
    """Distinct codes of the vocabulary (not padding, unknown or out of vocabulary), ascending, into `out`; returns how many."""
    n = 0
    for code in np.sort(codes):
        if code >= FIRST_CATEGORY and (n == 0 or out[n - 1] != code):
            out[n] = code
            n += 1
    return n


@njit(cache=True)
def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """|A and B| / |A or B| of two ascending arrays of distinct codes, not both empty."""
    i, j, common = 0, 0, 0
    while i < a.size and j < b.size:
        if a[i] == b[j]:
            common += 1
            i += 1
            j += 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return common / (a.size + b.size - common)


@njit(cache=True)
def beyond_metrics(
    items: np.ndarray, ks: np.ndarray, novelty: np.ndarray, popular: np.ndarray, categories: np.ndarray, num: np.ndarray, den: np.ndarray
) -> None:
    """Novelty, diversity and popularity share of one list, at each k. A figure that is not defined leaves `den` at 0.

        novelty@k          = mean over the first k of `novelty[item]` (bits); NaN entries are left out
        diversity@k        = 1 - mean Jaccard overlap of the category sets, over the pairs of the first k that both have any
        popularity_share@k = share of the first k that are `popular`; not defined where no item is

    Sources: Vargas, Castells 2011 (novelty as self-information of free discovery); Ziegler et al. 2005 (intra-list similarity).
    `novelty` [n_items], `popular` [n_items] boolean, `categories` [n_items x C] codes.
    """
    longest = min(ks.max(), items.size)
    sets = np.empty((longest, categories.shape[1]), dtype=np.int32)
    sizes = np.zeros(longest, dtype=np.int64)
    for j in range(longest):
        if 0 <= items[j] < categories.shape[0]:
            sizes[j] = _known_categories(categories[items[j]], sets[j])
    any_popular = popular.any()
    for i in range(ks.size):
        at = i * _N_LIST_METRICS
        n = min(ks[i], items.size)
        bits, n_bits, n_popular, overlap, n_pairs = 0.0, 0, 0, 0.0, 0
        for j in range(n):
            if 0 <= items[j] < novelty.size:
                if not np.isnan(novelty[items[j]]):
                    bits += novelty[items[j]]
                    n_bits += 1
                if popular[items[j]]:
                    n_popular += 1
            for other in range(j):
                if sizes[j] > 0 and sizes[other] > 0:
                    overlap += jaccard(sets[j, : sizes[j]], sets[other, : sizes[other]])
                    n_pairs += 1
        if n_bits > 0:
            num[at + 7], den[at + 7] = bits / n_bits, 1.0
        if n_pairs > 0:
            num[at + 8], den[at + 8] = 1.0 - overlap / n_pairs, 1.0
        if n > 0 and any_popular:
            num[at + 9], den[at + 9] = n_popular / n, 1.0


@njit(cache=True)
def settle_ties(
    offsets: np.ndarray, items: np.ndarray, scores: np.ndarray, positive_offsets: np.ndarray, positives: np.ndarray, positives_first: bool
) -> np.ndarray:
    """`items`, of each run of equal scores the positives first, or last: what ties can do for a model at most, or against it.

    With positives last a model that gives every item one score is as bad as it is, and not as good as the order of the items happens
    to be; both together say how much rests on ties.
    """
    ordered = items.copy()
    for i in range(offsets.size - 1):
        begin = offsets[i]
        while begin < offsets[i + 1]:
            end = begin + 1
            while end < offsets[i + 1] and scores[end] == scores[begin]:
                end += 1
            at = begin
            for is_positive in (positives_first, not positives_first):
                for j in range(begin, end):
                    if contains(positives, positive_offsets[i], positive_offsets[i + 1], items[j]) == is_positive:
                        ordered[at] = items[j]
                        at += 1
            begin = end
    return ordered


@njit(cache=True)
def measure_lists(
    offsets: np.ndarray,
    items: np.ndarray,
    positive_offsets: np.ndarray,
    positives: np.ndarray,
    ks: np.ndarray,
    novelty: np.ndarray,
    popular: np.ndarray,
    categories: np.ndarray,
    num: np.ndarray,
    den: np.ndarray,
) -> None:
    """Every list figure of n requests: `num`, `den` [n x K * 10], zeros before; [i, at] as LIST_METRICS at k = ks[at // 10].

    `positives` are ascending within a request. A request without positives has no accuracy; one without a list has accuracy 0
    and nothing beyond it. An item that stands twice in a list is a hit once.
    """
    for i in range(offsets.size - 1):
        listed = items[offsets[i] : offsets[i + 1]][: ks.max()]
        wanted = positives[positive_offsets[i] : positive_offsets[i + 1]]
        if wanted.size > 0:
            hits = np.zeros(listed.size, dtype=np.bool_)
            for j in range(listed.size):
                hits[j] = contains(wanted, 0, wanted.size, listed[j])
                for earlier in range(j):
                    if hits[j] and listed[earlier] == listed[j]:
                        hits[j] = False
            rank_metrics(hits, wanted.size, ks, num[i], den[i])
        if listed.size > 0:
            beyond_metrics(listed, ks, novelty, popular, categories, num[i], den[i])


@njit(cache=True)
def measure_slates(
    offsets: np.ndarray,
    items: np.ndarray,
    scores: np.ndarray,
    positive_offsets: np.ndarray,
    positives: np.ndarray,
    num: np.ndarray,
    den: np.ndarray,
) -> None:
    """How a ranker's scores part positives from the rest, within each request that has positives: `num`, `den` [n x 3].

        auc       = P(score of a positive > score of another) + P(equal) / 2, over the pairs of one slate (Hanley, McNeil 1982);
                    not defined for slates of one class
        accuracy  = candidates where "yes" to the p highest-scored, p being the slate's positives, agrees with being positive
                    (den: candidates). No threshold on scores: a softmax loss leaves open what they are counted from
        base_rate = candidates that are positive (den: candidates): saying "no" always is accurate for 1 - base_rate of them

    The slates are best first (equal scores in the list's order), so that one walk down the list counts the pairs.
    """
    for i in range(offsets.size - 1):
        wanted = positives[positive_offsets[i] : positive_offsets[i + 1]]
        if wanted.size == 0:
            continue
        n_positive, n_negative, pairs = 0, 0, 0.0
        j, end = offsets[i], offsets[i + 1]
        while j < end:
            score, tied_positive, tied_negative = scores[j], 0, 0
            while True:
                if contains(wanted, 0, wanted.size, items[j]):
                    tied_positive += 1
                else:
                    tied_negative += 1
                j += 1
                if j == end or scores[j] != score:
                    break
            pairs += tied_negative * (n_positive + 0.5 * tied_positive)
            n_positive += tied_positive
            n_negative += tied_negative
        if n_positive > 0 and n_negative > 0:
            num[i, 0], den[i, 0] = pairs / (n_positive * n_negative), 1.0
        n_found = 0
        for item in items[offsets[i] : offsets[i] + n_positive]:
            n_found += contains(wanted, 0, wanted.size, item)
        # Each positive that is missed is one wrong "no" and stands for one wrong "yes".
        num[i, 1], den[i, 1] = n_positive + n_negative - 2 * (n_positive - n_found), n_positive + n_negative
        num[i, 2], den[i, 2] = n_positive, n_positive + n_negative


@njit(cache=True)
def mark_listed(offsets: np.ndarray, items: np.ndarray, groups: np.ndarray, longest: int, first: np.ndarray) -> None:
    """Keep in `first` [groups x n_items] (uint8) the best place that any of the lists gives an item, of the first `longest`."""
    for i in range(offsets.size - 1):
        seen_by = first[groups[i]]
        for j in range(min(longest, offsets[i + 1] - offsets[i])):
            item = items[offsets[i] + j]
            if 0 <= item < seen_by.size and j < seen_by[item]:
                seen_by[item] = j


@njit(cache=True)
def _mix(x: np.uint64) -> np.uint64:
    """splitmix64's finaliser (Steele, Lea, Flood 2014): every bit of the result depends on every bit of `x`."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True)
def poisson_weight(request_idx: int, replicate: int, seed: int) -> int:
    """How often a request stands in a bootstrap replicate: Poisson(1), a pure function of its arguments; 1 in replicate 0."""
    if replicate == 0:
        return 1
    golden = np.uint64(0x9E3779B97F4A7C15)
    key = _mix(np.uint64(request_idx) + golden * np.uint64(seed + 1))
    uniform = (_mix(key + golden * np.uint64(replicate)) >> np.uint64(11)) * (1.0 / 9007199254740992.0)
    return int(np.searchsorted(_POISSON, uniform, side="right"))


@njit(cache=True)
def add_replicates(request_idx: np.ndarray, groups: np.ndarray, num: np.ndarray, den: np.ndarray, seed: int, sums: np.ndarray) -> None:
    """Add each request's figures, weighted, to every bootstrap replicate: `sums` [replicates x groups x 2 x F].

    Replicate 0 has every weight 1. The weights depend on the request alone, so all figures of a replicate see one sample:
    differences within a replicate are paired. Source: Chamandy et al. 2012, Estimating Uncertainty for Massive Data Streams.
    """
    for i in range(request_idx.size):
        for replicate in range(sums.shape[0]):
            weight = poisson_weight(request_idx[i], replicate, seed)
            if weight > 0:
                into = sums[replicate, groups[i]]
                for f in range(num.shape[1]):
                    into[0, f] += weight * num[i, f]
                    into[1, f] += weight * den[i, f]
