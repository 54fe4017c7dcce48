"""Reads attributes of items and users: one frame for both, numbers and tokens out of strings."""

from __future__ import annotations

import re

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.features.spec import CategoricalSpec

_ATTRIBUTES = "map<string,string>"
_CATEGORIES = "array<string>"


def number_of(name: str) -> Column:
    """The attribute as a double; null where it is absent, does not parse or is not finite."""
    value = F.col("attributes")[name].try_cast("double")
    # NaN is greater than infinity here, so one comparison refuses both.
    return F.when(F.abs(value) < float("inf"), value)


def tokens_of(name: str, spec: CategoricalSpec) -> Column:
    """The attribute's distinct values without blanks around them, in the source's order; empty where there are none.

    The name `categories` is the array column of that name where the entity has one.
    """
    text = F.col("attributes")[name]
    values = F.split(text, re.escape(spec.separator)) if spec.separator else F.array(text)
    if name == "categories":
        values = F.coalesce(F.col("categories"), values)
    trimmed = F.transform(values, lambda value: F.trim(value))
    kept = F.array_distinct(F.filter(trimmed, lambda value: F.length(value) > 0))
    return F.coalesce(kept, F.array().cast(_CATEGORIES))


def with_attributes(index: DataFrame, clean: DataFrame | None, id_column: str, idx_column: str) -> DataFrame:
    """One row an entity of `index`: idx, attributes, categories, available; what is not known is null, available true."""
    known = {} if clean is None else dict(clean.dtypes)
    keys = index.select(id_column, F.col(idx_column).alias("idx"))
    rows = keys if clean is None else keys.join(clean, id_column, "left")
    absent = F.lit(None)
    return rows.select(
        "idx",
        (F.col("attributes") if "attributes" in known else absent.cast(_ATTRIBUTES)).alias("attributes"),
        (F.col("categories") if "categories" in known else absent.cast(_CATEGORIES)).alias("categories"),
        (F.coalesce("available", F.lit(True)) if "available" in known else F.lit(True)).alias("available"),
    )
