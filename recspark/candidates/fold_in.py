"""Vectors of users that a fit has not seen, or not as they are now, against its item factors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

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
# Projected steps converge slowly; users are folded in once, and for good.
_NONNEGATIVE_STEPS = 200


def fitted_side(items: Mapping[str, np.ndarray], recipe: Recipe) -> dict[str, np.ndarray]:
    """What users see of the items of a fit, of which `items` has idx [n], vector [n x rank] and bias [n], as published.

    idx [n] ascending, features [n x D], shifts [n], gram: as `side_of`. Whatever the model, an item's bias is its shift: it holds
    the targets' mean, where the fit had one.
    """
    order = np.argsort(items["idx"])
    factors = np.zeros((len(order), recipe.width), np.float32)
    factors[:, : recipe.rank] = items["vector"][order]
    features, _, gram = side_of(factors, recipe)
    return {"idx": items["idx"][order], "features": features, "shifts": items["bias"][order], "gram": gram}


def fold_in(events: DataFrame, items: Published, recipe: Recipe, *, explicit: bool, extra: float = 0.0) -> DataFrame:
    """kind, idx, vector, bias of each user of `events` (user_idx, item_idx, weight, and where explicit target): a half-step of the fit.

    Each user's optimum against fixed items (`kernels.als`), as the fit itself would find it with solver cholesky: exact, and with
    non-negative factors as near as so many projected steps come. Users do not see each other, so new and changed users cost
    their own events only. Events of items without a vector are left out; a user with none left has no row.
    A task holds the events of its partition of users: 40 bytes each. The items are mapped, not copied.

    Args:
        items: `fitted_side` of one fit.
        recipe: that fit's.
        extra: see `build_block`.
    """

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        columns, side = event_columns(batches, explicit), items.arrays()
        idx = side["idx"]
        places = np.minimum(np.searchsorted(idx, columns["item_idx"]), len(idx) - 1)
        kept = idx[places] == columns["item_idx"]
        if not kept.any():
            return
        users, user_places = np.unique(columns["user_idx"][kept], return_inverse=True)
        targets = columns["target"][kept] if explicit else None
        item_places = places[kept].astype(np.int32)
        block = build_block(user_places, item_places, columns["weight"][kept], targets, len(idx), extra=extra)
        scales = row_scales(np.diff(block.by_user.offsets), len(idx), recipe)
        found = np.zeros((len(users), recipe.width), np.float32)
        solver: Solver = "nonnegative" if recipe.solver == "nonnegative" else "cholesky"
        seen = (side["features"], side["shifts"], side["gram"])
        solve_rows(solver, block.by_user, *seen, recipe.ridge, scales, found, steps=_NONNEGATIVE_STEPS)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(found[:, : recipe.rank]).reshape(-1)), recipe.rank)
        bias = found[:, -1] if recipe.biased else np.zeros(len(users), np.float32)
        columns_out = [pa.array(users[block.user_idx]), vectors.cast(pa.list_(pa.float32())), pa.array(bias)]
        yield pa.RecordBatch.from_arrays(columns_out, names=["idx", "vector", "bias"])

    return events.repartition("user_idx").mapInArrow(run, _VECTORS).select(F.lit(USER).alias("kind"), "idx", "vector", "bias")
