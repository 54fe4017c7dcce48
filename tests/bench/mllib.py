"""MLlib's side, in recspark's own session: ALS, and the top-k of all users."""

from __future__ import annotations

from typing import Any

from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import functions as F

from recspark.columns import ITEM, USER
from tests.bench.ours import materialise, session, timed

_models: dict[str, ALSModel] = {}


def fit(folder: str, *, max_iter: int, rank: int, alpha: float, reg: float, seed: int, blocks: int) -> float:
    """Fits, and keeps the model; returns the seconds, from pairs in Spark's cache to the users' factors."""
    pairs = session().read.parquet(folder).select(F.col("user_idx").cast("int"), "item_idx", F.lit(1.0).cast("float").alias("rating"))
    columns = {"userCol": "user_idx", "itemCol": "item_idx", "ratingCol": "rating"}
    knobs = {"rank": rank, "maxIter": max_iter, "regParam": reg, "alpha": alpha, "seed": seed}
    solver = ALS(implicitPrefs=True, numUserBlocks=blocks, numItemBlocks=blocks, **columns, **knobs)

    def work() -> None:
        _models["als"] = solver.fit(pairs)
        materialise(_models["als"].userFactors)

    pairs.persist().count()
    try:
        return timed(work)[0]
    finally:
        pairs.unpersist()


def als(folder: str, *, iterations: int, **knobs: Any) -> tuple[float, dict[str, Any]]:
    """Seconds of one full iteration, from fits of 1 and of 1 + `iterations`.

    Raises:
        ValueError: the longer fit took no longer.
    """
    short, long = (fit(folder, max_iter=n, **knobs) for n in (1, 1 + iterations))
    if long <= short:
        raise ValueError(
            f"MLlib: {1 + iterations} iterations took {long:.2f} s and 1 took {short:.2f} s: the world is too small to time an iteration"
        )
    return (long - short) / iterations, {"whole": long}


def write_factors(to: str) -> None:
    """The last fit's, as kind, idx, vector."""
    model = _models["als"]
    kinds = [
        frame.select(F.lit(kind).alias("kind"), F.col("id").cast("bigint").alias("idx"), F.col("features").alias("vector"))
        for frame, kind in ((model.userFactors, USER), (model.itemFactors, ITEM))
    ]
    materialise(kinds[0].unionByName(kinds[1]), to)


def topk(*, k: int) -> tuple[float, dict[str, Any]]:
    """recommendForAllUsers: it knows no mask, so it does less than the others."""
    return timed(lambda: materialise(_models["als"].recommendForAllUsers(k)))


def masked_topk(folder: str, *, k: int, to: str | None = None) -> tuple[float, dict[str, Any]]:
    """The same with a mask: k and the longest history, less the pairs that are known, cut to k. As rows of `source_candidates`."""
    pairs = session().read.parquet(folder).select(F.col("user_idx").cast("int"), "item_idx")

    def work() -> None:
        longest = pairs.groupBy("user_idx").count().agg(F.max("count")).collect()[0][0]
        many = _models["als"].recommendForAllUsers(k + longest)
        flat = many.select("user_idx", F.posexplode("recommendations").alias("place", "found"))
        left = flat.select("user_idx", "place", "found.item_idx", "found.rating").join(pairs, ["user_idx", "item_idx"], "left_anti")
        best = left.groupBy("user_idx").agg(
            F.slice(F.array_sort(F.collect_list(F.struct("place", "item_idx", "rating"))), 1, k).alias("best")
        )
        columns = (
            F.col("user_idx").cast("bigint").alias("request_idx"),
            F.col("best.item_idx").alias("items"),
            F.col("best.rating").alias("scores"),
        )
        materialise(best.select(*columns), to)

    return timed(work)
