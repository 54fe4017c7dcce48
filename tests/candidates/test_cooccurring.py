"""What a task does with the batches of a block, in this process; tests of neighbours run it in Spark's."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from recspark.candidates import cooccurring
from recspark.candidates.cooccurring import Rules, blocks_of
from recspark.kernels.adding import DOT
from recspark.kernels.packing import as_histories, blocks_of_users, totals_of
from recspark.kernels.similarity import measure_of
from tests import dense

X = dense.world(5, n=9)
# Weights of 1, 2 and 3: whole numbers add up alike in any order.
RULES = Rules(
    DOT,
    lambda histories: (histories.values.astype(np.float32), histories.values**2),
    lambda counts, sums, n: measure_of("cosine", counts, sums, n, shrinkage=2.0),
)


def lists(rows_a_batch: int) -> list[list[float]]:
    """The lists of the one block that all items are in, from batches of so many rows."""
    users, items = np.nonzero(X)
    histories = as_histories(users, items.astype(np.int32), X[users, items], limit=None, seed=1)
    values, squares = RULES.weigh(histories)
    totals = cooccurring._totals_for(totals_of(histories.items, squares), 0, len(histories.users))
    batches = [totals, *cooccurring._histories_of(histories._replace(values=values), 0, 1, RULES.sent)]
    rows = pa.Table.from_batches(batches).combine_chunks()
    (block,) = blocks_of(rows.to_batches(max_chunksize=rows_a_batch), 1, RULES, 9)
    return [column.tolist() for column in block.neighbours(9, 1)]


@pytest.mark.parametrize("places", [0, cooccurring.PLACES])
def test_small_chunks_whole_rows_and_carried_sums_change_nothing(monkeypatch, places) -> None:  # type: ignore[no-untyped-def]
    once = lists(100)
    assert len(once[0]) > 50
    for name, value in (("_CHUNK", 3), ("_CHUNKS", 2), ("PLACES", places)):
        monkeypatch.setattr(cooccurring, name, value)
    # Sums are carried from every batch to the next, from some, and none; whichever was the last before.
    for at_once in (1, 5, 8, 11, 1000):
        monkeypatch.setattr(cooccurring, "ENTRIES_AT_ONCE", at_once)
        assert [lists(size) for size in (1, 2, 100)] == [once] * 3


def test_users_with_a_step_are_in_all_blocks() -> None:
    shares = np.bincount(blocks_of_users(np.arange(0, 30_000, 3), 3), minlength=3) / 10_000
    assert shares == pytest.approx([1 / 3] * 3, abs=0.02)
