from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.kernels import cooccurrence
from recspark.kernels.adding import COUNT, DOT, MOMENTS, STEPS
from recspark.kernels.cooccurrence import Block, by_popularity, count, fold, no_sums, top_neighbours
from recspark.kernels.lists import Neighbours, close_lists, merge, offer, open_lists
from recspark.kernels.packing import Histories, as_histories, lot, rows_of_block, totals_of
from recspark.kernels.similarity import Measure, measure_of
from tests import dense

NO_LIMIT = (1 << 31) - 1


def histories_of(values: np.ndarray) -> Histories:
    """Compressed rows of dense values, in an order of users that is not ascending."""
    users, items = np.nonzero(values)
    order = np.argsort(users[::-1] % 3, kind="stable")[::1]
    users, items = users[::-1][order], items[::-1][order]
    return as_histories(users, items.astype(np.int32), values[users, items].astype(float), limit=10**9, seed=0)


def found_by(
    values: np.ndarray, mode: int, n_blocks: int, triangle: bool, chunks: int, similarity: str, n: int, least: int
) -> list[dense.Row]:
    """Every block's lists, merged; each block's histories in so many groups."""
    whole = histories_of(values)
    totals = totals_of(whole.items, np.square(whole.values))
    counts, sums = np.zeros(values.shape[1], np.int64), np.zeros(values.shape[1])
    counts[totals.items], sums[totals.items] = totals.counts, totals.high + totals.low
    measure = measure_of(similarity, counts, sums, len(whole.users), shrinkage=1.5, alpha=0.5)  # type: ignore[arg-type]
    return found_of(whole, counts, measure, mode, n_blocks, triangle, chunks, n, least)


def found_of(
    whole: Histories,
    counts: np.ndarray,
    measure: Measure,
    mode: int,
    n_blocks: int,
    triangle: bool,
    chunks: int,
    n: int,
    least: int,
    max_gap: int = NO_LIMIT,
) -> list[dense.Row]:
    """The same of histories; STEPS at most max_gap apart."""
    parts: list[Neighbours] = []
    for number in range(n_blocks):
        block = Block(number, n_blocks, by_popularity(counts), triangle, mode, max_gap)
        rows, carried = rows_of_block(whole, number, n_blocks), no_sums(block)
        groups = []
        for start, end in pairwise(np.linspace(0, len(rows.users), chunks + 1).astype(int)):
            low, high = rows.offsets[start], rows.offsets[end]
            groups.append(
                Histories(rows.users[start:end], rows.offsets[start : end + 1] - low, rows.items[low:high], rows.values[low:high])
            )
        for group in groups[:-1]:
            carried = fold(block, carried, group)
        parts.append(top_neighbours(block, carried, groups[-1], measure, n=n, min_support=least))
    lists = merge(Neighbours(*(np.concatenate(column) for column in zip(*parts, strict=True))), n)
    starts = np.flatnonzero(np.diff(lists.items, prepend=-1))
    positions = np.arange(len(lists.items)) - np.repeat(starts, np.diff(np.append(starts, len(lists.items))))
    return list(zip(*(column.tolist() for column in lists), positions.tolist(), strict=True))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_forms_blocks_and_groups_equal_the_dense_product(data: st.DataObject) -> None:
    seed, n_blocks, chunks = data.draw(st.integers(0, 2**32 - 1)), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    triangle, n, least = data.draw(st.booleans()), data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    of_counts = [(COUNT, name) for name in ("jaccard", "llr", "lift", "conditional")]
    mode, similarity = data.draw(st.sampled_from([(DOT, "cosine"), *of_counts]))
    x = dense.world(seed, n=2, high=data.draw(st.sampled_from([2, 5])))
    found = found_by(x, mode, n_blocks, triangle, chunks, similarity, n, least)
    held = (x > 0).astype(int)
    expected = dense.top(dense.scores(x, similarity), held.T @ held, n, least, 1.5)
    if mode == COUNT:
        # Counts are exact, and scores are compared in single precision: the same neighbours at the same places, ties and all.
        assert [row[:2] + row[3:] for row in found] == [row[:2] + row[3:] for row in expected]
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in expected], rtol=1e-5)


@pytest.mark.parametrize("mode", [COUNT, DOT, MOMENTS])
def test_one_item_everyone_has_and_one_user_with_everything(mode: int) -> None:
    x = np.eye(40)
    x[:, 0] = 1
    x[7] = 1
    held = x.astype(int)
    expected = dense.top(dense.scores(x, "cosine"), held.T @ held, 10, 1, 1.5)
    for n_blocks, triangle, chunks in ((1, True, 1), (3, True, 1), (3, False, 1), (3, True, 2), (2, False, 5)):
        found = found_by(x, mode, n_blocks, triangle, chunks, "cosine", 10, 1)
        dense.assert_close(found, expected)
        assert [row[:2] for row in found] == [row[:2] for row in expected]
        assert found == found_by(x, mode, 1, True, 1, "cosine", 10, 1)


def test_forms_and_blocks_change_no_bit_of_any_weights() -> None:
    rng = np.random.default_rng(5)
    x = rng.random((60, 25)) * (rng.random((60, 25)) < 0.5)
    once = found_by(x, DOT, 1, True, 1, "cosine", 24, 1)
    assert len(once) == 25 * 24
    assert once == found_by(x, DOT, 4, True, 1, "cosine", 24, 1) == found_by(x, DOT, 3, False, 1, "cosine", 24, 1)


def test_pairs_are_counted_in_parts(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    x = dense.world(1, n=6)
    held = (x > 0).astype(int)
    whole = histories_of(x)
    expected = {(i, j): n for (i, j), n in np.ndenumerate(np.triu(held.T @ held, 1)) if n}
    for at_once in (1, 5, 10**6):
        monkeypatch.setattr(cooccurrence, "PAIRS_AT_ONCE", at_once)
        found: dict[tuple[int, int], int] = {}
        for number in range(2):
            block = Block(number, 2, by_popularity(held.sum(0)), True, COUNT, NO_LIMIT)
            for one, other, support in count(block, no_sums(block), rows_of_block(whole, number, 2)):
                found |= {(min(i, j), max(i, j)): int(n) for i, j, n in zip(one, other, support, strict=True)}
        assert found == expected


@pytest.mark.parametrize("similarity", ["conditional", "lift"])
@pytest.mark.parametrize("max_gap", [1, 3, NO_LIMIT])
def test_steps_in_every_form_and_group_equal_a_count_by_hand(max_gap: int, similarity: str) -> None:
    """first[u, i]: the step at which user u came to item i; -1 never."""
    rng = np.random.default_rng(12)
    first = rng.integers(0, 6, (30, 14)) * (rng.random((30, 14)) < 0.5) - 1
    first[4] = np.arange(14)  # a user with everything
    first[:, 2] = np.maximum(first[:, 2], 0)  # an item that everyone has
    held, after = first >= 0, np.zeros((14, 14), int)
    for steps in first:
        gaps = steps[None, :] - steps[:, None]
        after += (gaps > 0) & (gaps <= max_gap) & np.outer(steps >= 0, steps >= 0)
    counts, n_users = held.sum(0), 30
    items = np.nonzero(held)[1]
    whole = Histories(np.arange(30), np.concatenate(([0], np.cumsum(held.sum(1)))), items.astype(np.int32), first[held].astype(np.int32))
    measure = measure_of(similarity, counts, counts, n_users, shrinkage=1.5, alpha=0.5)  # type: ignore[arg-type]
    score = after / counts[:, None] * (n_users / counts if similarity == "lift" else 1 / np.sqrt(counts))
    expected = [row[:2] + row[3:] for row in dense.top(score, after, 6, 2, 1.5)]
    assert len(expected) > 14
    for n_blocks, triangle, chunks in ((1, True, 1), (3, True, 1), (1, False, 1), (3, False, 1), (2, True, 4), (2, False, 4)):
        found = found_of(whole, counts, measure, STEPS, n_blocks, triangle, chunks, 6, 2, max_gap)
        assert [row[:2] + row[3:] for row in found] == expected


def test_steps_are_directed_and_limited() -> None:
    # One history: 0, then 1 and 2 together, then 3.
    rows = Histories(np.array([5]), np.array([0, 4]), np.arange(4, dtype=np.int32), np.array([0, 1, 1, 2], np.int32))
    counts = np.ones(4, np.int64)
    measure = measure_of("lift", counts, counts, 1, shrinkage=0.0)
    pairs = {}
    for max_gap in (1, 9):
        block = Block(0, 1, by_popularity(counts), True, STEPS, max_gap)
        lists = top_neighbours(block, no_sums(block), rows, measure, n=4, min_support=1)
        pairs[max_gap] = sorted(zip(lists.items.tolist(), lists.others.tolist(), strict=True))
    assert pairs == {1: [(0, 1), (0, 2), (1, 3), (2, 3)], 9: [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)]}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
def test_lists_keep_the_best_and_break_ties_by_item(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-1, 5, 60).astype(np.float32) / 4
    room = open_lists(1, n)
    for item in rng.permutation(60):
        offer(*room, 0, item, scores[item], item + 100)
    found = close_lists(room, np.array([8]))
    best = sorted((-score, item) for item, score in enumerate(scores.tolist()) if score > 0)[:n]
    assert list(zip(*(column.tolist() for column in found), strict=True)) == [(8, item, -score, item + 100) for score, item in best]
    with pytest.raises(ValueError, match="n = 0: the number of neighbours to keep must be at least 1"):
        open_lists(3, 0)


def test_entries_become_histories_in_whatever_order_they_come() -> None:
    users = np.array([10**12, 3, 3, 3, 10**12, 3])
    items, values = np.array([4, 2, 0, 2, 1, 0], np.int32), np.array([1.0, 0.1, 5.0, 0.3, 2.0, 7.0])
    for order in (np.arange(6), np.array([5, 3, 1, 0, 2, 4])):
        histories = as_histories(users[order], items[order], values[order], limit=9, seed=1)
        assert (histories.users.tolist(), histories.offsets.tolist()) == ([3, 10**12], [0, 2, 4])
        assert (histories.items.tolist(), histories.values.tolist()) == ([0, 2, 1, 4], [12.0, 0.1 + 0.3, 2.0, 1.0])
    # The first times are 50 and 1, 20 and 10.
    assert as_histories(users, items, (10 * values).astype(np.int64), limit=9, seed=1, steps=True).values.tolist() == [1, 0, 1, 0]
    capped = as_histories(users, items, values, limit=1, seed=1)
    assert capped.items.tolist() == [min((0, 2), key=lambda item: lot(3, item, 1)), min((1, 4), key=lambda item: lot(10**12, item, 1))]


def test_a_sample_of_a_history_keeps_its_gaps() -> None:
    """Nine items one after the other, of which three are drawn: they stay as many steps apart as they were."""
    items = np.arange(9, dtype=np.int32)
    drawn = sorted(range(9), key=lambda item: lot(3, item, 1))[:3]
    sample = as_histories(np.full(9, 3), items, 100 - 10 * np.arange(9), limit=3, seed=1, steps=True)
    assert (sample.items.tolist(), sample.values.tolist()) == (sorted(drawn), [8 - item for item in sorted(drawn)])


def test_totals_are_exact_where_doubles_are_not() -> None:
    # 1 and 2^60, and 2^60 taken away again: a plain sum loses the 1.
    totals = totals_of(np.array([7, 7, 7, 2], np.int32), np.array([1.0, 2.0**60, -(2.0**60), 5.0]))
    assert (totals.items.tolist(), totals.counts.tolist(), (totals.high + totals.low).tolist()) == ([2, 7], [1, 3], [5.0, 1.0])
