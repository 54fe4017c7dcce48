"""The items that a request must not be offered: seen ones, blocked ones, and whatever is not in its allow list."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.columns import MICROSECONDS_A_DAY
from recspark.errors import ConfigError
from recspark.tables.horizon import Horizon
from recspark.tables.lineage import PastRows


def _is_hidden(policy: str, window_days: float | None) -> Column:
    """Of a request and an event: up to `as_of`, and not before the window. What cannot be shown to be old is hidden."""
    if policy == "allowed":
        return F.lit(False)
    age = F.unix_micros("as_of") - F.unix_micros("event_at")
    if policy == "never_again":
        return F.coalesce(age >= 0, F.lit(True))
    if window_days is None:
        raise ConfigError("seen.policy is 'window' but seen.window_days is not set: say for how many days an item stays hidden")
    if window_days <= 0:
        raise ConfigError(f"seen.window_days is {window_days}: a window is longer than 0 days; to hide nothing set seen.policy: allowed")
    return F.coalesce((age >= 0) & (age <= round(window_days * MICROSECONDS_A_DAY)), F.lit(True))


def _lists_hold(horizon: Horizon, lists_at: list[str] | None) -> bool:
    return lists_at is None or horizon.name in lists_at or horizon.name.rsplit("/", 1)[-1] in lists_at


def build_seen(
    interactions: PastRows,
    requests: DataFrame,
    user_lists: DataFrame | None,
    *,
    horizon: Horizon,
    policy: Literal["never_again", "window", "allowed"] = "never_again",
    window_days: PositiveFloat | None = None,
    types: list[str] | None = None,
    lists_at: list[str] | None = None,
) -> DataFrame:
    """Each request's items that are not to be offered, ascending, and the only ones that are; requests with neither have no row.

    `never_again` hides every item of the user's events up to `as_of`; `window` those of the `window_days` days before
    `as_of`, both ends included, whichever of the user's repeated events lies there; `allowed` hides nothing. `types` names the event types that hide an item; None is all
    of them. An event without a time (or of a request without one) lies in every window: what cannot be shown to be old
    is hidden, so with a source without times `window` is `never_again`.

    `user_lists` add what a user blocks to `items`, and are `allowed` where a user has an allow list. What is hidden stays
    hidden though it is allowed: for lists that hold seen items too, the policy is `allowed`. An allow list of nothing but unknown items
    allows nothing.

    Args:
        lists_at: horizons at which the lists hold, by name (a date, last_5/test) or part (test); none: at all of them.

    Raises:
        ConfigError: `window` without `window_days`, or `window_days` not above 0.
    """
    hidden = _is_hidden(policy, window_days)
    events = interactions.select("user_idx", "item_idx", "event_type", "event_at")
    if types is not None:
        events = events.where(F.col("event_type").isin(types))
    asked = requests.select("request_idx", "user_idx", "as_of")
    entries = asked.join(events, "user_idx").where(hidden).select("user_idx", "request_idx", "item_idx", F.lit(False).alias("is_allow"))
    if user_lists is not None and _lists_hold(horizon, lists_at):
        lists = asked.join(user_lists.select("user_idx", "item_idx", (F.col("kind") == "allow").alias("is_allow")), "user_idx")
        entries = entries.unionByName(lists.drop("as_of"))
    allow_list = F.array_sort(F.collect_set(F.when(F.col("is_allow"), F.col("item_idx"))))
    # By user too: so the rows stay where the join has brought them.
    return (
        entries.groupBy("user_idx", "request_idx")
        .agg(
            F.array_sort(F.collect_set(F.when(~F.col("is_allow"), F.col("item_idx")))).alias("items"),
            F.when(F.max("is_allow"), allow_list).alias("allowed"),
        )
        .drop("user_idx")
    )
