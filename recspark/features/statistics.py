"""Fits what encoding attributes needs: medians, clipping limits, moments and vocabularies, at the cut."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from recspark.features.attributes import number_of, tokens_of, with_attributes
from recspark.features.spec import CategoricalSpec, NumericSpec, first_bucket_codes, first_vocabulary_code
from recspark.tables.lineage import LearnRows

_ROW = "array<struct<feature:string,statistic:string,token:string,value:double,code:int>>"


def _row(feature: str, statistic: str, value: Column, token: str = "", code: int = -1) -> Column:
    return F.struct(
        F.lit(feature).alias("feature"),
        F.lit(statistic).alias("statistic"),
        F.lit(token).alias("token"),
        value.cast("double").alias("value"),
        F.lit(code).cast("int").alias("code"),
    )


def _to_rows(one: DataFrame, rows: list[Column]) -> DataFrame:
    listed = F.array(*rows).cast(_ROW)
    return one.select(F.explode(listed).alias("row")).select("row.*").where(F.col("value").isNotNull())


def _five_digits(value: Column) -> Column:
    """Rounded to five significant digits: exact quantiles then hold a bounded number of distinct values in memory."""
    return F.format_string("%.4e", value).try_cast("double")


def _numeric_rows(fitted: DataFrame, numeric: dict[str, NumericSpec]) -> DataFrame:
    """Quantiles of the numbers, then moments of the clipped ones. Everything stays in frames of one row."""
    features = list(enumerate(numeric.items()))
    values = fitted.select(*[number_of(name).alias(f"x{i}") for i, (name, _) in features])
    shares = [[0.5, *(spec.clip_quantiles or ())] for spec in numeric.values()]
    quantiles = values.agg(*[F.percentile(_five_digits(F.col(f"x{i}")), shares[i]).alias(f"q{i}") for i, _ in features])
    statistics, rows = [], []
    for i, (name, spec) in features:
        x, q = F.col(f"x{i}"), F.col(f"q{i}")
        figures = {"median": F.max(q[0])}
        if spec.clip_quantiles:
            figures |= {"low": F.max(q[1]), "high": F.max(q[2])}
            x = F.when(x.isNotNull(), F.least(F.greatest(x, q[1]), q[2]))
        if spec.missing == "most_frequent":
            figures["most_frequent"] = F.mode(_five_digits(F.col(f"x{i}")), deterministic=True)
        figures |= {"mean": F.avg(x), "std": F.stddev_pop(x), "min": F.min(x), "max": F.max(x)}
        statistics += [figure.alias(f"{statistic}{i}") for statistic, figure in figures.items()]
        rows += [_row(name, statistic, F.col(f"{statistic}{i}")) for statistic in figures]
    return _to_rows(values.crossJoin(quantiles).agg(*statistics), rows)


def _bucket_rows(one: DataFrame, categorical: dict[str, CategoricalSpec]) -> DataFrame:
    """The codes of hashed buckets, so that the largest code of the table is the largest that encoding can give."""
    rows = [
        _row(name, "bucket", F.lit(0.0), str(bucket), first + bucket)
        for name, first in first_bucket_codes(categorical).items()
        for bucket in range(categorical[name].n_oov_buckets)
    ]
    return _to_rows(one, rows)


def _vocabulary_rows(fitted: DataFrame, categorical: dict[str, CategoricalSpec]) -> DataFrame:
    """Tokens that enough entities have, by (entities descending, token), the features one after the other."""
    names, specs = list(categorical), list(categorical.values())

    def by_feature(values: list[Column]) -> Column:
        return F.element_at(F.array(*values), F.col("place") + 1)

    def pairs(place: int, name: str, spec: CategoricalSpec) -> Column:
        return F.transform(tokens_of(name, spec), lambda token: F.struct(F.lit(place).alias("place"), token.alias("token")))

    listed = F.flatten(F.array(*[pairs(place, name, spec) for place, (name, spec) in enumerate(categorical.items())]))
    counted = fitted.select(F.explode(listed).alias("pair")).groupBy("pair.place", "pair.token").agg(F.count(F.lit(1)).alias("n"))
    frequent = counted.where(F.col("n") >= by_feature([F.lit(spec.min_count) for spec in specs]))
    best_first = (F.col("n").desc(), F.col("token"))
    kept = frequent.withColumn("position", F.row_number().over(Window.partitionBy("place").orderBy(*best_first))).where(
        F.col("position") <= by_feature([F.lit(spec.max_vocabulary) for spec in specs])
    )
    # One partition, of vocabulary size: the codes of all features are one numbering.
    position = F.row_number().over(Window.orderBy("place", *best_first))
    return kept.select(
        by_feature([F.lit(name) for name in names]).alias("feature"),
        F.lit("token").alias("statistic"),
        "token",
        F.col("n").cast("double").alias("value"),
        (position + (first_vocabulary_code(categorical) - 1)).cast("int").alias("code"),
    )


def _statistics(
    entities: DataFrame,
    interactions: DataFrame,
    idx_column: str,
    numeric: dict[str, NumericSpec],
    categorical: dict[str, CategoricalSpec],
) -> DataFrame:
    learnt = interactions.select(F.col(idx_column).alias("idx")).distinct()
    fitted = entities.join(learnt, "idx", "left_semi")
    # Constants, hung on any one learnt event: where nothing was learnt from there are no statistics at all.
    rows = _bucket_rows(interactions.limit(1), categorical)
    if numeric:
        rows = rows.unionByName(_numeric_rows(fitted, numeric))
    if categorical:
        rows = rows.unionByName(_vocabulary_rows(fitted, categorical))
    return rows


def build_user_statistics(
    clean_users: DataFrame | None,
    user_index: DataFrame,
    interactions: LearnRows,
    *,
    numeric: dict[str, NumericSpec],
    categorical: dict[str, CategoricalSpec],
) -> DataFrame:
    """As `build_item_statistics`, for users. Attributes are strings in `clean_users.attributes`."""
    entities = with_attributes(user_index, clean_users, "user_id", "user_idx")
    return _statistics(entities, interactions, "user_idx", numeric, categorical)


def build_item_statistics(
    clean_items: DataFrame | None,
    item_index: DataFrame,
    interactions: LearnRows,
    *,
    numeric: dict[str, NumericSpec],
    categorical: dict[str, CategoricalSpec],
) -> DataFrame:
    """Statistics of the items that have a learnt event: long, one row a figure or vocabulary entry.

    Numbers: `median`, `low` and `high` (the clipping quantiles, linear between neighbours) and, where asked for,
    `most_frequent` (the lowest of equals), all of the values at five significant digits, then `mean`, `std` (population), `min`, `max` of the clipped values. A feature that no item has
    gets no rows. Categories: one `token` row each, value = items that have it, by (items descending, token); codes run
    from 3 through all features in the given order, `bucket` codes of out-of-vocabulary tokens first. The feature name
    `categories` is the array column `clean_items.categories`; all others are attributes.
    """
    entities = with_attributes(item_index, clean_items, "item_id", "item_idx")
    return _statistics(entities, interactions, "item_idx", numeric, categorical)
