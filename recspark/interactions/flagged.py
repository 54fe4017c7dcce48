"""Users that nothing is learnt from."""

from __future__ import annotations

from pydantic import PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.interactions.horizons import SplitSpec
from recspark.interactions.splits import is_held_out
from recspark.tables.horizon import Horizon
from recspark.tables.lineage import UnflaggedRows


def build_flagged_users(
    interactions: UnflaggedRows, *, horizon: Horizon, spec: SplitSpec, max_events: PositiveInt | None = None
) -> DataFrame:
    """`flagged_users`: those that the split holds out, and those with more than `max_events` events (repeats collapsed) before the cut.

    They are served like anybody, from their own history, but no model learns from them. Counted at the cut, so that what a user does later
    does not change what was learnt before.
    """
    too_active = F.lit(False) if max_events is None else F.col("n_events") > max_events
    reason = F.when(F.col("_held_out"), f"held out by the split (splits.kind: {spec.kind})").when(
        too_active, f"more than {max_events} events at the cut (flagged_users.max_events)"
    )
    events = interactions.select("user_idx", is_held_out(horizon, spec).alias("_held_out"))
    counts = events.groupBy("user_idx").agg(F.count(F.lit(1)).alias("n_events"), F.max("_held_out").alias("_held_out"))
    return counts.select("user_idx", "n_events", reason.alias("reason")).filter(F.col("reason").isNotNull())
