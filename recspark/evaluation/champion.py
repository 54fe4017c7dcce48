"""metrics at `tune` -> champion: what is published."""

from __future__ import annotations

from typing import Annotated

from pydantic import PositiveInt
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.columns import FIT, RANKER, TUNE
from recspark.errors import ConfigError
from recspark.tables.lineage import At


def _value_of(model: str) -> Column:
    """The model's own figure; null where it has none or it is no number."""
    return F.max(F.when((F.col("model") == model) & ~F.isnan("value"), F.col("value")))


def _best_source(sources: list[str]) -> Column:
    """struct(value, place, source) of the best source; ties go to the first named; null where no source has a figure."""
    values = [(source, place, F.col(f"`value_{source}`")) for place, source in enumerate(sources)]
    figures = [F.when(v.isNotNull(), F.struct(v.alias("value"), F.lit(-p).alias("place"), F.lit(s).alias("source"))) for s, p, v in values]
    return F.array_max(F.array(*figures))


def _reason(metric: str) -> Column:
    beats = F.format_string(f"the ranker's {metric} on tune, %.4f, ", "ranker_value")
    missing = F.when(F.col("trained"), "no ranker was measured on tune").otherwise(
        "no ranker was trained (no labelled slates at fit, or none at tune to choose it by)"
    )
    no_ranker = F.concat(missing, F.format_string(f": %s has the best {metric} of the sources, %.4f", "best.source", "best.value"))
    nothing = F.concat(F.when(F.col("trained"), "").otherwise(F.concat(missing, F.lit("; "))), F.lit(f"no model has a {metric} on tune: "))
    wins = F.concat(beats, F.format_string("is at least that of the best source, %s, %.4f", "best.source", "best.value"))
    loses = F.concat(beats, F.format_string(f"is below that of %s, %.4f: {metric} decides for the source", "best.source", "best.value"))
    ranker_missing, sources_missing = F.col("ranker_value").isNull(), F.col("best").isNull()
    return (
        F.when(ranker_missing & sources_missing, F.concat(nothing, F.col("model"), F.lit(" is published")))
        .when(sources_missing, F.concat(beats, F.lit("stands alone: no source was measured")))
        .when(ranker_missing, no_ranker)
        .when(F.col("model") == RANKER, wins)
        .otherwise(loses)
    )


def build_champion(
    metrics: Annotated[DataFrame, At(TUNE)],
    rankers: Annotated[DataFrame, At(FIT)] | None,
    *,
    metric: str = "ndcg",
    k: PositiveInt = 10,
    sources: list[str] = ["als", "item_knn", "popular"],  # noqa: B006 (a knob's default, never changed)
) -> DataFrame:
    """One row: the ranker if its `metric`@`k` on `tune` is at least that of the best single source, else that source.

    `rankers` says in the reason whether there was a ranker to measure; without the job that trains it, it is None.
    Where nothing has a figure (no labels on tune), popular is published if it is a source, else the last one named: what needs
    the least to be right. One row always, computed lazily.

    Raises:
        ConfigError: no source is named.
    """
    if not sources:
        raise ConfigError("champion.sources is empty: name at least one candidate source")
    fallback = "popular" if "popular" in sources else sources[-1]
    own = metrics.filter((F.col("metric") == metric) & (F.col("k") == k) & (F.col("slice") == "all") & (F.col("baseline") == ""))
    values = own.agg(_value_of(RANKER).alias("ranker_value"), *[_value_of(source).alias(f"value_{source}") for source in sources])
    ranker_wins = F.col("ranker_value").isNotNull() & (F.col("best").isNull() | (F.col("ranker_value") >= F.col("best.value")))
    model = F.when(ranker_wins, F.lit(RANKER)).otherwise(F.coalesce("best.source", F.lit(fallback)))
    trained = values.withColumn("trained", F.lit(True))
    if rankers is not None:
        trained = values.crossJoin(rankers.agg((F.count(F.lit(1)) > 0).alias("trained")))
    decided = trained.withColumn("best", _best_source(sources)).withColumn("model", model)
    return decided.select(
        "model",
        F.lit(f"{metric}@{k}").alias("metric"),
        "ranker_value",
        F.coalesce("best.source", F.lit(fallback)).alias("best_source"),
        F.col("best.value").alias("best_source_value"),
        _reason(f"{metric}@{k}").alias("reason"),
    )
