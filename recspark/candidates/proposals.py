"""Requests in, proposals out: what all sources share around their top-k kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.columns import PAD_ITEM
from recspark.handover.arrays import Published
from recspark.kernels.catalogue import available_items, category_quota
from recspark.kernels.masks import Mask, mask_of
from recspark.kernels.ragged import allow_lists, as_ragged

SCHEMA = "request_idx bigint, items array<int>, scores array<float>"

# One batch of requests and its mask -> items [B x n] padded with -1, scores [B x n].
Kernel = Callable[[pa.RecordBatch, Mask], tuple[np.ndarray, np.ndarray]]


def matrix(column: pa.Array) -> np.ndarray:
    """A list column whose lists have one length, as [n x length]."""
    offsets, values = as_ragged(column)
    return values[offsets[0] : offsets[-1]].reshape(len(column), -1)


def _proposals(request_idx: pa.Array, items: np.ndarray, scores: np.ndarray) -> pa.RecordBatch:
    """The kernel's rows as lists without padding; requests without any item are left out."""
    filled = items != PAD_ITEM
    sizes = filled.sum(axis=1)
    offsets = pa.array(np.concatenate(([0], np.cumsum(sizes))).astype(np.int32))
    lists = [pa.ListArray.from_arrays(offsets, pa.array(values[filled])) for values in (items, scores)]
    batch = pa.RecordBatch.from_arrays([request_idx, *lists], names=["request_idx", "items", "scores"])
    return batch.filter(pa.array(sizes > 0))


def propose(
    requests: DataFrame,
    seen: DataFrame,
    item_features: Published,
    open_kernel: Callable[[], Kernel],
    arrange: Callable[[DataFrame], DataFrame] = lambda masked: masked,
) -> DataFrame:
    """request_idx, items, scores for each row of `requests` that something can be proposed to.

    `requests` has request_idx and what the kernel reads; `seen` (with its allow lists) is joined to it, and is the mask that
    the kernel is given beside each batch. An item that the source gives no score is never proposed, allowed or not.
    What is available, and how much of a category a list may hold, `item_features` say.
    `open_kernel` is called once a task. `arrange` may place the masked requests and put rows beside them that tell the kernel
    something, for which it proposes nothing.
    """

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        kernel: Kernel | None = None
        for batch in batches:
            if batch.num_rows == 0:
                continue
            if kernel is None:
                kernel, features = open_kernel(), item_features.arrays()
                available, quota = available_items(features), category_quota(features)
            mask = mask_of(available, as_ragged(batch.column("_seen")), *allow_lists(batch.column("_allowed")), quota)
            yield _proposals(batch.column("request_idx"), *kernel(batch, mask))

    masks = seen.select("request_idx", F.col("items").alias("_seen"), F.col("allowed").alias("_allowed"))
    none_seen = F.array().cast("array<int>")
    masked = requests.join(masks, "request_idx", "left").withColumn("_seen", F.coalesce("_seen", none_seen))
    return arrange(masked).mapInArrow(run, SCHEMA)
