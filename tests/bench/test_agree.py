"""The checks that outputs agree say no where they do not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from tests.bench import agree
from tests.bench.agree import Lists, implicit_loss, lists_agree, losses_agree, neighbours_agree, tables_agree

# Users x items. Items 0 and 1 share two users, 0 and 2 one, 1 and 2 one, 3 stands alone.
MATRIX = csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]], np.float32))
HALF = 1 / np.sqrt(2)


def lists(*rows: list[tuple[int, float]], k: int = 2) -> Lists:
    padded = [[*row, *[(-1, 0.0)] * (k - len(row))] for row in rows]
    return Lists(np.array([[item for item, _ in row] for row in padded]), np.array([[score for _, score in row] for row in padded], float))


def test_loss_is_the_dense_objective(monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(1)
    known = random.random((7, 5)) < 0.4
    users, items = np.nonzero(known)
    vectors = random.normal(size=(7, 3)).astype(np.float32), random.normal(size=(5, 3)).astype(np.float32)
    confidence = np.where(known, 1 + 2.5, 1.0)
    dense = (confidence * (known - vectors[0] @ vectors[1].T) ** 2).sum() + 0.3 * sum((both**2).sum() for both in vectors)
    assert implicit_loss(users, items, *vectors, alpha=2.5, reg=0.3) == pytest.approx(dense, rel=1e-5)
    monkeypatch.setattr(agree, "AT_ONCE", 4)
    assert implicit_loss(users, items, *vectors, alpha=2.5, reg=0.3) == pytest.approx(dense, rel=1e-5)


@pytest.mark.parametrize(("ours", "ok"), [(100.9, True), (101.1, False), (95.0, True), (80.0, False), (float("nan"), False)])
def test_losses(ours: float, ok: bool):
    assert losses_agree(ours, 100.0).ok is ok


def test_exact_neighbours():
    found = lists([(1, 1.0), (2, HALF)], [(0, 1.0), (2, HALF)], [])
    assert neighbours_agree(found, np.array([[2, 1], [2, 1], [0, 0]]), [0, 1, 3], MATRIX, min_support=1).ok
    assert neighbours_agree(lists([(1, 1.0)]), np.array([[2, 0]]), [0], MATRIX, min_support=2).ok
    # Which of two that tie is kept does not matter.
    assert neighbours_agree(lists([(0, HALF)], k=1), None, [2], MATRIX, min_support=1).ok
    assert neighbours_agree(lists([(1, HALF)], k=1), None, [2], MATRIX, min_support=1).ok


@pytest.mark.parametrize(
    ("found", "supports", "min_support", "said"),
    [
        (lists([(1, 1.0), (2, HALF)]), None, 2, "has 2 neighbours, not 1"),
        (lists([(1, 1.0)]), None, 1, "has 1 neighbours, not 2"),
        (lists([(1, 1.0), (1, 1.0)]), None, 1, "has 1 neighbours, not 2"),
        (lists([(1, 0.9), (2, HALF)]), None, 1, "a score is 0.1 off"),
        (lists([(2, HALF)], k=1), None, 1, "a better neighbour is missing"),
        (lists([(1, 1.0), (2, HALF)]), np.array([[2, 2]]), 1, "a support is wrong"),
    ],
)
def test_wrong_neighbours(found: Lists, supports: np.ndarray | None, min_support: int, said: str):
    check = neighbours_agree(found, supports, [0], MATRIX, min_support=min_support)
    assert not check.ok
    assert said in check.said


NOTHING_SEEN = [np.array([], int)]


@pytest.mark.parametrize(
    "peer",
    [
        lists([(5, 3.0), (6, 2.0)]),
        # 7 ties with 6, the last.
        lists([(5, 3.0), (7, 2.0)]),
        lists([(5, 3.00001), (6, 2.0)]),
    ],
)
def test_equal_lists(peer: Lists):
    assert lists_agree(lists([(5, 3.0), (6, 2.0)]), peer, NOTHING_SEEN).ok


@pytest.mark.parametrize(
    ("peer", "seen", "said"),
    [
        (lists([(5, 3.0)]), [], "2 items against 1"),
        (lists([(5, 3.0), (6, 2.1)]), [], "scores differ by 0.1"),
        (lists([(8, 3.0), (6, 2.0)]), [], "items differ that do not tie"),
        (lists([(5, 3.0), (6, 2.0)]), [6, 9], "an item that was seen"),
    ],
)
def test_different_lists(peer: Lists, seen: list[int], said: str):
    check = lists_agree(lists([(5, 3.0), (6, 2.0)]), peer, [np.array(seen, int)])
    assert not check.ok
    assert said in check.said


def test_an_item_that_stands_twice_and_empty_lists():
    assert not lists_agree(lists([(5, 3.0), (5, 3.0)]), lists([(5, 3.0), (6, 3.0)]), NOTHING_SEEN).ok
    assert lists_agree(lists([]), lists([]), NOTHING_SEEN).ok


def table(scores: list[float], lists: list[list[float]], idx: tuple[int, ...] = (1, 2)) -> pa.Table:
    return pa.table({"kind": ["item"] * len(idx), "idx": list(idx), "score": scores, "vector": lists})


def test_tables_in_another_order_and_within_rounding_agree():
    one, other = table([0.5, 0.25], [[1.0, 2.0], [3.0, 4.0]]), table([0.25, 0.5001], [[3.0, 4.0], [1.0, 2.0]], idx=(2, 1))
    assert tables_agree(one, other).ok
    assert not tables_agree(one, other, tolerance=1e-5).ok


@pytest.mark.parametrize(
    "other",
    [
        table([0.5, 0.35], [[1.0, 2.0], [3.0, 4.0]]),
        table([0.5, 0.25], [[1.0, 2.0], [3.0, 4.1]]),
        table([0.5, 0.25], [[1.0, 2.0], [3.0]]),
        table([0.5, 0.25], [[1.0, 2.0], [3.0, 4.0]], idx=(1, 3)),
        table([0.5], [[1.0, 2.0]], idx=(1,)),
    ],
)
def test_different_tables(other: pa.Table):
    assert not tables_agree(table([0.5, 0.25], [[1.0, 2.0], [3.0, 4.0]]), other).ok
