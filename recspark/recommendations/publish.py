"""staged_recommendations, gates -> recommendations: what goes live."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def build_recommendations(staged_recommendations: DataFrame, gates: DataFrame) -> DataFrame:
    """user_id and items of every staged row. Never no rows: the live ones would go with them.

    Where a gate did not pass, none was checked or nothing is staged, the query itself fails and says which.
    """
    rows = staged_recommendations.select("user_id", "items")
    failed = F.array_sort(F.collect_list(F.when(~F.coalesce("passed", F.lit(False)), F.concat_ws(": ", "gate", "message"))))
    verdict = gates.agg(F.count(F.lit(1)).alias("n_gates"), failed.alias("failed")).crossJoin(
        rows.limit(1).agg(F.count("*").alias("n_staged"))
    )
    reason = (
        F.when(F.size("failed") > 0, F.concat(F.lit("failed gates: "), F.array_join("failed", "; ")))
        .when(F.col("n_gates") == 0, "no gate was checked; run gates first")
        .when(F.col("n_staged") == 0, "nothing is staged; look at requests")
    )
    refused = F.raise_error(F.concat(F.lit("recommendations are not published, the live ones stay: "), reason)).cast("string")
    # A row that either raises or is left out: the query cannot do without it, however few rows are staged.
    guard = verdict.select(
        F.when(reason.isNotNull(), refused).alias("user_id"), F.lit(None).cast(rows.schema["items"].dataType).alias("items")
    )
    return rows.unionByName(guard.filter("user_id is not null"))
