"""Which categories of an item count in quotas, as numbers."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recspark.columns import NO_CATEGORY

_CODES = "array<int>"


def with_quota(rows: DataFrame, entities: DataFrame, most: int | None) -> DataFrame:
    """`rows` (idx, ...) with `quota`, 0 for none, and `quota_categories`: of each item its categories' numbers, in lists of one length.

    Numbers are dense, by name. `entities` has idx and categories; all of an item's categories count.
    """
    none = F.array(F.lit(NO_CATEGORY))
    if most is None:
        return rows.withColumns({"quota_categories": none, "quota": F.lit(0)})
    named = entities.select("idx", F.explode("categories").alias("name")).distinct()
    numbers = named.select("name").distinct().withColumn("code", F.row_number().over(Window.orderBy("name")) - 1)
    codes = named.join(numbers, "name").groupBy("idx").agg(F.array_sort(F.collect_list("code")).alias("codes"))
    longest = codes.agg(F.coalesce(F.max(F.size("codes")), F.lit(1)).alias("longest"))
    own = F.coalesce("codes", F.array().cast(_CODES))
    padded = F.slice(F.concat(own, F.array_repeat(F.lit(NO_CATEGORY), F.col("longest"))), 1, F.col("longest"))
    joined = rows.join(codes, "idx", "left").crossJoin(longest)
    return joined.withColumns({"quota_categories": padded, "quota": F.lit(most)}).drop("codes", "longest")
