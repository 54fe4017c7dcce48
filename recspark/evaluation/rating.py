"""Errors of predicted ratings."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

# mae = sum |predicted - value| / pairs; rmse = sqrt(sum (predicted - value)^2 / pairs);
# rating_coverage = pairs predicted without a fallback / pairs. (Herlocker et al. 2004)
RATING_METRICS = ("mae", "rmse", "rating_coverage")


def with_rating_sums(frame: DataFrame, predictions: DataFrame) -> DataFrame:
    """`frame` (a row a request) with n_pairs and the sums that RATING_METRICS divide by it; 0 where nothing was predicted.

    All pairs count alike, however many a request has; pairs with a fallback are part of the errors.
    """
    error = F.col("predicted") - F.col("value")
    sums = predictions.groupBy("request_idx").agg(
        F.count(F.lit(1)).cast("double").alias("n_pairs"),
        F.sum(F.abs(error)).alias("sum_mae"),
        F.sum(error * error).alias("sum_rmse"),
        F.sum((F.col("fallback") == "none").cast("double")).alias("sum_rating_coverage"),
    )
    return frame.join(sums, "request_idx", "left").fillna(0.0, subset=["n_pairs", *[f"sum_{metric}" for metric in RATING_METRICS]])
