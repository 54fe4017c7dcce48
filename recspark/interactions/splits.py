"""Roles of single events, for splits that are no cut in time."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from recspark.columns import CONTEXT, HIDDEN, LABEL, LATEST_FIRST, SERVE
from recspark.errors import SplitError
from recspark.interactions.horizons import SplitSpec
from recspark.interactions.mapping import Order
from recspark.tables.horizon import Horizon
from recspark.tables.lineage import AllRows

_LATEST = ("event_order", "item_idx", "event_type", "event_key")


def part_of(horizon: Horizon) -> str:
    """The part that a horizon with stored roles is of: `test` of `last_5/test`."""
    return horizon.name.rsplit("/", 1)[-1]


def _drawn(key: str, seed: int) -> Column:
    """A number in [0, 1), a pure function of the key and the seed."""
    return F.pmod(F.xxhash64(key, F.lit(seed)), F.lit(2**53)) / F.lit(float(2**53))


def _part_at(place: Column, sizes: Mapping[str, float]) -> Column:
    """The part whose share `place` (from 0) falls into: those of test lie first, then tune, then fit; null beyond them."""
    found, end = F.when(F.lit(False), ""), 0.0
    for part in LATEST_FIRST:
        end += sizes[part]
        found = found.when(place < end, part)
    return found


def part_of_user(spec: SplitSpec) -> Column:
    """kind users: the part that a user is held out for; null for those that are learnt from."""
    return _part_at(_drawn("user_idx", spec.seed), spec.sizes)


def _with_part(interactions: DataFrame, spec: SplitSpec, order: Order) -> DataFrame:
    """Events with `_part`: the part whose label they are, or null."""
    if spec.kind == "folds":
        fold = F.floor(_drawn("event_key", spec.seed) * spec.n_folds) + 1
        return interactions.withColumn("_part", F.concat(F.lit("fold_"), fold.cast("string")))
    stored = F.col("part") if spec.kind == "stored" else F.lit(None)
    if not spec.counts_from_last:
        return interactions.withColumn("_part", F.coalesce(stored, _part_at(_drawn("event_key", spec.seed), spec.sizes)))
    if order == "none":
        raise SplitError(
            f"splits.kind: {spec.kind} asks for each user's last events, and the source declares no order (events.order: none); "
            "map events.columns.event_at or event_order, declare events.order: file, or draw a share instead (share_tune, kind: random)"
        )
    latest = Window.partitionBy("user_idx", stored).orderBy(*(F.col(name).desc() for name in _LATEST))
    return interactions.withColumn("_part", F.coalesce(stored, _part_at(F.row_number().over(latest) - 1, spec.sizes)))


def _split_users(interactions: DataFrame, spec: SplitSpec, order: Order, part: str) -> DataFrame:
    """Roles of the events of held-out users: of those of `part` the labels, of all others everything is hidden."""
    if spec.latest and order == "none":
        raise SplitError(
            "splits.latest: true asks for each user's last events, and the source declares no order (events.order: none); map "
            "events.columns.event_at or event_order, declare events.order: file, or leave it out: the labels are then drawn"
        )
    held_out = interactions.withColumn("_part", part_of_user(spec)).filter("_part is not null")
    keys = _LATEST if spec.latest else ("_drawn", "event_key")
    first = Window.partitionBy("user_idx").orderBy(*(F.col(name).desc() for name in keys))
    n_labels = F.greatest(F.lit(1), F.floor(F.count(F.lit(1)).over(Window.partitionBy("user_idx")) * spec.share_labels))
    placed = held_out.withColumn("_drawn", _drawn("event_key", spec.seed)).withColumn("_is_label", F.row_number().over(first) <= n_labels)
    return placed.withColumn("role", F.when(F.col("_part") != part, HIDDEN).when(F.col("_is_label"), LABEL))


def is_held_out(horizon: Horizon, spec: SplitSpec) -> Column:
    """Of an event: its user is held out at `horizon`, or the source says that it is some user's past and nothing to learn from."""
    held = F.lit(False)
    if horizon.stored_roles and spec.kind == "users":
        held = part_of_user(spec) == part_of(horizon)
    elif horizon.stored_roles and spec.kind == "stored":
        held = F.col("part") == CONTEXT
    return F.coalesce(held, F.lit(False))


def build_splits(interactions: AllRows, *, horizon: Horizon, spec: SplitSpec, order: Order = "time") -> DataFrame:
    """`splits` at `horizon`: the label events of its part, and as hidden those of later parts. Everything else is learnt from.

    `last_n` counts a user's events from the last (by event_order, item_idx, event_type), repeats collapsed; `random` draws each
    event by a hash of its key and `seed`. `stored` takes what the source says, and draws or counts off further parts of what the
    source does not hold out. `folds`: every event is a label once, at one of the horizons.
    `users` draws users by a hash of the index: of those of the horizon's part a share of the events, drawn or the latest
    (at least one), are labels, the others their past; users of other parts are out of sight (strong generalisation: Liang et al.
    2018, Variational Autoencoders for Collaborative Filtering). That nothing is learnt from them is said by `flagged_users`.
    At a cut in time, and at serve, there are no rows.

    Raises:
        SplitError: last events are asked for where the source has no order.
    """
    part = part_of(horizon)
    if not horizon.stored_roles or part == SERVE:
        return interactions.filter(F.lit(False)).select("user_idx", "event_key", F.lit(LABEL).alias("role"))
    if spec.kind == "users":
        rows = _split_users(interactions, spec, order, part)
    else:
        later = LATEST_FIRST[: LATEST_FIRST.index(part)] if part in LATEST_FIRST else ()
        role = F.when(F.col("_part").isin(*later), HIDDEN).when(F.col("_part") == part, LABEL)
        rows = _with_part(interactions, spec, order).withColumn("role", role)
    return rows.filter(F.col("role").isNotNull()).select("user_idx", "event_key", "role")
