"""The n items with the largest products of a user's and an item's vector: exact, in tiles, the promising items first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from recspark.kernels.frozen import frozen
from recspark.kernels.masks import Mask, is_masked
from recspark.kernels.selection import Lists, choose, empty_lists, offer, settle
from recspark.kernels.topk import places_of

# Every product is computed as a full tile of users, the last one padded with zeros: BLAS may sum in another order for
# another shape, and a user's scores must not depend on who shares the batch. A power of two leaves no odd edge.
USER_TILE = 256
# Likewise of items; 256 x 2,048 scores are 2 MB: they stay in the cache between the product and the selection.
ITEM_TILE = 2048


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
    return ItemFactors(
        ids,
        vectors,
        biases,
        frozen(order, np.int64),
        frozen(norms[order], np.float64),
        frozen(best, np.float32),
        frozen(places_of(ids[order]), np.int64),
    )


@njit(cache=True)
def _may_enter(norms, user_biases, item_norm, item_bias, rank, rows, lists, is_open):  # type: ignore[no-untyped-def]
    """Close the rows that no item of at most this norm and bias can enter (Cauchy-Schwarz, and what rounding may add); any left?"""
    any_open = False
    for at, row in enumerate(rows):
        product = norms[at] * item_norm
        slack = (rank + 4) * 2.0**-23 * (product + abs(user_biases[row]) + abs(item_bias))
        is_open[at] = is_open[at] and not product + item_bias + user_biases[row] + slack < lists.least_scores[row]
        any_open = any_open or is_open[at]
    return any_open


@njit(cache=True)
def _offer_tile(products, first, ids, item_biases, rank_of, user_biases, mask, rows, lists, is_open):  # type: ignore[no-untyped-def]
    for at, row in enumerate(rows):
        if not is_open[at]:
            continue
        scores, user_bias = products[at], user_biases[row]
        for column in range(ids.size):
            scores[column] = scores[column] + item_biases[column] + user_bias
        for item in mask.seen_items[mask.seen_offsets[row] : mask.seen_offsets[row + 1]]:
            if 0 <= item < rank_of.size and first <= rank_of[item] < first + ids.size:
                scores[rank_of[item] - first] = np.nan
        offer(ids, scores, ids.size, mask.quota, lists, row)


@njit(cache=True)
def _settle_tile(mask, rows, lists, again):  # type: ignore[no-untyped-def]
    any_open = False
    for at, row in enumerate(rows):
        again[at] = again[at] and settle(mask.quota, lists, row)
        any_open = any_open or again[at]
    return any_open


@njit(cache=True)
def _of_allow_lists(user_vectors, user_biases, items, mask, rows, lists):  # type: ignore[no-untyped-def]
    """Only what is allowed is scored, one item after the other: each product is summed in double precision, then rounded."""
    for row in rows:
        allow = mask.allow_items[mask.allow_offsets[row] : mask.allow_offsets[row + 1]]
        scores = np.full(allow.size, np.nan, np.float32)
        for at, item in enumerate(allow):
            if 0 <= item < items.rank_of.size and items.rank_of[item] >= 0 and not is_masked(item, mask, row):
                place, product = items.order[items.rank_of[item]], 0.0
                for factor in range(items.vectors.shape[1]):
                    product += float(user_vectors[row, factor]) * float(items.vectors[place, factor])
                scores[at] = np.float32(product) + items.biases[place] + user_biases[row]
        choose(allow, scores, allow.size, mask, lists, row)


def _is_available(ids: np.ndarray, mask: Mask) -> np.ndarray:
    return (ids >= 0) & (ids < mask.available.size) & np.append(mask.available, False)[np.minimum(ids, mask.available.size)]


def _of_all_items(users: np.ndarray, user_biases: np.ndarray, items: ItemFactors, mask: Mask, rows: np.ndarray, lists: Lists) -> None:
    """The lists of one tile of users: `rows`, at most USER_TILE of them."""
    rank = users.shape[1]
    tile, factors = np.zeros((USER_TILE, rank), np.float32), np.zeros((ITEM_TILE, rank), np.float32)
    products = np.empty((USER_TILE, ITEM_TILE), np.float32)
    tile[: rows.size] = users[rows]
    norms = np.sqrt(np.einsum("ij,ij->i", tile, tile, dtype=np.float64))
    again = np.ones(rows.size, np.bool_)
    any_open = True
    while any_open:
        is_open = again.copy()
        for first in range(0, len(items.ids), ITEM_TILE):
            if not _may_enter(norms, user_biases, items.norms[first], items.best_biases[first], rank, rows, lists, is_open):
                break
            columns = items.order[first : first + ITEM_TILE]
            np.take(items.vectors, columns, axis=0, out=factors[: columns.size])
            np.matmul(tile, factors.T, out=products)
            ids = items.ids[columns]
            biases = np.where(_is_available(ids, mask), items.biases[columns], np.float32(np.nan))
            _offer_tile(products, first, ids, biases, items.rank_of, user_biases, mask, rows, lists, is_open)
        any_open = _settle_tile(mask, rows, lists, again)


def top_items_by_factors(
    user_vectors: np.ndarray, user_biases: np.ndarray, items: ItemFactors, mask: Mask, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """The n items with the largest user_vectors [B x R] . items.vectors [N x R] + items.biases [N] + user_biases [B], a row a user.

    Products are made tile by tile (single precision), so memory is USER_TILE x ITEM_TILE scores, whatever B and N are. Items
    come in the order of their vectors' lengths, and a tile of users ends where no item that is left can enter any of its lists:
    a product is at most the product of the lengths (as in LEMP, Teflioudi et al., SIGMOD 2015; the result stays exact).
    With an allow list only its items are scored.

    Raises:
        ValueError: n < 1, or users and items differ in the number of factors.
    """
    lists = empty_lists(len(user_vectors), n, mask.quota)
    users, biases = frozen(user_vectors, np.float32), frozen(user_biases, np.float32)
    if len(users) == 0 or len(items.ids) == 0:
        return lists.items, lists.scores
    if users.shape[1] != items.vectors.shape[1]:
        raise ValueError(f"users have {users.shape[1]} factors and items {items.vectors.shape[1]}: both must come from one fit")
    rows = np.flatnonzero(~mask.has_allow)
    for start in range(0, rows.size, USER_TILE):
        _of_all_items(users, biases, items, mask, rows[start : start + USER_TILE], lists)
    _of_allow_lists(users, biases, items, mask, np.flatnonzero(mask.has_allow), lists)
    return lists.items, lists.scores
