"""One list of candidates a request, out of every source's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from pydantic import NonNegativeFloat, PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.errors import ConfigError
from recspark.kernels.fusion import fuse_lists
from recspark.kernels.ragged import as_ragged

_SCHEMA = "request_idx bigint, items array<int>, positions array<int>, scores array<float>"


def _interleaved(batch: pa.RecordBatch, column: str, n_sources: int) -> tuple[np.ndarray, np.ndarray]:
    """The lists `column`0, `column`1, ... of all rows as compressed rows: row 0's sources, then row 1's."""
    columns = [as_ragged(batch.column(f"{column}{source}")) for source in range(n_sources)]
    sizes = np.stack([np.diff(offsets) for offsets, _ in columns], axis=1)
    target = np.concatenate(([0], np.cumsum(sizes.ravel())))
    values = np.empty(target[-1], columns[0][1].dtype)
    for source, (offsets, entries) in enumerate(columns):
        counts = sizes[:, source]
        shift = np.repeat(target[source:-1:n_sources] - offsets[:-1], counts)
        taken = np.arange(offsets[0], offsets[-1])
        values[taken + shift] = entries[taken]
    return target, values


def _side_by_side(source_candidates: DataFrame, requests: DataFrame, sources: Sequence[str]) -> DataFrame:
    """One row a request: columns items0, scores0, items1, ... of the sources in order; empty where one proposes nothing."""
    aggregates = []
    for place, source in enumerate(sources):
        for column in ("items", "scores"):
            value = F.first(F.when(F.col("source") == source, F.col(column)), ignorenulls=True)
            aggregates.append(value.alias(f"{column}{place}"))
    proposed = source_candidates.filter(F.col("source").isin(list(sources))).groupBy("request_idx").agg(*aggregates)
    rows = requests.select("request_idx").join(proposed, "request_idx", "left")
    kinds = {"items": "array<int>", "scores": "array<float>"}
    filled = [
        F.coalesce(f"{column}{place}", F.array().cast(kind)).alias(f"{column}{place}")
        for place in range(len(sources))
        for column, kind in kinds.items()
    ]
    return rows.select("request_idx", *filled)


def _fused(rows: DataFrame, n_sources: int, n_candidates: int, k_rrf: float) -> DataFrame:
    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            offsets, items = _interleaved(batch, "items", n_sources)
            _, scores = _interleaved(batch, "scores", n_sources)
            starts, items, positions, scores = fuse_lists(offsets, items, scores, n_sources=n_sources, n=n_candidates, k_rrf=k_rrf)
            narrow, wide = pa.array(starts.astype(np.int32)), pa.array((starts * n_sources).astype(np.int32))
            columns = [
                batch.column("request_idx"),
                pa.ListArray.from_arrays(narrow, pa.array(items)),
                pa.ListArray.from_arrays(wide, pa.array(positions)),
                pa.ListArray.from_arrays(wide, pa.array(scores)),
            ]
            yield pa.RecordBatch.from_arrays(columns, names=["request_idx", "items", "positions", "scores"])

    return rows.mapInArrow(run, _SCHEMA)


def build_candidates(
    source_candidates: DataFrame,
    requests: DataFrame,
    *,
    sources: list[str],
    n_candidates: PositiveInt = 200,
    k_rrf: NonNegativeFloat = 60.0,
) -> DataFrame:
    """The union of the sources' proposals for each request, best first by reciprocal rank fusion, then item_idx.

    Each item keeps every source's position and score, in the order of `sources`, flat. Every request has a row; its lists are
    empty where no source proposes anything. Proposals of other sources are ignored.
    (Cormack, Clarke and Buettcher, SIGIR 2009: sum of 1 / (k_rrf + position + 1).)

    Args:
        sources: the candidate sources, in the order of the flat lists.
        n_candidates: items kept; a ranker finds none that are not here, and pays for each that is.
        k_rrf: the larger, the less the first positions stand out.

    Raises:
        ConfigError: no source, or one named twice.
    """
    if not sources or len(set(sources)) != len(sources):
        raise ConfigError(f"sources = {sources}: name at least one candidate source, and each once")
    return _fused(_side_by_side(source_candidates, requests, sources), len(sources), n_candidates, k_rrf)
