"""staged_recommendations -> gates: the figures that decide whether they go live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.columns import RANKER
from recspark.handover.arrays import Published
from recspark.kernels.catalogue import available_items, category_quota
from recspark.kernels.checks import check_lists
from recspark.kernels.masks import Quota, mask_of
from recspark.kernels.ragged import allow_lists, as_ragged
from recspark.tables.lineage import Before, ItemFeatures

# Sums over a batch of requests.
_COUNTS = ("n", "n_covered", "n_empty", "duplicates", "seen_leaks", "not_allowed", "unavailable", "over_quota")


def _count_batch(batch: pa.RecordBatch, available: np.ndarray, quota: Quota) -> pa.RecordBatch:
    ks, is_staged, is_explained = (batch.column(name).to_numpy(zero_copy_only=False) for name in ("k", "is_staged", "is_explained"))
    mask = mask_of(available, as_ragged(batch.column("seen")), *allow_lists(batch.column("allowed")), quota)
    found = check_lists(as_ragged(batch.column("item_idxs")), mask, ks)
    covered = is_staged & ((found.n_items >= ks) | (is_explained & (found.n_left == 0)))
    empty = found.n_items == 0
    flaws = (found.n_repeated, found.n_seen, found.n_not_allowed, found.n_unavailable, found.n_over_quota)
    sums = [batch.num_rows, *(int(one.sum()) for one in (covered, empty, *flaws))]
    return pa.RecordBatch.from_arrays([pa.array([float(one)]) for one in sums], names=list(_COUNTS))


def _counts(staged: DataFrame, requests: DataFrame, seen: DataFrame, item_features: Published) -> DataFrame:
    """One row: requests, and how many of them are covered, are empty; items that stand twice, were seen, are not allowed, are not available, are over a quota."""
    mine = staged.select("request_idx", "item_idxs", (F.col("shortfall") != "").alias("is_explained"), F.lit(True).alias("is_staged"))
    joined = (
        requests.select("request_idx", "k")
        .join(mine, "request_idx", "left")
        .join(seen.select("request_idx", F.col("items").alias("seen"), "allowed"), "request_idx", "left")
    )
    nothing = F.array().cast("array<int>")
    filled = {name: F.coalesce(name, nothing) for name in ("item_idxs", "seen")}
    filled |= {name: F.coalesce(name, F.lit(False)) for name in ("is_staged", "is_explained")}

    def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        features = item_features.arrays()
        available, quota = available_items(features), category_quota(features)
        for batch in batches:
            if batch.num_rows:
                yield _count_batch(batch, available, quota)

    sums = joined.withColumns(filled).mapInArrow(count, ", ".join(f"{name} double" for name in _COUNTS))
    return sums.agg(*[F.coalesce(F.sum(name), F.lit(0.0)).alias(name) for name in _COUNTS])


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


def _share(name: str, count: str, what: str, limit: float, knob: str) -> Column:
    """The gate of a share of the requests; without requests it does not pass."""
    share = F.when(F.col("n") > 0, F.col(count) / F.col("n"))
    at_least = knob.startswith("min_")
    bound = f"{'at least' if at_least else 'at most'} {limit} (gates.{knob})"
    text = F.format_string(f"%.0f of %.0f requests {what}: the share is %.4f, and must be {bound}", count, "n", share)
    message = F.when(F.col("n") > 0, text).otherwise("there are no requests")
    return _gate(name, share, F.lit(limit), share >= limit if at_least else share <= limit, message)


def _count(name: str, what: str, limit: int) -> Column:
    message = F.format_string(f"%.0f recommended items {what}; at most {limit} may (gates.max_{name})", name)
    return _gate(name, F.col(name), F.lit(limit), F.col(name) <= limit, message)


def _churn_gate(limit: float) -> Column:
    unknown = F.col("churn").isNull()
    text = F.format_string(
        f"the lists of %d users in both versions changed by %.4f on average; at most {limit} may (gates.max_churn)", "n_both", "churn"
    )
    message = F.when(unknown, "no user is in a live version yet").otherwise(text)
    return _gate("churn", F.col("churn"), F.lit(limit), unknown | (F.col("churn") <= limit), message)


def quality_gate(min_ratio: float, min_quality: float) -> Column:
    """The gate of the figures in a row of `champion`; without a row (nulls) it does not pass."""
    figure = F.when(F.col("model") == RANKER, F.col("ranker_value")).otherwise(F.col("best_source_value"))
    limit = F.greatest(F.lit(min_quality), F.coalesce(F.col("best_source_value") * min_ratio, F.lit(min_quality)))
    asked = (
        f"it must have {min_ratio:g} times the best source's (gates.min_quality_ratio), and at least {min_quality:g} (gates.min_quality)"
    )
    best = F.format_string("the best source, %s, %.4f", "best_source", "best_source_value")
    best = F.when(F.col("best_source_value").isNull(), "no source has a figure").otherwise(best)
    message = (
        F.when(F.col("model").isNull(), "there is no champion")
        .when(figure.isNull(), F.format_string(f"%s has no figure on tune: {asked}", "model"))
        .otherwise(F.format_string(f"%s has %s %.4f on tune (%s): {asked}", "model", "metric", figure, best))
    )
    unmeasured = F.col("model").isNotNull() & figure.isNull() & F.lit(min_quality <= 0)
    return _gate("quality", figure, limit, unmeasured | (figure >= limit), message)


def build_gates(
    staged_recommendations: DataFrame,
    requests: DataFrame,
    seen: DataFrame,
    champion: DataFrame,
    item_features: ItemFeatures,
    recommendations: Annotated[DataFrame, Before("recommendations")] | None,
    *,
    min_coverage: float = 1.0,
    max_empty: float = 0.1,
    max_duplicates: int = 0,
    max_seen_leaks: int = 0,
    max_not_allowed: int = 0,
    max_unavailable: int = 0,
    max_over_quota: int = 0,
    max_churn: float = 1.0,
    min_quality_ratio: float = 1.0,
    min_quality: float = 0.0,
) -> DataFrame:
    """One row a gate: its figure, its limit, whether it passed, and the figure in words. One pass over the staged rows.

    coverage    share of requests with k items, or else all that are left to them (available, unseen, allowed, with room in their
                categories) and a stated shortfall; at least `min_coverage`. What is left is counted here, from `seen` and `item_features`
    empty       share of requests without any item; at most `max_empty`
    duplicates  items that stand twice in a list; at most `max_duplicates`
    seen_leaks  items that the request has seen or blocked; at most `max_seen_leaks`
    not_allowed items outside the allow list of a request that has one; at most `max_not_allowed`
    unavailable items that may not be recommended; at most `max_unavailable`
    over_quota  items beyond the quota of one of their categories; at most `max_over_quota`
    churn       1 - mean Jaccard overlap with the live lists of the users in both; at most `max_churn`; passes without live lists
    quality     the champion's figure on tune; at least `min_quality_ratio` times the best single source's, and `min_quality`;
                where tune has no figure it passes unless `min_quality` asks for one

    `recommendations` None: nothing is live yet.
    """
    figures = _counts(staged_recommendations, requests, seen, item_features).crossJoin(_churn(staged_recommendations, recommendations))
    decided = champion.select("model", "metric", "ranker_value", "best_source", "best_source_value")
    gates = F.array(
        _share("coverage", "n_covered", "have k items, or all that are left to them and a stated shortfall", min_coverage, "min_coverage"),
        _share("empty", "n_empty", "have no item at all", max_empty, "max_empty"),
        _count("duplicates", "stand twice in their list", max_duplicates),
        _count("seen_leaks", "had been seen or blocked", max_seen_leaks),
        _count("not_allowed", "are not in their request's allow list", max_not_allowed),
        _count("unavailable", "are not available", max_unavailable),
        _count("over_quota", "are beyond the quota of a category", max_over_quota),
        _churn_gate(max_churn),
        quality_gate(min_quality_ratio, min_quality),
    )
    return figures.join(decided, how="left").select(F.explode(gates).alias("one")).select("one.*")
