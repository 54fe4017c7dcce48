"""From sums over requests to figures: 95 % intervals, paired differences, one pass over the requests behind them.

Every figure but catalogue coverage is sum(num) / sum(den) over requests, so that partial sums of any partitioning add up, and a
bootstrap replicate is the same sums with weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from recspark.columns import RANKER
from recspark.evaluation.rating import RATING_METRICS
from recspark.kernels.metrics import LIST_METRICS, NOT_LISTED, SLATE_METRICS

# Rows between the passes: `key` >= 0 a bootstrap replicate with its `sums`; < 0 a block of items with the best place that each
# model's lists gave them (`first`, bytes), or, at COVERAGE, how many items were listed.
PARTIAL_COLUMNS = "key int, sums array<double>, first binary"
COVERAGE = -1
BLOCK = 1024
GROUPS = ("cold", "warm")
SLICES = ("all", *GROUPS)
# Internal figure: how many requests have a list.
LISTS = "lists"

_PARTIAL = pa.schema([("key", pa.int32()), ("sums", pa.list_(pa.float64())), ("first", pa.binary())])
_METRICS = pa.schema(
    [(name, pa.string()) for name in ("model", "baseline", "metric")]
    + [("k", pa.int32()), ("slice", pa.string()), ("n", pa.int64())]
    + [(name, pa.float64()) for name in ("value", "low", "high")]
)
Partial = tuple[int, np.ndarray | None, bytes | None]
Figure = tuple[str, str, int]
Row = tuple[str, str, str, int, str, int, float, float | None, float | None]


@dataclass(frozen=True)
class Figures:
    """Which figures stand in which place of the sums: lists by (model, k, metric), then one LISTS a model, slates, ratings."""

    models: tuple[str, ...]
    ks: tuple[int, ...]
    rating_model: str | None

    @cached_property
    def places(self) -> dict[Figure, int]:
        figures: list[Figure] = [(model, metric, k) for model in self.models for k in self.ks for metric in LIST_METRICS]
        figures += [(model, LISTS, 0) for model in self.models]
        figures += [(RANKER, metric, 0) for metric in SLATE_METRICS if RANKER in self.models]
        figures += [(self.rating_model, metric, 0) for metric in RATING_METRICS if self.rating_model]
        return {figure: place for place, figure in enumerate(figures)}

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(model, baseline): the ranker against each source, each source against popularity."""
        sources = [model for model in self.models if model != RANKER]
        against_ranker = [(RANKER, source) for source in sources if RANKER in self.models]
        return against_ranker + [(source, "popular") for source in sources if source != "popular" and "popular" in sources]


def as_batches(partials: Sequence[Partial], rows: int = 256) -> Iterator[pa.RecordBatch]:
    """`partials` as Arrow batches of a few rows each: a row may be kilobytes."""
    for start in range(0, len(partials), rows):
        columns = zip(*partials[start : start + rows], strict=True)
        yield pa.RecordBatch.from_arrays([pa.array(c, field.type) for c, field in zip(columns, _PARTIAL, strict=True)], schema=_PARTIAL)


def partials_of(sums: np.ndarray, first: np.ndarray) -> list[Partial]:
    """One task's sums [replicates x groups x 2 x F] and best places [groups x models x n_items], in rows that add up by key."""
    rows: list[Partial] = [(replicate, of.reshape(-1), None) for replicate, of in enumerate(sums)]
    for block in range(-(-first.shape[2] // BLOCK)):
        places = first[:, :, block * BLOCK : (block + 1) * BLOCK]
        if (places < NOT_LISTED).any():
            rows.append((COVERAGE - 1 - block, None, np.ascontiguousarray(places).tobytes()))
    return rows


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, np.ndarray, bytes | None]]:
    for batch in batches:
        sums = batch.column("sums")
        offsets, values = sums.offsets.to_numpy(), sums.values.to_numpy(zero_copy_only=False)
        for i, (key, first) in enumerate(zip(batch.column("key").to_pylist(), batch.column("first").to_pylist(), strict=True)):
            yield key, values[offsets[i] : offsets[i + 1]], first


def add_partials(batches: Iterable[pa.RecordBatch], figures: Figures) -> Iterator[pa.RecordBatch]:
    """All rows of a key added up; blocks of items become counts of listed items [slices x models x ks] under COVERAGE."""
    sums: dict[int, np.ndarray] = {}
    first: dict[int, np.ndarray] = {}
    for key, values, places in _rows(batches):
        if places is None:
            sums[key] = sums[key] + values if key in sums else values.copy()
        else:
            found = np.frombuffer(places, dtype=np.uint8)
            first[key] = np.minimum(first[key], found) if key in first else found
    counts = np.zeros((len(SLICES), len(figures.models), len(figures.ks)))
    for found in first.values():
        by_group = found.reshape(len(GROUPS), len(figures.models), -1)
        by_slice = np.stack([by_group.min(axis=0), *by_group])
        counts += np.stack([(by_slice < k).sum(axis=2) for k in figures.ks], axis=2)
    if first:
        sums[COVERAGE] = counts.reshape(-1)
    yield from as_batches([(key, values, None) for key, values in sums.items()])


def interval(replicates: np.ndarray) -> tuple[float | None, float | None]:
    """The 2.5 and 97.5 percentiles of the replicates that are defined (percentile bootstrap, Efron 1979); None without any."""
    defined = replicates[~np.isnan(replicates)]
    if defined.size == 0:
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def _rows_of_slice(name: str, sums: np.ndarray, figures: Figures) -> Iterator[Row]:
    """`sums` [replicates x 2 x F] of one slice as rows of `metrics`: own figures, then paired differences."""
    with np.errstate(invalid="ignore", divide="ignore"):
        values = sums[:, 0] / sums[:, 1]
    if figures.rating_model:
        rmse = figures.places[(figures.rating_model, "rmse", 0)]
        values[:, rmse] = np.sqrt(values[:, rmse])
    n = sums[0, 1]
    for (model, metric, k), f in figures.places.items():
        if n[f] > 0 and metric != LISTS:
            yield (model, "", metric, k, name, int(n[f]), float(values[0, f]), *interval(values[1:, f]))
    for model, baseline in figures.pairs:
        for k in figures.ks:
            for metric in LIST_METRICS:
                f, g = figures.places[(model, metric, k)], figures.places[(baseline, metric, k)]
                if n[f] > 0 and n[g] > 0:
                    difference = values[:, f] - values[:, g]
                    yield (model, baseline, metric, k, name, int(min(n[f], n[g])), float(difference[0]), *interval(difference[1:]))


def _coverage_rows(name: str, counts: np.ndarray, n_lists: Sequence[int], n_available: int, figures: Figures) -> Iterator[Row]:
    """coverage@k = distinct available items among the first k of all lists / available items (Ge et al. 2010); no interval."""
    for m, model in enumerate(figures.models):
        for i, k in enumerate(figures.ks):
            if n_lists[m] > 0 and n_available > 0:
                yield (model, "", "coverage", k, name, n_lists[m], float(counts[m, i] / n_available), None, None)


def finish(batches: Iterable[pa.RecordBatch], figures: Figures, n_available: int, n_bootstrap: int) -> Iterator[pa.RecordBatch]:
    """The rows of `metrics`, from the sums of all keys. A figure that no request has a say in has no row.

    Nor has the ranker where none of its lists is there: it was not trained, which is not the same as bad.
    """
    sums = np.zeros((n_bootstrap + 1, len(GROUPS), 2, len(figures.places)))
    counts = np.zeros((len(SLICES), len(figures.models), len(figures.ks)))
    for key, values, _ in _rows(batches):
        if key == COVERAGE:
            counts += values.reshape(counts.shape)
        else:
            sums[key] += values.reshape(sums.shape[1:])
    rows: list[Row] = []
    lists = [figures.places[(model, LISTS, 0)] for model in figures.models]
    for s, name in enumerate(SLICES):
        of_slice = sums.sum(axis=1) if name == "all" else sums[:, s - 1]
        rows += _rows_of_slice(name, of_slice, figures)
        rows += _coverage_rows(name, counts[s], [int(n) for n in of_slice[0, 0, lists]], n_available, figures)
    if RANKER in figures.models and not sums[0, :, 0, figures.places[(RANKER, LISTS, 0)]].any():
        rows = [row for row in rows if row[0] != RANKER]
    if rows:
        columns = zip(*rows, strict=True)
        yield pa.RecordBatch.from_arrays([pa.array(c, f.type) for c, f in zip(columns, _METRICS, strict=True)], schema=_METRICS)
