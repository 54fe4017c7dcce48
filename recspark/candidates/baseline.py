"""How far users and items rate above the mean: the baseline of predicted ratings."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def damped_biases(ratings: DataFrame, damping: float) -> tuple[DataFrame, DataFrame]:
    """(user_idx, user_bias) and (item_idx, item_bias) of `ratings`: user_idx, item_idx, rating, and mean, the same in each row.

    The baseline of Koren (TKDD 4(1), 2010, section 2.1): b_i = sum(r - mean) / (n + damping), b_u = sum(r - mean - b_i) / (n + damping).
    """
    n, above = F.count(F.lit(1)) + F.lit(damping), F.col("rating") - F.col("mean")
    items = ratings.groupBy("item_idx").agg((F.sum(above) / n).alias("item_bias"))
    users = ratings.join(items, "item_idx").groupBy("user_idx").agg((F.sum(above - F.col("item_bias")) / n).alias("user_bias"))
    return users, items
