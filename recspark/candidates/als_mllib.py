"""Matrix factorisation by MLlib's ALS: for catalogues whose factors no task can hold, and to compare with."""

from __future__ import annotations

from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.candidates.baseline import damped_biases
from recspark.columns import ITEM, USER
from recspark.errors import LimitError

# MLlib's ALS casts ids to int.
_LARGEST_INDEX = (1 << 31) - 1
# Explicit: so many ratings at the mean are assumed of everyone.
_BIAS_DAMPING = 5.0


def _left_over(ratings: DataFrame, users: DataFrame, items: DataFrame) -> DataFrame:
    """`ratings` less both biases."""
    both = ratings.join(items, "item_idx").join(users, "user_idx")
    return both.select("user_idx", "item_idx", (F.col("rating") - F.col("item_bias") - F.col("user_bias")).alias("rating"))


def _vector_rows(factors: DataFrame, kind: str, biases: DataFrame | None) -> DataFrame:
    """MLlib's factors as rows of `vectors`; `biases` holds the kind's index and its bias, or there are none."""
    rows = factors.select(F.lit(kind).alias("kind"), F.col("id").cast("bigint").alias("idx"), F.col("features").alias("vector"))
    if biases is None:
        return rows.withColumn("bias", F.lit(0.0).cast("float"))
    index, bias = biases.columns
    return rows.join(biases.select(F.col(index).cast("bigint").alias("idx"), F.col(bias).cast("float").alias("bias")), "idx")


def no_vectors(ratings: DataFrame) -> DataFrame:
    """The vectors of nothing learnt."""
    nothing = ratings.filter(F.lit(False)).select(F.lit(USER).alias("kind"), F.col("user_idx").alias("idx"))
    return nothing.withColumn("vector", F.array().cast("array<float>")).withColumn("bias", F.lit(0.0).cast("float"))


def _ordered(ratings: DataFrame) -> DataFrame:
    """What MLlib is given, in one order within each partition: it sums in the order it gets."""
    typed = ratings.select(F.col("user_idx").cast("int"), "item_idx", F.col("rating").cast("float"))
    return typed.sortWithinPartitions("user_idx", "item_idx")


def _fitted(solver: ALS, ratings: DataFrame, bias_damping: float | None) -> DataFrame:
    """Rows of `vectors` for `ratings`; with `bias_damping` the factors learn what the biases leave over."""
    facts = ratings.agg(F.count(F.lit(1)).alias("n"), F.max("user_idx").alias("last_user"), F.avg("rating").alias("mean")).collect()[0]
    if not facts["n"]:
        return no_vectors(ratings)
    if facts["last_user"] > _LARGEST_INDEX:
        raise LimitError(
            f"user_idx {facts['last_user']} is above {_LARGEST_INDEX}: MLlib's ALS casts indexes to int; "
            "learn from users with smaller indexes, or choose vectors_als.engine: blocked"
        )
    users = items = None
    if bias_damping is not None:
        users, items = damped_biases(ratings.withColumn("mean", F.lit(facts["mean"])), bias_damping)
        # The mean itself is part of the item's bias.
        items = items.withColumn("item_bias", F.col("item_bias") + facts["mean"])
        ratings = _left_over(ratings, users, items)
    model = solver.fit(_ordered(ratings))
    return _vector_rows(model.userFactors, USER, users).unionByName(_vector_rows(model.itemFactors, ITEM, items))


def fit_mllib(
    ratings: DataFrame,
    *,
    implicit: bool,
    nonnegative: bool,
    rank: int,
    max_iter: int,
    reg: float,
    alpha: float,
    n_blocks: int,
    checkpoint_interval: int | None,
    seed: int,
) -> DataFrame:
    """Rows of `vectors` for `ratings` (user_idx, item_idx, rating; a row a pair) by MLlib.

    Implicit: Hu, Koren and Volinsky (ICDM 2008), confidence 1 + alpha * rating. Explicit: the factors learn what damped biases leave
    over, unless they must be non-negative. Regularised by reg times each row's number of ratings (Zhou et al., AAIM 2008).

    Raises:
        LimitError: an index that MLlib's ALS cannot hold.
    """
    solver = ALS(
        rank=rank,
        maxIter=max_iter,
        regParam=reg,
        numUserBlocks=n_blocks,
        numItemBlocks=n_blocks,
        implicitPrefs=implicit,
        alpha=alpha,
        nonnegative=nonnegative,
        checkpointInterval=checkpoint_interval or -1,
        seed=seed,
        userCol="user_idx",
        itemCol="item_idx",
        ratingCol="rating",
    )
    # Read several times until the fit is done; the few reads after it are not worth the space.
    ratings.persist()
    try:
        return _fitted(solver, ratings, None if implicit or nonnegative else _BIAS_DAMPING)
    finally:
        ratings.unpersist()
