"""Users too active to be people."""

from __future__ import annotations

from pydantic import PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.tables.lineage import UnflaggedRows


def build_flagged_users(interactions: UnflaggedRows, *, max_events: PositiveInt | None = None) -> DataFrame:
    """`flagged_users`: those with more than `max_events` events (repeats collapsed) before the cut; nobody where it is not set.

    They are served like anybody, from their own history, but no model learns from them. Counted at the cut, so that what a user does later
    does not change what was learnt before.
    """
    cap = F.lit(False) if max_events is None else F.col("n_events") > max_events
    counts = interactions.groupBy("user_idx").agg(F.count(F.lit(1)).alias("n_events"))
    return counts.filter(cap).withColumn("reason", F.lit(f"more than {max_events} events at the cut (flagged_users.max_events)"))
