"""The features of a slate's candidates. Plain arrays, so that an online service computes the same numbers as the river."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.columns import FIRST_CATEGORY, NOT_FOUND
from recspark.errors import ContractError

_EACH_SOURCE = ("found", "reciprocal_position", "score")
_OF_ITEM = ("popularity", "recency", "category_match", "category_match_recent", "n_sources", "blended_reciprocal_position")
_N_EACH_SOURCE = len(_EACH_SOURCE)


class Catalogue(NamedTuple):
    """What slate features need of the items. Arrays may be memory-mapped; only entries that are asked for are read."""

    item_idx: np.ndarray  # [P] int32, ascending: the items that were learnt from
    log_popularity: np.ndarray  # [P] float64: log(1 + score)
    age: np.ndarray  # [P] float32: days from the item's latest event to the latest of all
    categories: np.ndarray  # [n_items, C] int32: codes of every item of the index
    mean: float  # of log popularity over all n_items, 0 for those that were not learnt from
    std: float  # population standard deviation of the same
    oldest: float  # the largest age: that of items which were not learnt from


def describe_catalogue(item_idx: np.ndarray, score: np.ndarray, age: np.ndarray, categories: np.ndarray) -> Catalogue:
    """The catalogue with its constants. `item_idx` ascending [P], `score` and `age` [P], `categories` [n_items, C]."""
    log_popularity = np.log1p(np.maximum(np.asarray(score, np.float64), 0.0))
    n_items = max(len(categories), 1)
    mean = float(log_popularity.sum() / n_items)
    std = float(np.sqrt(max(np.square(log_popularity).sum() / n_items - mean**2, 0.0)))
    oldest = float(np.max(age)) if len(age) else 0.0
    return Catalogue(np.asarray(item_idx), log_popularity, np.asarray(age), np.asarray(categories), mean, std, oldest)


def feature_names(sources: Sequence[str]) -> list[str]:
    """The names of the F columns of `slate_features`: three a source, then six."""
    return [f"{source}_{name}" for source in sources for name in _EACH_SOURCE] + list(_OF_ITEM)


def _popularity_and_age(items: np.ndarray, catalogue: Catalogue) -> tuple[np.ndarray, np.ndarray]:
    """Standardised log popularity and age of each item, [N] float64; of items not learnt from those of score 0, oldest."""
    logs, ages = np.zeros(len(items)), np.full(len(items), catalogue.oldest)
    if len(catalogue.item_idx):
        at = np.minimum(np.searchsorted(catalogue.item_idx, items), len(catalogue.item_idx) - 1)
        known = catalogue.item_idx[at] == items
        logs[known], ages[known] = catalogue.log_popularity[at[known]], catalogue.age[at[known]]
    return (logs - catalogue.mean) / (catalogue.std or 1.0), ages


@njit(cache=True)
def _fill_source_features(offsets: np.ndarray, positions: np.ndarray, scores: np.ndarray, out: np.ndarray) -> None:
    n_sources = positions.shape[1]
    for r in range(offsets.size - 1):
        begin, end = offsets[r], offsets[r + 1]
        for s in range(n_sources):
            n, total = 0, 0.0
            for i in range(begin, end):
                if positions[i, s] != NOT_FOUND:
                    n += 1
                    total += scores[i, s]
            mean = total / n if n else 0.0
            squares = 0.0
            for i in range(begin, end):
                if positions[i, s] != NOT_FOUND:
                    squares += (scores[i, s] - mean) ** 2
            std = np.sqrt(squares / n) if n else 0.0
            # Equal scores differ from their mean by rounding only: that is no spread.
            flat = std <= 1e-9 * abs(mean)
            for i in range(begin, end):
                if positions[i, s] != NOT_FOUND:
                    out[i, 3 * s] = 1.0
                    out[i, 3 * s + 1] = 1.0 / (1.0 + positions[i, s])
                    out[i, 3 * s + 2] = 0.0 if flat else (scores[i, s] - mean) / std


@njit(cache=True)
def _share_category(categories: np.ndarray, a: int, b: int) -> bool:
    for i in range(categories.shape[1]):
        code = categories[a, i]
        if code >= FIRST_CATEGORY:
            for j in range(categories.shape[1]):
                if categories[b, j] == code:
                    return True
    return False


@njit(cache=True)
def _fill_item_features(
    offsets: np.ndarray,
    items: np.ndarray,
    positions: np.ndarray,
    history_offsets: np.ndarray,
    history_items: np.ndarray,
    categories: np.ndarray,
    out: np.ndarray,
    first: int,
) -> None:
    n_sources = positions.shape[1]
    for r in range(offsets.size - 1):
        begin, end = history_offsets[r], history_offsets[r + 1]
        weights = 0.0
        for j in range(begin, end):
            weights += 1.0 / (end - j)
        for i in range(offsets[r], offsets[r + 1]):
            matches, weighted = 0, 0.0
            for j in range(begin, end):
                if _share_category(categories, items[i], history_items[j]):
                    matches += 1
                    weighted += 1.0 / (end - j)
            if end > begin:
                out[i, first] = matches / (end - begin)
                out[i, first + 1] = weighted / weights
            n_found = 0
            for s in range(n_sources):
                n_found += positions[i, s] != NOT_FOUND
            out[i, first + 2] = n_found
            out[i, first + 3] = 1.0 / (1.0 + i - offsets[r])


def _check(
    offsets: np.ndarray,
    items: np.ndarray,
    positions: np.ndarray,
    scores: np.ndarray,
    history_offsets: np.ndarray,
    history_items: np.ndarray,
    catalogue: Catalogue,
) -> None:
    n = len(items)
    if positions.shape != scores.shape or positions.ndim != 2 or len(positions) != n or len(offsets) != len(history_offsets):
        raise ContractError(
            f"slates of {len(offsets) - 1} requests: {n} items, positions {positions.shape}, scores {scores.shape}, "
            f"{len(history_offsets) - 1} histories; they must be N, [N, sources], [N, sources] and one history a request"
        )
    if offsets[0] != 0 or offsets[-1] != n or history_offsets[0] != 0 or history_offsets[-1] != len(history_items):
        raise ContractError("slates: offsets must begin at 0 and end at the number of items; take them of arrays that are not sliced")
    # Checked once here: compiled loops would read beyond the array without a word.
    for what, idx in (("candidate", items), ("history", history_items)):
        if len(idx) and not 0 <= idx.min() <= idx.max() < len(catalogue.categories):
            raise ContractError(
                f"slates: {what} items run from {idx.min()} to {idx.max()}, but item_features has {len(catalogue.categories)} rows; "
                "rebuild item_features at this horizon"
            )


def slate_features(
    offsets: np.ndarray,
    items: np.ndarray,
    positions: np.ndarray,
    scores: np.ndarray,
    history_offsets: np.ndarray,
    history_items: np.ndarray,
    catalogue: Catalogue,
) -> np.ndarray:
    """Features of every candidate of R slates: [N, F] float32, columns as `feature_names`.

    `offsets` [R + 1] int64: slate r is entries offsets[r]:offsets[r + 1] of `items` [N] int32 (best blended first),
    `positions` [N, S] int32 (from 0, -1 where the source did not find the item) and `scores` [N, S] float32.
    `history_offsets` [R + 1] and `history_items` [H]: the histories, oldest first, without padding.

    Each source: found 0 or 1; 1 / (1 + position); its score less the mean, by the population standard deviation, of
    the slate's candidates that it found; all 0 where it did not find the item, the last also where its scores are equal.
    popularity = (log(1 + score) - mean) / std over the catalogue. recency = log(1 + age in days).
    category_match = share of the history that has a code (of `categories`, unknown and out of vocabulary left out) in common with the
    candidate; category_match_recent = the same weighted 1 for the latest event, 1/2 for the one before, 1/3 ...; both
    0 without a history. n_sources = sources that found the item. blended_reciprocal_position = 1 / (1 + place in the slate).

    Raises:
        ContractError: shapes that do not fit each other, or items beyond the catalogue.
    """
    _check(offsets, items, positions, scores, history_offsets, history_items, catalogue)
    first = _N_EACH_SOURCE * positions.shape[1]
    out = np.zeros((len(items), first + len(_OF_ITEM)))
    popularity, age = _popularity_and_age(items, catalogue)
    out[:, first], out[:, first + 1] = popularity, np.log1p(age)
    _fill_source_features(offsets, positions, np.asarray(scores, np.float64), out)
    _fill_item_features(offsets, items, positions, history_offsets, history_items, catalogue.categories, out, first + 2)
    return out.astype(np.float32)
