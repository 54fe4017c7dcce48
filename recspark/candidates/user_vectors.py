"""Users as weighted vectors of the items they have: what user neighbours are compared by."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.kernels.ragged import as_ragged
from recspark.kernels.user_neighbours import Vectors

SCHEMA = "user_idx bigint, items array<int>, weights array<double>"


def pack_vectors(entries: DataFrame) -> DataFrame:
    """One row a user (SCHEMA) of transposed entries (`candidates.compared`), each pair once: `items` ascending and their `weights`."""
    item = F.col("user_idx").cast("int").alias("item")
    packed = entries.groupBy("item_idx").agg(F.sort_array(F.collect_list(F.struct(item, "value"))).alias("_entries"))
    return packed.select(
        F.col("item_idx").cast("bigint").alias("user_idx"), F.col("_entries.item").alias("items"), F.col("_entries.value").alias("weights")
    )


def vectors_of(batches: Iterable[pa.RecordBatch]) -> Vectors:
    """Rows of SCHEMA, as the kernels take them."""
    ids, counts, items, weights = [np.empty(0, np.int64)], [np.zeros(1, np.int64)], [np.empty(0, np.int32)], [np.empty(0)]
    for batch in batches:
        offsets, values = as_ragged(batch.column("items"))
        ids.append(batch.column("user_idx").to_numpy())
        counts.append(np.diff(offsets))
        items.append(values[offsets[0] : offsets[-1]])
        offsets, values = as_ragged(batch.column("weights"))
        weights.append(values[offsets[0] : offsets[-1]])
    return Vectors(np.concatenate(ids), np.cumsum(np.concatenate(counts)), np.concatenate(items), np.concatenate(weights))
