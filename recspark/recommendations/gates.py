"""staged_recommendations -> gates: the figures that decide whether they go live."""

from __future__ import annotations

from typing import Annotated

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.columns import RANKER
from recspark.tables.lineage import Before


def _counts(staged: DataFrame, requests: DataFrame, seen: DataFrame) -> DataFrame:
    """One row: requests, and how many of them are covered, are empty; items that stand twice; items that were seen."""
    mine = staged.select("request_idx", "item_idxs", "shortfall")
    masked = seen.select("request_idx", F.col("items").alias("seen"))
    joined = requests.select("request_idx", "k").join(mine, "request_idx", "left").join(masked, "request_idx", "left")
    # Not size: that of null is -1.
    n_items = F.coalesce(F.array_size("item_idxs"), F.lit(0))
    leaks = F.when(F.col("item_idxs").isNotNull() & F.col("seen").isNotNull(), F.size(F.array_intersect("item_idxs", "seen"))).otherwise(0)
    repeated = F.when(F.col("item_idxs").isNull(), 0).otherwise(n_items - F.size(F.array_distinct("item_idxs")))
    covered = F.col("item_idxs").isNotNull() & ((n_items >= F.col("k")) | (F.col("shortfall") != ""))
    return joined.agg(
        F.count(F.lit(1)).alias("n"),
        F.sum(covered.cast("double")).alias("n_covered"),
        F.sum((n_items == 0).cast("double")).alias("n_empty"),
        F.sum(repeated).cast("double").alias("duplicates"),
        F.sum(leaks).cast("double").alias("seen_leaks"),
    )


def _churn(staged: DataFrame, live: DataFrame | None) -> DataFrame:
    """One row: users in both versions, and 1 - their mean Jaccard overlap of item_ids. Two empty lists overlap wholly."""
    if live is None:
        return staged.limit(0).agg(F.count(F.lit(1)).alias("n_both"), F.lit(None).cast("double").alias("churn"))

    def ids(frame: DataFrame, name: str) -> DataFrame:
        return frame.select("user_id", F.transform("items", lambda one: one["item_id"]).alias(name))

    both = ids(staged, "new").join(ids(live, "old"), "user_id")
    union = F.size(F.array_union("new", "old"))
    overlap = F.when(union == 0, 1.0).otherwise(F.size(F.array_intersect("new", "old")) / union)
    return both.agg(F.count(F.lit(1)).alias("n_both"), (1.0 - F.avg(overlap)).alias("churn"))


def _gate(name: str, value: Column, limit: Column, passed: Column, message: Column) -> Column:
    return F.struct(
        F.lit(name).alias("gate"),
        value.cast("double").alias("value"),
        limit.cast("double").alias("limit"),
        F.coalesce(passed, F.lit(False)).alias("passed"),
        message.alias("message"),
    )


def _share(name: str, count: str, what: str, limit: float, at_least: bool) -> Column:
    """The gate of a share of the requests; without requests it does not pass."""
    share = F.when(F.col("n") > 0, F.col(count) / F.col("n"))
    bound = f"at least {limit}" if at_least else f"at most {limit}"
    text = F.format_string(f"%.0f of %d requests {what}: the share is %.4f, and must be {bound}", count, "n", share)
    message = F.when(F.col("n") > 0, text).otherwise("there are no requests")
    return _gate(name, share, F.lit(limit), share >= limit if at_least else share <= limit, message)


def _count(name: str, what: str, limit: int) -> Column:
    value = F.coalesce(F.col(name), F.lit(0.0))
    return _gate(name, value, F.lit(limit), value <= limit, F.format_string(f"%.0f recommended items {what}; at most {limit} may", value))


def _churn_gate(limit: float) -> Column:
    unknown = F.col("churn").isNull()
    text = F.format_string(f"the lists of %d users in both versions changed by %.4f on average; at most {limit} may", "n_both", "churn")
    message = F.when(unknown, "no user is in a live version yet").otherwise(text)
    return _gate("churn", F.col("churn"), F.lit(limit), unknown | (F.col("churn") <= limit), message)


def quality_gate(min_ratio: float, min_quality: float) -> Column:
    """The gate of the figures in a row of `champion`; without a row (nulls) it does not pass."""
    figure = F.when(F.col("model") == RANKER, F.col("ranker_value")).otherwise(F.col("best_source_value"))
    limit = F.greatest(F.lit(min_quality), F.coalesce(F.col("best_source_value") * min_ratio, F.lit(min_quality)))
    asked = f"{min_ratio} of the best single source's, and at least {min_quality}"
    message = (
        F.when(F.col("model").isNull(), "there is no champion")
        .when(figure.isNull(), F.format_string(f"%s has no figure on tune; it must have {asked}", "model"))
        .otherwise(F.format_string(f"%s has %s %.4f on tune; it must have %.4f: {asked}", "model", "metric", figure, limit))
    )
    unmeasured = F.col("model").isNotNull() & figure.isNull() & F.lit(min_quality <= 0)
    return _gate("quality", figure, limit, unmeasured | (figure >= limit), message)


def build_gates(
    staged_recommendations: DataFrame,
    requests: DataFrame,
    seen: DataFrame,
    champion: DataFrame,
    recommendations: Annotated[DataFrame, Before("recommendations")] | None,
    *,
    min_coverage: float = 1.0,
    max_empty: float = 0.1,
    max_duplicates: int = 0,
    max_seen_leaks: int = 0,
    max_churn: float = 1.0,
    min_quality_ratio: float = 1.0,
    min_quality: float = 0.0,
) -> DataFrame:
    """One row a gate: its figure, its limit, whether it passed, and the figure in words. One pass over the staged rows.

    coverage    share of requests with k items or a stated shortfall; at least `min_coverage`
    empty       share of requests without any item; at most `max_empty`
    duplicates  items that stand twice in a list; at most `max_duplicates`
    seen_leaks  items that the request has seen; at most `max_seen_leaks`
    churn       1 - mean Jaccard overlap with the live lists of the users in both; at most `max_churn`; passes without live lists
    quality     the champion's figure on tune; at least `min_quality_ratio` times the best single source's, and `min_quality`;
                where tune has no figure it passes unless `min_quality` asks for one

    `recommendations` None: nothing is live yet.
    """
    figures = _counts(staged_recommendations, requests, seen).crossJoin(_churn(staged_recommendations, recommendations))
    decided = champion.select("model", "metric", "ranker_value", "best_source_value")
    gates = F.array(
        _share("coverage", "n_covered", "have k items or a stated shortfall", min_coverage, at_least=True),
        _share("empty", "n_empty", "have no item at all", max_empty, at_least=False),
        _count("duplicates", "stand twice in their list", max_duplicates),
        _count("seen_leaks", "had been seen", max_seen_leaks),
        _churn_gate(max_churn),
        quality_gate(min_quality_ratio, min_quality),
    )
    return figures.join(decided, how="left").select(F.explode(gates).alias("one")).select("one.*")
