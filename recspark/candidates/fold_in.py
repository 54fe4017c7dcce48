"""Vectors of users that a fit has not seen, or not as they are now, against its item factors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.candidates.als_blocks import Recipe, row_scales, side_of
from recspark.candidates.als_stage import event_columns
from recspark.columns import USER
from recspark.handover.arrays import Published
from recspark.kernels.als import Solver, solve_rows
from recspark.kernels.als_events import build_block

_VECTORS = "idx bigint, vector array<float>, bias float"


def _item_factors(items: Published, recipe: Recipe) -> np.ndarray:
    """[n x D] by item index, 0 for items without a vector."""
    known = items.arrays()
    factors = np.zeros((int(known["idx"].max(initial=-1)) + 1, recipe.width), np.float32)
    factors[known["idx"], : recipe.rank] = known["vector"]
    if recipe.biased:
        factors[known["idx"], -1] = known["bias"]
    return factors


def fold_in(events: DataFrame, items: Published, recipe: Recipe, *, explicit: bool, extra: float = 0.0) -> DataFrame:
    """kind, idx, vector, bias of each user of `events` (user_idx, item_idx, weight, and where explicit target): a half-step of the fit.

    Each user's exact optimum against fixed items (`kernels.als`), as the fit itself would find it with solver cholesky; users do not
    see each other, so new and changed users cost their own events only. Events of items without a vector are left out; a user
    with none left has no row. Item biases hold the mean of the targets already.
    A task holds the events of its partition of users: 40 bytes each.

    Args:
        items: idx, vector [n x rank], bias of the item vectors of one fit.
        recipe: that fit's.
        extra: see `build_block`.
    """

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        columns = event_columns(batches, explicit)
        factors = _item_factors(items, recipe)
        known = np.zeros(len(factors) + 1, np.bool_)
        known[items.arrays()["idx"]] = True
        kept = known[np.minimum(columns["item_idx"], len(factors))]
        if not kept.any():
            return
        users, places = np.unique(columns["user_idx"][kept], return_inverse=True)
        targets = columns["target"][kept] if explicit else None
        block = build_block(places, columns["item_idx"][kept], columns["weight"][kept], targets, len(factors), extra=extra)
        features, shifts, gram = side_of(factors, recipe)
        scales = row_scales(np.diff(block.by_user.offsets), int(known.sum()), recipe)
        found = np.zeros((len(users), recipe.width), np.float32)
        solver: Solver = "nonnegative" if recipe.solver == "nonnegative" else "cholesky"
        solve_rows(solver, block.by_user, features, shifts, gram, recipe.ridge, scales, found, steps=_NONNEGATIVE_STEPS)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(found[:, : recipe.rank]).reshape(-1)), recipe.rank)
        bias = found[:, -1] if recipe.biased else np.zeros(len(users), np.float32)
        columns_out = [pa.array(users[block.user_idx]), vectors.cast(pa.list_(pa.float32())), pa.array(bias)]
        yield pa.RecordBatch.from_arrays(columns_out, names=["idx", "vector", "bias"])

    return events.repartition("user_idx").mapInArrow(run, _VECTORS).select(F.lit(USER).alias("kind"), "idx", "vector", "bias")


# Projected steps converge slowly; users are folded in once, and for good.
_NONNEGATIVE_STEPS = 200
