from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from pyspark.sql import functions as F

from recspark.candidates import rp3beta
from recspark.tables import NEIGHBOURS
from recspark.tables.contract import conform
from tests import dense
from tests.candidates.test_item_knn import USE, rows, used

build_rp3beta = partial(rp3beta.build_rp3beta, n_slots=4)


def test_walks_equal_the_dense_reference(events) -> None:  # type: ignore[no-untyped-def]
    x = dense.world(4)
    knobs: dict[str, Any] = {"alpha": 1.2, "beta": 0.7, "n_neighbours": 4, "value_as": "linear", "n_blocks": 3}
    frame = build_rp3beta(events(used(x)), weights=USE, **knobs)
    conform(frame.withColumns({"horizon": F.lit("h"), "source": F.lit("rp3beta")}), NEIGHBOURS, "the function")
    held = (x > 0).astype(int)
    dense.assert_close(rows(frame), dense.top(dense.walks(x, 1.2, 0.7), held.T @ held, 4))


def test_lists_are_divided_by_their_sums_and_cut_by_column(events) -> None:  # type: ignore[no-untyped-def]
    x = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 1.0], [1, 1, 0, 1]])
    found = rows(build_rp3beta(events(used(x)), weights=USE, n_neighbours=2, normalize=True, max_lists=2, n_blocks=2))
    walk = dense.walks(x, 1.0, 0.6)
    np.fill_diagonal(walk, 0)
    for row in walk:
        row[np.argsort(-row)[2:]] = 0
    walk /= walk.sum(1, keepdims=True)
    for column in walk.T:
        column[np.argsort(-column, kind="stable")[2:]] = 0
    held = (x > 0).astype(int)
    dense.assert_close(found, dense.top(walk, held.T @ held, 2))
    # Item 0, which everybody has, was a neighbour of all three others.
    assert [row[1] for row in found].count(0) == 2
