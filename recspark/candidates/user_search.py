"""The most similar users of each among the clusters a user is nearest to; and, of a few users, among all.

One task's work is `_search`: it keeps the users of its block, lets others pass by, and forgets them. Each user is assigned to
the nearest of n_clusters centroids (spherical k-means: Dhillon and Modha, Machine Learning 42, 2001), and a user's neighbours
are looked for in the n_probes nearest clusters (an inverted file, as in Jegou, Douze and Schmid, TPAMI 33(1), 2011);
similarities of those it meets are exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from recspark.candidates.cooccurring import NEIGHBOURS
from recspark.candidates.spreading import runs_of, spread
from recspark.candidates.user_vectors import SCHEMA, vectors_of
from recspark.kernels.lists import NeighbourRows
from recspark.kernels.user_neighbours import BlockSearch, Measure, Nearest

# A centroid is copied to every task, and one of many users has most items: of each, so many of the heaviest entries are kept.
_HEAVIEST = 1000
# A cluster of more than so many times the mean is split: its work is its members times its visitors.
_TOO_LARGE = 4


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

    return rows.select("user_idx", "items", "weights", "_run").sortWithinPartitions("_run").mapInArrow(run, NEIGHBOURS)


def _heaviest(vectors: DataFrame) -> DataFrame:
    """`vectors` (SCHEMA) with their _HEAVIEST entries of largest absolute weight; equals by item."""
    entries = F.zip_with(
        "items", "weights", lambda item, weight: F.struct((-F.abs(weight)).alias("_less"), item.alias("item"), weight.alias("weight"))
    )
    kept = F.slice(F.array_sort(entries), 1, _HEAVIEST)
    by_item = F.array_sort(F.transform(kept, lambda entry: F.struct(entry["item"].alias("item"), entry["weight"].alias("weight"))))
    return vectors.select("user_idx", by_item.alias("_kept")).select(
        "user_idx", F.col("_kept.item").alias("items"), F.col("_kept.weight").alias("weights")
    )


def _nearest_clusters(users: DataFrame, centroids: DataFrame, n_clusters: int, n: int, n_blocks: int) -> DataFrame:
    """SCHEMA and `clusters`: the user's n nearest, best first; a user that is like none is put into one by its index.

    `centroids` (SCHEMA, the cluster in user_idx) are copied to each of n_blocks tasks.
    """
    own = users.withColumn("_part", F.pmod(F.xxhash64("user_idx"), F.lit(n_blocks)).cast("int"))
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
            nearest = nearest or Nearest(vectors_of(own))
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
    """The sum of each cluster's unit vectors (SCHEMA, the cluster in user_idx), its heaviest entries; added exactly, in any order."""
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
    return _heaviest(packed.select("user_idx", F.col("_entries.item").alias("items"), F.col("_entries.weight").alias("weights")))


def _split_large(assigned: DataFrame, n_clusters: int) -> DataFrame:
    """`assigned`, where a cluster above _TOO_LARGE times the mean is several: a user's own of them, and the one it visits, by its hash.

    Many users may be alike to the last item, and no centroid tells them apart. Part p of cluster c is c + p n_clusters. Runs a job.
    """
    sizes = assigned.groupBy(F.col("clusters")[0].alias("cluster")).agg(F.count(F.lit(1)).alias("size")).collect()
    most = _TOO_LARGE * max(sum(row["size"] for row in sizes) / n_clusters, 1)
    parts = [(row["cluster"], math.ceil(row["size"] / most)) for row in sizes if row["size"] > most]
    if not parts:
        return assigned
    n_parts = F.create_map(*(F.lit(number).cast("bigint") for pair in parts for number in pair))
    part = F.xxhash64("user_idx")
    return assigned.withColumn(
        "clusters",
        F.transform(
            "clusters", lambda cluster: cluster + n_clusters * F.pmod(part, F.coalesce(F.try_element_at(n_parts, cluster), F.lit(1)))
        ),
    )


def assign_clusters(everyone: DataFrame, n_clusters: int, n_probes: int, n_rounds: int, n_blocks: int, seed: int) -> DataFrame:
    """SCHEMA and `clusters`: each user's n_probes nearest clusters, the own one first; kept where it was made.

    The first centroids are a seeded sample of users. Clusters far above the mean are split. Runs a job a round, and two more.
    """
    everyone.persist()
    sample = everyone.orderBy(F.xxhash64("user_idx", F.lit(seed)), "user_idx").limit(n_clusters)
    numbered = F.row_number().over(Window.orderBy("user_idx")).cast("bigint") - 1
    centroids = _heaviest(sample.withColumn("user_idx", numbered))
    try:
        for _ in range(n_rounds):
            centroids = _centroids(_nearest_clusters(everyone, centroids, n_clusters, 1, n_blocks)).localCheckpoint()
        return _split_large(_nearest_clusters(everyone, centroids, n_clusters, n_probes, n_blocks).localCheckpoint(), n_clusters)
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
    """The n most similar of `everyone` for each of a few `users`: they are copied to all of n_blocks tasks, everyone else to one."""
    in_all = users.withColumn("clusters", F.sequence(F.lit(0).cast("bigint"), F.lit(n_blocks - 1).cast("bigint")))
    in_one = everyone.withColumn("clusters", F.array(F.pmod(F.xxhash64("user_idx"), F.lit(n_blocks))))
    return search_clusters(in_all, in_one, n, measure, n_blocks)


def measure_recall(found: DataFrame, exact: DataFrame) -> float:
    """Of the `exact` neighbours the share that was `found`, or others as near as the last of them; 1 where there are none. Runs a job."""
    lists = exact.groupBy("idx").agg(F.min("score").alias("_least"), F.count(F.lit(1)).alias("_n"))
    near = found.select("idx", "score").join(lists, "idx").filter("score >= _least").groupBy("idx").agg(F.count(F.lit(1)).alias("_found"))
    hits = lists.join(near, "idx", "left").agg(F.sum(F.least(F.coalesce("_found", F.lit(0)), "_n")).alias("hits"), F.sum("_n").alias("n"))
    row = hits.collect()[0]
    return row["hits"] / row["n"] if row["n"] else 1.0
