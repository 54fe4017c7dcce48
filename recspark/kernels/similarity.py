"""How alike two items are, from what their histories have in common; or two users, where histories are items' users.

Of a pair (i, j): n_ij the number of histories that hold both, dot the sum over them of a(u, i) a(u, j). Of an item: n_i, the
number of histories that hold it, and a sum over them. N: the number of histories. A directed count n_ij (j after i) may stand
in for the symmetric one.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numba import njit

# cosine (Sarwar et al., WWW 2001): dot / (|i| |j|), |i| the root of the sum of squares of a(u, i); asymmetric (Aiolli, RecSys
#   2013): dot / (|i|^(2 asymmetry) |j|^(2 - 2 asymmetry)).
# jaccard: n_ij / (n_i + n_j - n_ij).
# pearson (Koren, TKDD 4(1), 2010, section 2.2): dot / sqrt(sum a(u, i)^2 * sum a(u, j)^2), all three over the n_ij alone.
# lift: n_ij N / (n_i n_j), how many times more often together than by chance.
# llr (Dunning, Computational Linguistics 19(1), 1993): twice the log likelihood ratio of the 2 x 2 table of who has i and who
#   has j, 2 sum observed log(observed / expected); 0 where they meet no more often than by chance.
# conditional (Deshpande and Karypis, TOIS 22(1), 2004, section 4.2): (n_ij / n_i) / n_j^alpha.
Similarity = Literal["cosine", "jaccard", "pearson", "lift", "llr", "conditional"]
# Where shrinkage enters: on the support, score * n_ij / (n_ij + shrinkage) (Bell and Koren, ICDM 2007); or on the norm,
# dot / (|i| |j| + shrinkage + 1e-6), which only cosine has (Ferrari Dacrema et al., RecSys 2019).
ShrinkageForm = Literal["support", "norm"]
NORM_FLOOR = 1e-6

PRODUCT, QUOTIENT, JACCARD, PEARSON, LLR = range(5)
# A correlation up to here is what single precision left of none: each of the values is off by 2^-24 of itself, their dot product
# by at most 2^-23 of the norms' (Cauchy and Schwarz), and as much again for the means.
ROUNDED = 2.0**-22
# What a bound of a score is multiplied by: more than any rounding.
SLACK = 1.000001
# How many pairs `worth_offering` looks at together, at most.
STRETCH = 1024


class Measure(NamedTuple):
    """A formula of the pair, and what it needs of the items, by item index."""

    formula: int  # PRODUCT: dot * (left_i * right_j); QUOTIENT: dot / (left_i * right_j + in_norm); others of n alone
    left: np.ndarray  # float64 [n_items]
    right: np.ndarray  # float64 [n_items]
    counts: np.ndarray  # int64 [n_items]
    n_histories: float
    in_norm: float
    on_support: float
    symmetric: bool  # (i, j) and (j, i) score alike


def measure_of(
    similarity: Similarity | Literal["walk"],
    counts: np.ndarray,
    sums: np.ndarray,
    n_histories: int,
    *,
    shrinkage: float,
    form: ShrinkageForm = "support",
    alpha: float = 0.0,
    beta: float = 0.0,
    asymmetry: float = 0.5,
) -> Measure:
    """`counts` and `sums` [n_items]: cosine wants the sums of squares, walk (RP3beta) those of the values.

    walk: dot / (sum_i^alpha sum_j^beta); conditional: alpha is the exponent of n_j; asymmetry: cosine's, .5 is the
    plain one. Items in no history have no factor: 0.
    """

    def power(base: np.ndarray, exponent: float) -> np.ndarray:
        return np.power(base.astype(np.float64), exponent, out=np.zeros(len(base)), where=base > 0)

    formula, left = PRODUCT, power(counts, 0.0)
    right = left
    if similarity == "cosine":
        formula, sign = (QUOTIENT, 1.0) if form == "norm" else (PRODUCT, -1.0)
        left = right = power(sums, sign * asymmetry)
        if asymmetry != 0.5:
            right = power(sums, sign * (1.0 - asymmetry))
    elif similarity == "conditional":
        left, right = power(counts, -1.0), power(counts, -alpha)
    elif similarity == "walk":
        left, right = power(sums, -alpha), power(sums, -beta)
    elif similarity == "lift":
        left, right = n_histories * power(counts, -1.0), power(counts, -1.0)
    else:
        formula = {"jaccard": JACCARD, "pearson": PEARSON, "llr": LLR}[similarity]
    in_norm = shrinkage + NORM_FLOOR if form == "norm" else 0.0
    on_support = 0.0 if form == "norm" else shrinkage
    return Measure(formula, left, right, counts, n_histories, in_norm, on_support, left is right)


@njit(cache=True)
def _of_table(both: float, n_i: float, n_j: float, n: float) -> float:
    """Dunning's statistic of the 2 x 2 table with margins n_i and n_j of n."""
    if both * n <= n_i * n_j:
        return 0.0
    total = 0.0
    for observed, row, column in (
        (both, n_i, n_j),
        (n_i - both, n_i, n - n_j),
        (n_j - both, n - n_i, n_j),
        (n - n_i - n_j + both, n - n_i, n - n_j),
    ):
        if observed > 0:
            total += observed * np.log(observed * n / (row * column))
    return 2.0 * total


@njit(cache=True)
def score_of(formula, left, right, n_i, n_j, n_histories, in_norm, on_support, dot, support, square_i, square_j):  # type: ignore[no-untyped-def]
    """The score of j as a neighbour of i, in single precision: rounded before it is compared, equal in the table means equal here.

    Numbers only: numba counts references to arrays that are passed on, which costs more than the arithmetic of a pair.
    """
    if formula == PRODUCT:
        # In this order (i, j) and (j, i) round alike where left is right.
        score = dot * (left * right)
    elif formula == QUOTIENT:
        score = dot / (left * right + in_norm)
    elif formula == JACCARD:
        score = support / (n_i + n_j - support)
    elif formula == PEARSON:
        norm = np.sqrt(square_i * square_j)
        score = dot / norm if dot > ROUNDED * norm else 0.0
    else:
        score = _of_table(support, n_i, n_j, n_histories)
    if on_support > 0:
        score *= support / (support + on_support)
    return np.float32(score)


@njit(cache=True)
def worth_offering(  # type: ignore[no-untyped-def]
    first,
    end,
    formula,
    by_steps,
    there,
    back,
    dots,
    left,
    right,
    left_i,
    right_i,
    on_support,
    min_support,
    least,
    least_i,
    both,
    room,
    others,
):
    """Of the others `first` to `end`, those of enough support whose score can be among the best of i, or (`both`) i among theirs.

    In `others`, ascending: how many. Most are worth nothing: short loops without branches look at several at once. `room`: bool and
    float64 [STRETCH], to work in.
    """
    keep, bounds = room
    there, back, dots = there[first:end], back[first:end], dots[first:end]
    left, right, least = left[first:end], right[first:end], least[first:end]
    for place in range(there.size):
        keep[place] = max(there[place], back[place]) >= min_support
    if formula == PRODUCT:
        for place in range(there.size):
            dot = float(max(there[place], back[place])) if by_steps else float(dots[place])
            bounds[place] = dot * max(left_i * right[place], left[place] * right_i) * SLACK
        if on_support > 0:
            for place in range(there.size):
                most = float(max(there[place], back[place]))
                bounds[place] *= most / (most + on_support)
        for place in range(there.size):
            keep[place] &= bounds[place] >= (min(least_i, least[place]) if both else least_i)
    n = 0
    for place in range(there.size):
        others[n] = first + place
        n += keep[place]
    return n


@njit(cache=True)
def _scores(formula, left, right, counts, n_histories, in_norm, on_support, i, j, supports):  # type: ignore[no-untyped-def]
    scores = np.empty(i.size, np.float32)
    for pair in range(i.size):
        one, other, both = i[pair], j[pair], float(supports[pair])
        n_i, n_j = float(counts[one]), float(counts[other])
        scores[pair] = score_of(formula, left[one], right[other], n_i, n_j, n_histories, in_norm, on_support, both, both, 0.0, 0.0)
    return scores


def scores_of(measure: Measure, i: np.ndarray, j: np.ndarray, supports: np.ndarray) -> np.ndarray:
    """`score_of` each pair of columns of ones, whose dot product is the support."""
    scores: np.ndarray = _scores(*measure[:4], float(measure.n_histories), *measure[5:7], i, j, supports)
    return scores
