"""Roles of single events, for splits that are no cut in time."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from recspark.columns import FIT, HIDDEN, LABEL, SERVE, TEST, TUNE
from recspark.errors import SplitError
from recspark.interactions.horizons import SplitSpec
from recspark.interactions.mapping import Order
from recspark.tables.horizon import Horizon
from recspark.tables.lineage import AllRows

# What was held out of a part's sight is held out of the sight of all parts before it.
LATEST_FIRST = (TEST, TUNE, FIT)


def _fall(interactions: DataFrame, spec: SplitSpec, order: Order) -> tuple[DataFrame, Column, dict[str, float]]:
    """Each event's place in [0, ...), and where each part's labels end: those of test lie first, then tune, then fit."""
    if spec.kind == "random":
        drawn = F.pmod(F.xxhash64("event_key", F.lit(spec.seed)), F.lit(2**53)) / F.lit(float(2**53))
        shares = (spec.share_test, spec.share_tune, spec.share_fit)
        ends = {part: sum(shares[: i + 1]) for i, part in enumerate(LATEST_FIRST)}
        return interactions, drawn, ends
    if order == "none":
        raise SplitError(
            "splits.kind: last_n asks for each user's last events, and the source declares no order (events.order: none); "
            "map events.columns.event_at or event_order, declare events.order: file, or use splits.kind: random"
        )
    latest = Window.partitionBy("user_idx").orderBy(
        *(F.col(name).desc() for name in ("event_order", "item_idx", "event_type", "event_key"))
    )
    counts = (spec.n_test, spec.n_tune, spec.n_fit)
    ends = {part: float(sum(counts[: i + 1])) for i, part in enumerate(LATEST_FIRST)}
    return interactions.withColumn("_from_last", F.row_number().over(latest) - 1), F.col("_from_last"), ends


def build_splits(interactions: AllRows, *, horizon: Horizon, spec: SplitSpec, order: Order = "time") -> DataFrame:
    """`splits` at `horizon`: the label events of its part, and as hidden those of later parts. Everything else is learnt from.

    `last_n` counts a user's events from the last (by event_order, item_idx, event_type), repeats collapsed; `random` draws each
    event by a hash of its key and `seed`. At a cut in time, and at serve, there are no rows.

    Raises:
        SplitError: last_n where the source has no order.
    """
    part = horizon.name.rsplit("/", 1)[-1]
    if not horizon.stored_roles or part == SERVE:
        return interactions.filter(F.lit(False)).select("user_idx", "event_key", F.lit(LABEL).alias("role"))
    rows, place, ends = _fall(interactions, spec, order)
    later = LATEST_FIRST[: LATEST_FIRST.index(part)]
    begin = ends[later[-1]] if later else 0.0
    role = F.when(place < begin, HIDDEN).when(place < ends[part], LABEL)
    return rows.withColumn("role", role).filter(F.col("role").isNotNull()).select("user_idx", "event_key", "role")
