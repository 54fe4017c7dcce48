from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.kernels import cooccurrence
from recspark.kernels.cooccurrence import NO_SUMS, Rows, fold_rows, top_neighbours

Entry = tuple[int, int, float, int, int]


def _rows(dense: np.ndarray) -> Rows:
    users, items = np.nonzero(dense)
    return Rows(np.searchsorted(users, np.arange(len(dense) + 1)), items.astype(np.int32), dense[users, items].astype(float))


def _entries(rows: Rows, n_blocks: int, n: int, min_support: int, shrinkage: float, chunks: int = 1) -> list[Entry]:
    found: list[Entry] = []
    for block in range(n_blocks):
        sums, cuts = NO_SUMS, np.linspace(0, len(rows.offsets) - 1, chunks + 1).astype(int)
        parts = []
        for start, end in pairwise(cuts):
            low, high = rows.offsets[start], rows.offsets[end]
            parts.append(Rows(rows.offsets[start : end + 1] - low, rows.items[low:high], rows.weights[low:high]))
        for part in parts[:-1]:
            sums = fold_rows(sums, part, block, n_blocks)
        for some in top_neighbours(sums, parts[-1], block, n_blocks, n=n, min_support=min_support, shrinkage=shrinkage):
            found += zip(*(column.tolist() for column in some), strict=True)
    return sorted(found, key=lambda entry: (entry[0], entry[4]))


def _reference(dense: np.ndarray, n: int, min_support: int, shrinkage: float) -> list[Entry]:
    dots, supports = dense.T @ dense, (dense > 0).astype(int).T @ (dense > 0).astype(int)
    found: list[Entry] = []
    for i in range(dense.shape[1]):
        pairs = [
            (-np.float32(dots[i, j] * (supports[i, j] / (supports[i, j] + shrinkage))), j, supports[i, j])
            for j in range(dense.shape[1])
            if j != i and supports[i, j] >= max(min_support, 1)
        ]
        found += [(i, j, float(-score), int(support), place) for place, (score, j, support) in enumerate(sorted(pairs)[:n])]
    return found


def test_three_histories_by_hand() -> None:
    # Items 0 and 1 share users 0 and 1: 1*2 + 1*1 = 3, times 2 / (2 + 2). Items 0 and 2 share user 1: 1*3 = 3, times 1 / (1 + 2).
    dense = np.array([[1, 2, 0], [1, 1, 3], [0, 0, 1]])
    assert _entries(_rows(dense), 1, 5, 1, 2.0)[:2] == [(0, 1, 1.5, 2, 0), (0, 2, 1.0, 1, 1)]
    assert _entries(_rows(dense), 1, 5, 2, 2.0) == [(0, 1, 1.5, 2, 0), (1, 0, 1.5, 2, 0)]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_blocks_and_chunks_equal_the_dense_product(data: st.DataObject) -> None:
    seed, n_blocks, chunks = data.draw(st.integers(0, 2**32 - 1)), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    n, min_support, shrinkage = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3)), data.draw(st.sampled_from([0.0, 1.5, 10.0]))
    rng = np.random.default_rng(seed)
    dense = rng.integers(1, 4, (rng.integers(1, 9), rng.integers(1, 9)))
    dense = dense * (rng.random(dense.shape) < 0.6)
    assert _entries(_rows(dense), n_blocks, n, min_support, shrinkage, chunks) == _reference(dense, n, min_support, shrinkage)


def test_one_item_everyone_has_and_one_user_with_everything() -> None:
    dense = np.eye(40, dtype=int)
    dense[:, 0] = 1
    dense[7] = 1
    assert _entries(_rows(dense), 3, 10, 1, 10.0, 2) == _reference(dense, 10, 1, 10.0)


def test_chunks_and_blocks_change_no_bit_of_any_weights() -> None:
    rng = np.random.default_rng(5)
    rows = _rows(rng.random((60, 25)) * (rng.random((60, 25)) < 0.5))
    once = _entries(rows, 1, 24, 1, 10.0)
    assert len(once) == 25 * 24
    assert once == _entries(rows, 4, 24, 1, 10.0, 1) == _entries(rows, 3, 24, 1, 10.0, 7)


def test_many_items_leave_in_parts(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    rows = _rows(np.ones((3, 10), int))
    once = _entries(rows, 2, 4, 1, 0.0)
    monkeypatch.setattr(cooccurrence, "ITEMS_AT_ONCE", 2)
    assert _entries(rows, 2, 4, 1, 0.0) == once


def test_the_buffer_of_sums_grows() -> None:
    # 60 x 60 pairs are more than the 1,024 that the buffer of sums begins with.
    dense = np.ones((4, 60), int)
    assert _entries(_rows(dense), 1, 5, 1, 1.0, 2) == _reference(dense, 5, 1, 1.0)
