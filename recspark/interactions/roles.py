"""Who may see which interactions at a horizon. Every view of `interactions` is made here."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Literal

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from recspark.columns import CONTEXT, HIDDEN, LABEL, LEARN
from recspark.errors import LineageError
from recspark.interactions.fields import moment
from recspark.tables.horizon import Horizon

Repeats = Literal["earliest", "latest", "all"]

# On which side of the split an event lies; learn and context differ by the user, not by the event.
SIDES = (LEARN, LABEL, HIDDEN)
_SIDE = "_side"
_PAIR = ("user_idx", "item_idx", "event_type")


def _in_utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def _sides_by_time(rows: DataFrame, cut: datetime, until: datetime | None, sides: Collection[str]) -> DataFrame:
    """Rows with their side of the cut; rows that no wanted side needs are left out before anything is shuffled."""
    before = F.col("event_at") < moment(_in_utc(cut))
    if set(sides) == {LEARN}:
        return rows.filter(before).withColumn(_SIDE, F.lit(LEARN))
    in_window = F.col("event_at") < moment(_in_utc(until)) if until else F.lit(True)
    if HIDDEN not in sides:
        rows = rows.filter(in_window)
    return rows.withColumn(_SIDE, F.when(before, LEARN).when(in_window, LABEL).otherwise(HIDDEN)).filter(F.col("event_at").isNotNull())


def _sides_by_split(rows: DataFrame, splits: DataFrame, sides: Collection[str]) -> DataFrame:
    keys = ["user_idx", "event_key"]
    if set(sides) == {LEARN}:
        return rows.join(splits.select(*keys), keys, "left_anti").withColumn(_SIDE, F.lit(LEARN))
    stored = splits.select(*keys, F.col("role").alias(_SIDE))
    if LEARN not in sides:
        return rows.join(stored, keys)
    return rows.join(stored, keys, "left").withColumn(_SIDE, F.coalesce(_SIDE, F.lit(LEARN)))


def _first_of_pair(rows: DataFrame, by: Collection[str], order: Collection[Column]) -> DataFrame:
    place = F.row_number().over(Window.partitionBy(*by).orderBy(*order))
    return rows.withColumn("_place", place).filter("_place = 1").drop("_place")


def _earliest(rows: DataFrame) -> DataFrame:
    """The first event of each user, item and type, whatever its role: a repeat never becomes a label. Learnt rows come first."""
    side = [F.when(F.col(_SIDE) == LEARN, 0).when(F.col(_SIDE) == LABEL, 1).otherwise(2)] if _SIDE in rows.columns else []
    return _first_of_pair(rows, _PAIR, [*side, F.col("event_order"), F.col("event_key")])


def _latest(rows: DataFrame) -> DataFrame:
    """The last event of each user, item and type within its side: what happens after the cut must not show before it."""
    return _first_of_pair(rows, (*_PAIR, _SIDE), [F.col("event_order").desc(), F.col("event_key").desc()])


def _with_repeats(kept: DataFrame, rows: DataFrame) -> DataFrame:
    """`rows` on the side of the kept event of their user, item and type, up to the user's last kept event on that side."""
    last = F.max("event_order").over(Window.partitionBy("user_idx", _SIDE)).alias("_last")
    return rows.join(kept.select(*_PAIR, _SIDE, last), [*_PAIR]).filter(F.col("event_order") <= F.col("_last")).drop("_last")


def _by_user(rows: DataFrame, flagged_users: DataFrame | None, roles: Collection[str]) -> DataFrame:
    """Learnt rows of flagged users are context."""
    if {LEARN, CONTEXT} <= set(roles) or not {LEARN, CONTEXT} & set(roles):
        return rows
    if flagged_users is None:
        return rows if LEARN in roles else rows.filter(F.col(_SIDE) != LEARN)
    flagged = flagged_users.select("user_idx")
    if set(roles) == {LEARN}:
        return rows.join(flagged, "user_idx", "left_anti")
    if set(roles) == {CONTEXT}:
        return rows.join(flagged, "user_idx", "left_semi")
    marked = rows.join(flagged.withColumn("_flagged", F.lit(True)), "user_idx", "left")
    is_flagged = F.col("_flagged").isNotNull()
    return marked.filter((F.col(_SIDE) != LEARN) | (is_flagged if CONTEXT in roles else ~is_flagged))


def keep_rows(
    interactions: DataFrame,
    splits: DataFrame | None,
    flagged_users: DataFrame | None,
    *,
    horizon: Horizon,
    roles: Collection[str],
    repeats: Repeats = "earliest",
    every_repeat: bool = False,
) -> DataFrame:
    """The interactions that have one of `roles` at `horizon`, with the columns they came with.

    With a cut: learn before it, label from it until `label_until`, hidden after. Without: the roles in `splits`, learn where it is
    silent or None. Of flagged users, learn is context. `repeats` of a user, item and type: the `earliest` of all events, the `latest`
    within the same side of the split, or `all`. With `every_repeat` come, beside what `repeats` keeps, the others that lie in the
    past of the same side: before the cut by their own time; in a stored split, where `earliest` gave a role to the first event only,
    they share its side, and one later than all that the side kept of the user stays out: a repeat neither shows a label nor the
    time after it.
    """
    strange = sorted(set(roles) - {LEARN, CONTEXT, LABEL, HIDDEN})
    if strange or not roles:
        raise LineageError(f"roles {strange or 'none'} asked of interactions; there are learn, context, label and hidden")
    sides = {LEARN if role == CONTEXT else role for role in roles}
    first_only = repeats == "earliest" and not every_repeat
    if horizon.cut is not None:
        sided = _sides_by_time(interactions, horizon.cut, horizon.label_until, sides)
        kept = _earliest(sided) if first_only else sided
    elif splits is None:
        kept = (_earliest(interactions) if first_only else interactions).withColumn(_SIDE, F.lit(LEARN))
    else:
        kept = _sides_by_split(_earliest(interactions) if repeats == "earliest" else interactions, splits, sides)
        if repeats == "earliest" and every_repeat:
            kept = _with_repeats(kept, interactions)
    if repeats == "latest" and not every_repeat:
        kept = _latest(kept)
    if sides != set(SIDES):
        kept = kept.filter(F.col(_SIDE).isin(sorted(sides)))
    return _by_user(kept, flagged_users, roles).select(*interactions.columns)
