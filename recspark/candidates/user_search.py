"""The most similar users of each: exactly, block by block, or among the clusters a user is nearest to.

Both are one task's work (`_search`): it keeps the users of its block, lets others pass by, and forgets them. The exact search
lets everyone pass by every block. The clustered one assigns each user to the nearest of n_clusters centroids (spherical
k-means: Dhillon and Modha, Machine Learning 42, 2001) and looks for a user's neighbours in the n_probes nearest clusters (an
inverted file, as in Jegou, Douze and Schmid, TPAMI 33(1), 2011); similarities of those it meets are exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recspark.candidates.spreading import runs_of, spread
from recspark.candidates.user_vectors import SCHEMA, vectors_of
from recspark.kernels.lists import NeighbourRows
from recspark.kernels.user_neighbours import BlockSearch, Measure, Nearest

_NEIGHBOURS = "idx bigint, neighbour_idx bigint, score float, support int, position int"
# Centroids are compared by plain cosine, whatever the measure.
_COSINE = Measure()


def _search(rows: DataFrame, n: int, measure: Measure) -> DataFrame:
    """Neighbours of the users of each block. Rows: SCHEMA and `_run`, which is 2 block, then 2 block + 1 for who passes by."""

    def found(search: BlockSearch | None) -> Iterator[pa.RecordBatch]:
        for columns in search.neighbours() if search else ():
            yield pa.RecordBatch.from_arrays([pa.array(column) for column in columns], names=list(NeighbourRows._fields))

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        block, own, search = -1, list[pa.RecordBatch](), None
        for key, some in runs_of(batches, "_run"):
            if key // 2 != block:
                yield from found(search)
                block, own, search = key // 2, [], None
            if key % 2 == 0:
                own.append(some)
                continue
            search = search or BlockSearch(vectors_of(own), n, measure)
            search.offer(vectors_of([some]))
        yield from found(search)

    return rows.select("user_idx", "items", "weights", "_run").sortWithinPartitions("_run").mapInArrow(run, _NEIGHBOURS)


def search_exactly(users: DataFrame, everyone: DataFrame, n: int, measure: Measure, n_blocks: int) -> DataFrame:
    """The n most similar of `everyone` for each of `users`: all pairs are looked at."""
    own = users.withColumn("_block", F.pmod("user_idx", F.lit(n_blocks)).cast("int")).withColumn("_run", 2 * F.col("_block"))
    copies = everyone.withColumn("_block", F.explode(F.sequence(F.lit(0), F.lit(n_blocks - 1))))
    others = copies.withColumn("_run", 2 * F.col("_block") + 1)
    return _search(spread(own.unionByName(others), "_block", n_blocks), n, measure)


def _nearest_clusters(users: DataFrame, centroids: DataFrame, n_clusters: int, n: int, n_blocks: int) -> DataFrame:
    """SCHEMA and `clusters`: the user's n nearest, best first; a user that is like none is put into one by its index.

    `centroids` (SCHEMA, the cluster in user_idx) are copied to each of n_blocks tasks.
    """
    own = users.withColumn("_part", F.pmod("user_idx", F.lit(n_blocks)).cast("int"))
    copies = centroids.withColumn("_part", F.explode(F.sequence(F.lit(0), F.lit(n_blocks - 1))))
    rows = own.withColumn("_run", 2 * F.col("_part") + 1).unionByName(copies.withColumn("_run", 2 * F.col("_part")))

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        part, own, nearest = -1, list[pa.RecordBatch](), None
        for key, some in runs_of(batches, "_run"):
            if key // 2 != part:
                part, own, nearest = key // 2, [], None
            if key % 2 == 0:
                own.append(some)
                continue
            nearest = nearest or Nearest(vectors_of(own), _COSINE)
            vectors = vectors_of([some])
            clusters = nearest.of(vectors, n)
            clusters[:, 0] = np.where(clusters[:, 0] < 0, vectors.ids % n_clusters, clusters[:, 0])
            lists = pa.ListArray.from_arrays(pa.array(np.arange(0, clusters.size + 1, n, dtype=np.int32)), pa.array(clusters.ravel()))
            columns = [some.column(name) for name in ("user_idx", "items", "weights")]
            yield pa.RecordBatch.from_arrays([*columns, lists], names=["user_idx", "items", "weights", "clusters"])

    placed = spread(rows, "_part", n_blocks).sortWithinPartitions("_run")
    found = placed.select("user_idx", "items", "weights", "_run").mapInArrow(run, f"{SCHEMA}, clusters array<bigint>")
    return found.withColumn("clusters", F.filter("clusters", lambda cluster: cluster >= 0))


def _centroids(members: DataFrame) -> DataFrame:
    """The sum of each cluster's unit vectors (SCHEMA, the cluster in user_idx); exact, so that the order of rows changes nothing."""
    square = F.aggregate("weights", F.lit(0.0), lambda so_far, weight: so_far + weight * weight)
    entries = members.select(
        F.col("clusters")[0].alias("user_idx"), F.explode(F.arrays_zip("items", "weights")).alias("_entry"), F.sqrt(square).alias("_norm")
    )
    share = F.try_divide(F.col("_entry.weights"), F.col("_norm")).cast("decimal(20,18)")
    sums = entries.groupBy("user_idx", F.col("_entry.items").alias("item")).agg(F.sum(share).cast("double").alias("weight"))
    packed = (
        sums.filter("weight is not null")
        .groupBy("user_idx")
        .agg(F.sort_array(F.collect_list(F.struct("item", "weight"))).alias("_entries"))
    )
    return packed.select("user_idx", F.col("_entries.item").alias("items"), F.col("_entries.weight").alias("weights"))


def assign_clusters(everyone: DataFrame, n_clusters: int, n_probes: int, n_rounds: int, n_blocks: int, seed: int) -> DataFrame:
    """SCHEMA and `clusters`: each user's n_probes nearest clusters, the own one first; kept where it was made.

    The first centroids are a seeded sample of users. Runs a job a round, and one more.
    """
    everyone.persist()
    sample = everyone.orderBy(F.xxhash64("user_idx", F.lit(seed)), "user_idx").limit(n_clusters)
    numbered = F.row_number().over(Window.orderBy("user_idx")).cast("bigint") - 1
    centroids = sample.withColumn("user_idx", numbered)
    try:
        for _ in range(n_rounds):
            centroids = _centroids(_nearest_clusters(everyone, centroids, n_clusters, 1, n_blocks)).localCheckpoint()
        return _nearest_clusters(everyone, centroids, n_clusters, n_probes, n_blocks).localCheckpoint()
    finally:
        everyone.unpersist()


def search_clusters(users: DataFrame, assigned: DataFrame, n: int, measure: Measure, n_blocks: int) -> DataFrame:
    """The n most similar of those `assigned` to the clusters of each of `users` (a part of `assigned`), in n_blocks tasks."""
    own = users.withColumn("_block", F.explode("clusters")).withColumn("_run", 2 * F.col("_block"))
    others = assigned.withColumn("_block", F.col("clusters")[0]).withColumn("_run", 2 * F.col("_block") + 1)
    found = _search(own.unionByName(others).repartition(n_blocks, "_block"), n, measure)
    best = Window.partitionBy("idx").orderBy(F.col("score").desc(), "neighbour_idx")
    return found.withColumn("position", F.row_number().over(best) - 1).filter(F.col("position") < n)


def search_for_few(users: DataFrame, everyone: DataFrame, n: int, measure: Measure, n_blocks: int) -> DataFrame:
    """As `search_exactly`, for a few `users`: they are copied to all of n_blocks tasks, and everyone else to one."""
    in_all = users.withColumn("clusters", F.sequence(F.lit(0).cast("bigint"), F.lit(n_blocks - 1).cast("bigint")))
    in_one = everyone.withColumn("clusters", F.array(F.pmod("user_idx", F.lit(n_blocks))))
    return search_clusters(in_all, in_one, n, measure, n_blocks)


def measure_recall(found: DataFrame, exact: DataFrame) -> float:
    """The share of the `exact` neighbours that are among the `found`; 1 where there are none to find. Runs a job."""
    pairs = exact.select("idx", "neighbour_idx").join(
        found.select("idx", "neighbour_idx", F.lit(1).alias("_hit")), ["idx", "neighbour_idx"], "left"
    )
    return float(pairs.agg(F.coalesce(F.sum(F.coalesce("_hit", F.lit(0))) / F.count(F.lit(1)), F.lit(1.0))).collect()[0][0])
