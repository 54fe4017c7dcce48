"""Encodes attributes with fitted statistics: numbers and category codes in lists of one fixed length."""

from __future__ import annotations

from typing import Annotated

from pydantic import PositiveInt
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.columns import FIT, ITEM, OUT_OF_VOCABULARY, PAD_CATEGORY, UNKNOWN_CATEGORY, USER
from recspark.features.attributes import number_of, tokens_of, with_attributes
from recspark.features.quotas import with_quota
from recspark.features.spec import CategoricalSpec, NumericSpec, first_bucket_codes
from recspark.tables.horizon import Horizon
from recspark.tables.lineage import At

_FIGURES = ("median", "most_frequent", "low", "high", "mean", "std", "min", "max")


def _figures(stats: DataFrame, numeric: dict[str, NumericSpec], categorical: dict[str, CategoricalSpec]) -> DataFrame:
    """One row: every figure of every numeric feature, the most frequent code of every categorical one; null where nothing was fitted."""
    # Codes are given by falling frequency: a vocabulary's first is its most frequent.
    codes = [
        F.min(F.when((F.col("feature") == name) & (F.col("statistic") == "token"), F.col("code"))).alias(f"first_code{i}")
        for i, name in enumerate(categorical)
    ]
    wanted = codes + [
        F.max(F.when((F.col("feature") == name) & (F.col("statistic") == figure), F.col("value"))).alias(f"{figure}{i}")
        for i, name in enumerate(numeric)
        for figure in _FIGURES
    ]
    return stats.agg(F.count(F.lit(1)).alias("n_statistics"), *wanted)


def _encoded_number(i: int, name: str, spec: NumericSpec) -> tuple[Column, Column]:
    """The scaled value and its was-missing indicator; 0 where nothing was fitted to scale by."""
    figure = {key: F.col(f"{key}{i}") for key in _FIGURES}
    value = number_of(name)
    missing = value.isNull()
    x = value if spec.missing == "zero" else F.coalesce(value, figure[spec.missing])
    if spec.clip_quantiles:
        x = F.when(x.isNotNull() & figure["low"].isNotNull(), F.least(F.greatest(x, figure["low"]), figure["high"])).otherwise(x)
    spread = figure["max"] - figure["min"]
    scaled = {
        "standard": F.when(figure["std"] > 0, (x - figure["mean"]) / figure["std"]),
        "min_max": F.when(spread > 0, (x - figure["min"]) / spread),
        "log": F.signum(x) * F.log1p(F.abs(x)),
        "none": x,
    }[spec.scale]
    return F.coalesce(scaled, F.lit(0.0)).cast("float"), missing.cast("float")


def _slots_of(i: int, name: str, spec: CategoricalSpec, first_slot: int, first_bucket: int | None) -> Column:
    """Array of (slot, feature, token, code where the token is not in the vocabulary); one entry without token where there are none."""
    tokens = F.slice(tokens_of(name, spec), 1, spec.max_values)
    unknown = F.lit(UNKNOWN_CATEGORY)
    missing = F.coalesce(F.col(f"first_code{i}"), unknown) if spec.missing == "most_frequent" else unknown

    def slot_of(token: Column, place: Column) -> Column:
        strange = F.lit(OUT_OF_VOCABULARY)
        if first_bucket is not None:
            strange = F.pmod(F.xxhash64(token), F.lit(spec.n_oov_buckets)).cast("int") + first_bucket
        otherwise = F.when(token.isNull(), missing).otherwise(strange)
        slot = (place + first_slot).alias("slot")
        return F.struct(slot, F.lit(name).alias("feature"), token.alias("token"), otherwise.alias("otherwise"))

    return F.transform(F.when(F.size(tokens) > 0, tokens).otherwise(F.array(F.lit(None).cast("string"))), slot_of)


def _slots(categorical: dict[str, CategoricalSpec]) -> Column:
    """The slots of all features, one after the other."""
    buckets = first_bucket_codes(categorical)
    widths = [spec.max_values for spec in categorical.values()]
    firsts = [sum(widths[:place]) for place in range(len(widths))]
    features = enumerate(zip(categorical.items(), firsts, strict=True))
    slots = [_slots_of(i, name, spec, first, buckets.get(name)) for i, ((name, spec), first) in features]
    return F.flatten(F.array(*slots))


def _with_categories(rows: DataFrame, stats: DataFrame, categorical: dict[str, CategoricalSpec]) -> DataFrame:
    """Replace `slots` by `categories`. The vocabulary is joined: looking a token up in a map would walk through all of it."""
    # Sent to every task: shuffled by token instead, all entities without one would land in the same task.
    vocabulary = stats.where(F.col("statistic") == "token").select("feature", "token", "code").hint("broadcast")
    code = F.struct("slot", F.coalesce("code", "otherwise").alias("code"))
    gathered = (
        rows.select("idx", "numbers", "available", F.inline("slots"))
        .join(vocabulary, ["feature", "token"], "left")
        .groupBy("idx")
        .agg(F.first("numbers").alias("numbers"), F.first("available").alias("available"), F.collect_list(code).alias("codes"))
    )
    width = sum(spec.max_values for spec in categorical.values())
    by_slot = F.map_from_entries("codes")
    filled = F.transform(F.sequence(F.lit(0), F.lit(width - 1)), lambda slot: F.coalesce(by_slot[slot], F.lit(PAD_CATEGORY)))
    return gathered.select("idx", "numbers", filled.alias("categories"), "available")


def _encode(entities: DataFrame, stats: DataFrame, numeric: dict[str, NumericSpec], categorical: dict[str, CategoricalSpec]) -> DataFrame:
    numbers = [part for i, (name, spec) in enumerate(numeric.items()) for part in _encoded_number(i, name, spec)]
    numbers += [(F.size(tokens_of(name, spec)) == 0).cast("float") for name, spec in categorical.items()]
    rows = entities.crossJoin(_figures(stats, numeric, categorical)).select(
        "idx",
        F.array(*(numbers or [F.lit(0.0).cast("float")])).alias("numbers"),
        "available",
        (_slots(categorical) if categorical else F.array(F.lit(PAD_CATEGORY))).alias("slots"),
    )
    return _with_categories(rows, stats, categorical) if categorical else rows.withColumnRenamed("slots", "categories")


def build_user_features(
    clean_users: DataFrame | None,
    user_index: DataFrame,
    feature_stats: Annotated[DataFrame, At(FIT)],
    *,
    numeric: dict[str, NumericSpec],
    categorical: dict[str, CategoricalSpec],
) -> DataFrame:
    """As `build_item_features`, for every user of the index."""
    entities = with_attributes(user_index, clean_users, "user_id", "user_idx")
    encoded = _encode(entities, feature_stats.where(F.col("entity") == USER), numeric, categorical)
    return encoded.select(F.col("idx").alias("user_idx"), "numbers", "categories")


def build_item_features(
    clean_items: DataFrame | None,
    item_index: DataFrame,
    feature_stats: Annotated[DataFrame, At(FIT)],
    *,
    horizon: Horizon,
    numeric: dict[str, NumericSpec],
    categorical: dict[str, CategoricalSpec],
    max_per_category: PositiveInt | None = None,
) -> DataFrame:
    """One row an item of the index; items that `clean_items` lacks have everything missing and are available.

    `numbers`: for each numeric feature in the given order its scaled value, then 1 where it was missing; then for each
    categorical feature 1 where it was missing. `categories`: for each categorical feature `max_values` slots, the codes of
    its values in the source's order, then 0; a feature without a value has in its first slot unknown (1) or the most frequent
    token, a value out of vocabulary has the code of that (2) or of its bucket.
    The source says what is available today: at a horizon whose labels have closed every item is, or a model would be blamed
    for not proposing what has been sold out since.
    The statistics are those of `fit` at every horizon: a ranker learns codes and scales there, and must meet the same ones
    when it serves. A list without any entry is one 0. `numeric` and `categorical` are those that `feature_stats` was fitted with.

    Args:
        max_per_category: at most so many items of a category in a list, whoever makes it: the sources' lists, which are measured,
            and those that are published. An item of several categories counts in each. None: any number.
    """
    entities = with_attributes(item_index, clean_items, "item_id", "item_idx")
    encoded = _encode(entities, feature_stats.where(F.col("entity") == ITEM), numeric, categorical)
    available = F.lit(True) if horizon.closed else F.col("available")
    rows = with_quota(encoded, entities, max_per_category)
    names = ("numbers", "categories", available.alias("available"), "quota_categories", "quota")
    return rows.select(F.col("idx").alias("item_idx"), *names)
