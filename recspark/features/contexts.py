"""What next-item models read of a request: its history, and what is known of its user."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def with_user_features(rows: DataFrame, user_features: DataFrame) -> DataFrame:
    """`rows` with what is known of each one's `user_idx`; nulls where nothing is."""
    named = user_features.select("user_idx", F.col("numbers").alias("user_numbers"), F.col("categories").alias("user_categories"))
    return rows.join(named, "user_idx", "left")


def build_contexts(requests: DataFrame, histories: DataFrame, user_features: DataFrame) -> DataFrame:
    """Each request's history beside its user's features, as numbers a model can read.

    Apart from `histories`: these keep for good what a night gone by knew, while features are encoded anew whenever a new
    part is learnt from.
    """
    known = with_user_features(requests.select("request_idx", "user_idx"), user_features)
    own = histories.select("request_idx", "items", "event_types", "ages", "length")
    return own.join(known.drop("user_idx"), "request_idx")
