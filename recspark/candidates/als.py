"""Matrix factorisation by alternating least squares: vectors of users and items, and the items nearest to each user."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.candidates.proposals import Kernel, matrix, propose
from recspark.candidates.weights import add_up_pairs, keep_latest_ratings
from recspark.columns import ITEM, USER
from recspark.errors import ConfigError, LimitError
from recspark.kernels.factors import item_factors, top_items_by_factors
from recspark.kernels.masks import Mask
from recspark.tables.lineage import ItemFeatures, ItemVectors, LearnRows
from recspark.tables.weights import ValueAs, with_weight

# MLlib's ALS casts ids to int.
_LARGEST_INDEX = (1 << 31) - 1


def _biases(ratings: DataFrame, mean: float, damping: float) -> tuple[DataFrame, DataFrame]:
    """(user_idx, user_bias) and (item_idx, item_bias): damped mean offsets; the mean itself is part of the item's bias.

    The baseline of Koren (TKDD 4(1), 2010, section 2.1): b_i = sum(r - mean) / (n + damping), b_u = sum(r - mean - b_i) / (n + damping).
    """
    n = F.count(F.lit(1)) + F.lit(damping)
    items = ratings.groupBy("item_idx").agg((mean + F.sum(F.col("rating") - mean) / n).alias("item_bias"))
    users = ratings.join(items, "item_idx").groupBy("user_idx").agg((F.sum(F.col("rating") - F.col("item_bias")) / n).alias("user_bias"))
    return users, items


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


def _no_vectors(ratings: DataFrame) -> DataFrame:
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
        return _no_vectors(ratings)
    if facts["last_user"] > _LARGEST_INDEX:
        raise LimitError(
            f"user_idx {facts['last_user']} is above {_LARGEST_INDEX}: MLlib's ALS casts indexes to int; "
            "learn from users with smaller indexes"
        )
    users = items = None
    if bias_damping is not None:
        users, items = _biases(ratings, facts["mean"], bias_damping)
        ratings = _left_over(ratings, users, items)
    model = solver.fit(_ordered(ratings))
    return _vector_rows(model.userFactors, USER, users).unionByName(_vector_rows(model.itemFactors, ITEM, items))


def score_als_candidates(
    vectors: DataFrame,
    requests: DataFrame,
    seen: DataFrame,
    item_vectors: ItemVectors,
    item_features: ItemFeatures,
    *,
    n_candidates: PositiveInt = 100,
) -> DataFrame:
    """For each request whose user has a vector the n_candidates items with the largest dot product plus biases: allowed, not seen.

    Exact search over all items, in tiles. Requests without a user vector, or without any item left, have no row.

    Args:
        n_candidates: how many items to propose; each costs space, and work in every later step.
    """

    def open_kernel() -> Kernel:
        vectors = item_vectors.arrays()
        items = item_factors(*(vectors[name] for name in ("idx", "vector", "bias")))

        def kernel(batch: pa.RecordBatch, mask: Mask) -> tuple[np.ndarray, np.ndarray]:
            return top_items_by_factors(matrix(batch.column("vector")), batch.column("bias").to_numpy(), items, mask, n_candidates)

        return kernel

    users = vectors.filter((F.col("kind") == USER) & (F.col("source") == "als"))
    known = requests.join(users.select(F.col("idx").alias("user_idx"), "vector", "bias"), "user_idx")
    return propose(known.select("request_idx", "vector", "bias"), seen, item_features, open_kernel)


def fit_als(
    interactions: LearnRows,
    *,
    weights: dict[str, float],
    implicit: bool = True,
    rank: PositiveInt = 64,
    max_iter: PositiveInt = 10,
    reg: NonNegativeFloat = 0.05,
    alpha: NonNegativeFloat = 1.0,
    nonnegative: bool = False,
    bias_damping: NonNegativeFloat = 5.0,
    value_as: ValueAs = "log",
    half_life_days: PositiveFloat | None = None,
    n_user_blocks: PositiveInt = 4,
    n_item_blocks: PositiveInt = 4,
    block_size: PositiveInt = 4096,
    checkpoint_interval: int = 10,
    intermediate_storage_level: str = "MEMORY_AND_DISK",
    final_storage_level: str = "MEMORY_AND_DISK",
    seed: NonNegativeInt = 1,
) -> DataFrame:
    """Vectors of all users and items with learnt events: kind, idx, vector [rank], bias. The solver is MLlib's ALS.

    Implicit (Hu, Koren and Volinsky, ICDM 2008): a pair's strength r is the sum of its event weights (`with_weight`); preference
    1 with confidence 1 + alpha * r; biases are 0.
    Explicit (Zhou et al., AAIM 2008: regularisation by number of ratings): a pair's rating is its latest value; an event without
    a value is no rating. The factors learn what mean, item bias and user bias leave over; prediction = dot product + the two
    biases, the mean being part of the item's. (MovieLens, 100,004 ratings, a fifth held out, rank 8 to 32, each at its best
    reg: RMSE .875 to .878 with biases, .912 on raw ratings, .901 to .911 less the mean only.) With `nonnegative` the factors
    learn the ratings as they are, and biases are 0.
    Without any rating the result is empty. Equal for any partitioning up to rounding of sums.

    Args:
        weights: weight of each event type; 0 leaves it out. Explicit: only above 0 or not matters.
        implicit: learn from what was used (true) or from rating values (false).
        rank: number of factors; finer tastes against time (rank^2 to rank^3) and overfitting.
        max_iter: passes over users and items; 10 to 20 are enough.
        reg: regularisation, multiplied by each row's number of ratings; explicit ratings want about .1 to .2.
        alpha: implicit: how much more a used pair counts than an unused one.
        nonnegative: non-negative factors; slower.
        bias_damping: explicit: so many ratings at the mean are assumed of everyone.
        value_as: implicit: how an event's value (a quantity, seconds) enters its weight: ignore, linear, or log (log2(1 + value)).
        half_life_days: implicit: after so many days an event weighs half; none for no decay. Needs times.
        n_user_blocks: user blocks: tasks of a pass; at least the number of cores, few for small data.
        n_item_blocks: item blocks, likewise.
        block_size: rows of a matrix block in the solver.
        checkpoint_interval: passes between checkpoints, where the session has a checkpoint folder; -1 for none.
        intermediate_storage_level: where the ratings and the factors between passes are kept.
        final_storage_level: where the fitted factors are kept until they are written.
        seed: of the first factors.

    Raises:
        ConfigError: event weights that nothing can be learnt from; decay of explicit ratings, or of events without times.
        LimitError: an index that MLlib's ALS cannot hold.
    """
    if half_life_days is not None and not implicit:
        raise ConfigError("half_life_days is set, but explicit ratings do not decay: leave it out, or set implicit to true")
    if implicit:
        interactions = with_weight(interactions, weights, value_as=value_as, half_life_days=half_life_days)
    # By user first: pairs are then summed without a second shuffle, in few partitions.
    by_user = interactions.repartition(n_user_blocks, "user_idx")
    ratings = add_up_pairs(by_user).withColumnRenamed("weight", "rating") if implicit else keep_latest_ratings(by_user, weights)
    solver = ALS(
        rank=rank,
        maxIter=max_iter,
        regParam=reg,
        numUserBlocks=n_user_blocks,
        numItemBlocks=n_item_blocks,
        implicitPrefs=implicit,
        alpha=alpha,
        nonnegative=nonnegative,
        checkpointInterval=checkpoint_interval,
        intermediateStorageLevel=intermediate_storage_level,
        finalStorageLevel=final_storage_level,
        blockSize=block_size,
        seed=seed,
        userCol="user_idx",
        itemCol="item_idx",
        ratingCol="rating",
    )
    # Read several times until the fit is done; the few reads after it are not worth the space.
    ratings.persist()
    try:
        return _fitted(solver, ratings, bias_damping if not implicit and not nonnegative else None)
    finally:
        ratings.unpersist()
