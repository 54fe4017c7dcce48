"""Exactly one block of rows in each partition, and the runs of rows in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

_MASK = 0xFFFFFFFF
_SPARK_SEED = 42


def _rotated(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & _MASK


def spark_hash(value: int) -> int:
    """Spark's hash of one int >= 0 (Murmur3, 32 bits, seed 42), by which it chooses a row's partition."""
    k = _rotated(value * 0xCC9E2D51 & _MASK, 15) * 0x1B873593 & _MASK
    h = (_rotated(_SPARK_SEED ^ k, 13) * 5 + 0xE6546B64) & _MASK
    h ^= 4
    h = (h ^ (h >> 16)) * 0x85EBCA6B & _MASK
    h = (h ^ (h >> 13)) * 0xC2B2AE35 & _MASK
    h ^= h >> 16
    return h - (1 << 32) if h >> 31 else h


def partition_keys(n: int) -> list[int]:
    """For each of n partitions the smallest int that Spark puts there."""
    keys = [-1] * n
    candidate, missing = 0, n
    while missing:
        partition = spark_hash(candidate) % n
        if keys[partition] < 0:
            keys[partition] = candidate
            missing -= 1
        candidate += 1
    return keys


def spread(rows: DataFrame, block: str, n_blocks: int) -> DataFrame:
    """`rows` in n_blocks partitions, block b (the int column `block`, 0 to n_blocks - 1) in the b-th.

    Partitioning by the column itself would put several blocks into one partition and leave others empty, which doubles the
    time of the slowest task. Only the balance rests on Spark's hash, never the result.
    """
    keys = F.array(*(F.lit(key) for key in partition_keys(n_blocks)))
    return rows.withColumn("_key", F.get(keys, F.col(block))).repartition(n_blocks, "_key").drop("_key")


def runs_of(batches: Iterable[pa.RecordBatch], column: str) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The stretches of rows with one value of the int `column`, as a task meets them; one that spans batches comes in parts."""
    for batch in batches:
        values = batch.column(column).to_numpy(zero_copy_only=False)
        starts = np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])
        for start, end in zip(starts, [*starts[1:], len(values)], strict=True):
            yield int(values[start]), batch.slice(start, end - start)
