"""The n items with the largest products of a user's and an item's vector: exact, the promising items first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.frozen import frozen
from recspark.kernels.masks import Mask, is_masked
from recspark.kernels.selection import Lists, empty_lists, offer, settle
from recspark.kernels.topk import places_of

# Items whose products with a user are made at once: 2,048 scores stay in the first cache, their vectors in the second.
ITEM_TILE = 2048
# A row of a tile is longer: at a distance of a power of two, an item's factors would all want the same few cache lines.
_TILE_ROW = ITEM_TILE + 16


class ItemFactors(NamedTuple):
    """The items' side of the product, as `item_factors` makes it once a task. The vectors are not copied: they may be a mapped file."""

    ids: np.ndarray  # [N] int32: the item index of each row
    vectors: np.ndarray  # [N x R] float32
    biases: np.ndarray  # [N] float32
    order: np.ndarray  # [N] rows, longest vector first
    norms: np.ndarray  # [N] float64, in that order
    best_biases: np.ndarray  # [N] float32: the largest bias from there on, in that order
    rank_of: np.ndarray  # [largest id + 1] by item index, its place in that order; -1: none


def item_factors(ids: np.ndarray, vectors: np.ndarray, biases: np.ndarray) -> ItemFactors:
    """`ids` [N] names the item indexes of the rows of `vectors` [N x R] and `biases` [N]."""
    ids, vectors, biases = frozen(ids, np.int32), frozen(vectors, np.float32), frozen(biases, np.float32)
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)) if len(vectors) else np.empty(0)
    order = np.argsort(-norms, kind="stable")
    best = np.maximum.accumulate(biases[order][::-1])[::-1]
    rank_of = places_of(ids[order])
    return ItemFactors(
        ids,
        vectors,
        biases,
        frozen(order, np.int64),
        frozen(norms[order], np.float64),
        frozen(best, np.float32),
        frozen(rank_of, np.int64),
    )


@njit(cache=True)
def _may_enter(users, user_biases, norms, item_norm, item_bias, rows, lists, is_open):  # type: ignore[no-untyped-def]
    """Close the rows that no item of at most this norm and bias can enter (Cauchy-Schwarz, and what rounding may add); any left?"""
    any_open = False
    for at, row in enumerate(rows):
        product = norms[row] * item_norm
        slack = (users.shape[1] + 4) * 2.0**-23 * (product + abs(user_biases[row]) + abs(item_bias))
        is_open[at] = is_open[at] and not product + item_bias + user_biases[row] + slack < lists.least_scores[row]
        any_open = any_open or is_open[at]
    return any_open


@njit(cache=True, fastmath={"contract"})
def _score(user, user_bias, columns, biases, n, scores):  # type: ignore[no-untyped-def]
    """The user's product with each of the first n columns [R x n], factor by factor: one order of sums, whoever else is scored."""
    scores[:n] = 0.0
    for factor in range(user.size):
        weight, column = user[factor], columns[factor]
        for at in range(n):
            scores[at] += weight * column[at]
    for at in range(n):
        scores[at] += biases[at] + user_bias


@njit(cache=True)
def _gather(items, places, n, columns, ids, biases):  # type: ignore[no-untyped-def]
    for at in range(n):
        place = places[at]
        ids[at], biases[at] = items.ids[place], items.biases[place]
        for factor in range(columns.shape[0]):
            columns[factor, at] = items.vectors[place, factor]


@njit(cache=True)
def _of_all_items(users, user_biases, norms, items, mask, rows, lists):  # type: ignore[no-untyped-def]
    n_items, rank = items.vectors.shape
    columns, ids = np.empty((rank, _TILE_ROW), np.float32), np.empty(ITEM_TILE, np.int32)
    biases, scores = np.empty(ITEM_TILE, np.float32), np.empty(ITEM_TILE, np.float32)
    is_unsettled, any_unsettled = np.ones(rows.size, np.bool_), rows.size > 0
    while any_unsettled:
        is_open = is_unsettled.copy()
        for first in range(0, n_items, ITEM_TILE):
            if not _may_enter(users, user_biases, norms, items.norms[first], items.best_biases[first], rows, lists, is_open):
                break
            n = min(ITEM_TILE, n_items - first)
            _gather(items, items.order[first:], n, columns, ids, biases)
            for at in range(n):
                if ids[at] < 0 or ids[at] >= mask.available.size or not mask.available[ids[at]]:
                    biases[at] = np.nan
            for at, row in enumerate(rows):
                if not is_open[at]:
                    continue
                _score(users[row], user_biases[row], columns, biases, n, scores)
                for item in mask.seen_items[mask.seen_offsets[row] : mask.seen_offsets[row + 1]]:
                    if 0 <= item < items.rank_of.size and first <= items.rank_of[item] < first + n:
                        scores[items.rank_of[item] - first] = np.nan
                offer(ids, scores, n, mask.quota, lists, row)
        any_unsettled = False
        for at, row in enumerate(rows):
            is_unsettled[at] = is_unsettled[at] and settle(mask.quota, lists, row)
            any_unsettled = any_unsettled or is_unsettled[at]


@njit(cache=True)
def _of_allow_lists(users, user_biases, items, mask, rows, lists):  # type: ignore[no-untyped-def]
    """Only what is allowed is scored, a tile at a time; once, where it is no more than one."""
    columns, ids = np.empty((users.shape[1], _TILE_ROW), np.float32), np.empty(ITEM_TILE, np.int32)
    biases, scores = np.empty(ITEM_TILE, np.float32), np.empty(ITEM_TILE, np.float32)
    for row in rows:
        allow = mask.allow_items[mask.allow_offsets[row] : mask.allow_offsets[row + 1]]
        places, n = np.empty(allow.size, np.int64), 0
        for item in allow:
            if 0 <= item < items.rank_of.size and items.rank_of[item] >= 0 and not is_masked(item, mask, row):
                places[n] = items.order[items.rank_of[item]]
                n += 1
        is_scored, is_open = False, True
        while is_open:
            for first in range(0, n, ITEM_TILE):
                size = min(ITEM_TILE, n - first)
                if not is_scored:
                    _gather(items, places[first:], size, columns, ids, biases)
                    _score(users[row], user_biases[row], columns, biases, size, scores)
                offer(ids, scores, size, mask.quota, lists, row)
            is_scored, is_open = n <= ITEM_TILE, settle(mask.quota, lists, row)


def top_items_by_factors(
    user_vectors: np.ndarray, user_biases: np.ndarray, items: ItemFactors, mask: Mask, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """The n items with the largest user_vectors [B x R] . items.vectors [N x R] + items.biases [N] + user_biases [B], a row a user.

    Scores are summed in single precision, factor by factor: a user's do not depend on who shares the batch. Items come in
    tiles, longest vectors first, and a user is done where no item that is left can enter the list: a product is at most the
    product of the lengths (as in LEMP, Teflioudi et al., SIGMOD 2015; the result is exact). With an allow list only its items
    are scored. Memory: ITEM_TILE vectors, 24 n + 256 bytes a row of the batch, and 8 an item of one allow list.

    Raises:
        ValueError: n < 1, or users and items differ in the number of factors.
    """
    lists: Lists = empty_lists(len(user_vectors), n, mask.quota)
    users, biases = frozen(user_vectors, np.float32), frozen(user_biases, np.float32)
    if len(users) == 0 or len(items.ids) == 0:
        return lists.items, lists.scores
    if users.shape[1] != items.vectors.shape[1]:
        raise ValueError(f"users have {users.shape[1]} factors and items {items.vectors.shape[1]}: both must come from one fit")
    norms = np.sqrt(np.einsum("ij,ij->i", users, users, dtype=np.float64))
    _of_all_items(users, biases, norms, items, mask, np.flatnonzero(~mask.has_allow), lists)
    _of_allow_lists(users, biases, items, mask, np.flatnonzero(mask.has_allow), lists)
    return lists.items, lists.scores
