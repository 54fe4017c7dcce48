"""labels and lists -> metrics: every figure of every model, in one pass over the requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from pydantic import NonNegativeInt, PositiveInt
from pyspark.sql import DataFrame

from recspark.columns import RANKER
from recspark.errors import ConfigError
from recspark.evaluation.beyond_accuracy import ItemFigures, item_figures_of
from recspark.evaluation.compare import GROUPS, LISTS, PARTIAL_COLUMNS, Figures, add_partials, as_batches, finish, partials_of
from recspark.evaluation.ranking import measured_requests
from recspark.evaluation.rating import RATING_METRICS, with_rating_sums
from recspark.kernels.metrics import LIST_METRICS, NOT_LISTED, SLATE_METRICS, add_replicates, mark_listed, measure_lists, measure_slates
from recspark.kernels.ragged import as_ragged
from recspark.tables import METRICS, STAMPED
from recspark.tables.lineage import ItemFeatures, ItemPopularity


def _check(ks: list[int], sources: list[str], n_bootstrap: int, popular_share: float) -> None:
    if not ks or len(set(ks)) < len(ks) or min(ks) < 1 or max(ks) >= int(NOT_LISTED):
        raise ConfigError(f"metrics.ks is {ks}: cuts of a list are distinct and from 1 to {int(NOT_LISTED) - 1}; name at least one")
    if not sources or len(set(sources)) < len(sources) or RANKER in sources:
        raise ConfigError(f"metrics.sources is {sources}: name at least one candidate source, each once, and none of them {RANKER!r}")
    if n_bootstrap < 0:
        raise ConfigError(f"metrics.n_bootstrap is {n_bootstrap}: replicates are counted from 0 (no intervals); 200 is usual")
    if not 0 < popular_share < 1:
        raise ConfigError(f"metrics.popular_share is {popular_share}: it is a share of the items, between 0 and 1; 0.2 is usual")


def _measure_batch(batch: pa.RecordBatch, figures: Figures, known: ItemFigures, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """num and den [n x F] of a batch of measured requests; marks the items listed in `first` [groups x models x n_items]."""
    num, den = np.zeros((batch.num_rows, len(figures.places))), np.zeros((batch.num_rows, len(figures.places)))
    ks = np.array(figures.ks)
    positives = as_ragged(batch.column("positives"))
    groups = batch.column("warm").to_numpy(zero_copy_only=False).astype(np.int64)
    width = len(figures.ks) * len(LIST_METRICS)
    for m, model in enumerate(figures.models):
        offsets, items = as_ragged(batch.column(f"items_{model}"))
        at = slice(m * width, (m + 1) * width)
        measure_lists(offsets, items, *positives, ks, known.novelty, known.popular, known.categories, num[:, at], den[:, at])
        num[:, figures.places[(model, LISTS, 0)]] = den[:, figures.places[(model, LISTS, 0)]] = np.diff(offsets) > 0
        mark_listed(offsets, items, groups, ks.max(), first[:, m])
        if model == RANKER:
            at = slice(figures.places[(RANKER, SLATE_METRICS[0], 0)], figures.places[(RANKER, SLATE_METRICS[-1], 0)] + 1)
            measure_slates(offsets, items, as_ragged(batch.column(f"scores_{RANKER}"))[1], *positives, num[:, at], den[:, at])
    if figures.rating_model:
        for metric in RATING_METRICS:
            f = figures.places[(figures.rating_model, metric, 0)]
            num[:, f] = batch.column(f"sum_{metric}").to_numpy(zero_copy_only=False)
            den[:, f] = batch.column("n_pairs").to_numpy(zero_copy_only=False)
    return num, den


def _measure(
    batches: Iterable[pa.RecordBatch], figures: Figures, known: ItemFigures, n_bootstrap: int, seed: int
) -> Iterator[pa.RecordBatch]:
    """One task: all its requests' figures added up, for every replicate and group."""
    sums = np.zeros((n_bootstrap + 1, len(GROUPS), 2, len(figures.places)))
    first = np.full((len(GROUPS), len(figures.models), known.available.size), NOT_LISTED)
    n_rows = 0
    for batch in batches:
        n_rows += batch.num_rows
        num, den = _measure_batch(batch, figures, known, first)
        request_idx = batch.column("request_idx").to_numpy(zero_copy_only=False)
        add_replicates(request_idx, batch.column("warm").to_numpy(zero_copy_only=False), num, den, seed, sums)
    first[:, :, ~known.available] = NOT_LISTED
    if n_rows:
        yield from as_batches(partials_of(sums, first))


def build_metrics(
    labels: DataFrame,
    requests: DataFrame,
    source_candidates: DataFrame,
    histories: DataFrame,
    item_popularity: ItemPopularity,
    item_features: ItemFeatures,
    ranked: DataFrame | None,
    predictions: DataFrame | None,
    *,
    ks: list[PositiveInt] = [5, 10, 20],  # noqa: B006 (a knob's default, never changed)
    sources: list[str] = ["als", "item_knn", "popular"],  # noqa: B006
    rating_model: str = "als",
    popular_share: float = 0.2,
    n_bootstrap: NonNegativeInt = 200,
    seed: int = 0,
) -> DataFrame:
    """Every figure of the ranker and of each source, with intervals and paired differences: rows of `metrics`.

    Accuracy (precision, recall, f1, hit_rate, map, mrr, ndcg; formulas in kernels.metrics.rank_metrics) averages over the
    requests with a positive label; those without a list count as zero. The ranker's auc, accuracy and base_rate are of the same
    requests' whole lists. Novelty, diversity, popularity_share and coverage look at every request that has a list.
    mae, rmse and rating_coverage are of `predictions` (n counts pairs) and stand under `rating_model`.
    Slices: all, cold (no history), warm. Intervals: 95 %, Poisson bootstrap over requests; weights are a hash of (request,
    replicate, seed), so partitioning and row order change nothing but the order of float64 sums.
    `ranked` None: no ranker was trained. `predictions` None: the events carry no ratings.

    Args:
        ks: where lists are cut, ascending or not, each below 255.
        sources: the candidate sources to measure; each is compared with popular, the ranker with each.
        popular_share: the most popular share of the items that popularity_share counts.
        n_bootstrap: replicates; 0 leaves the intervals out.

    Raises:
        ConfigError: a knob is out of its range.
    """
    _check(ks, sources, n_bootstrap, popular_share)
    models = (RANKER, *sources) if ranked is not None else tuple(sources)
    figures = Figures(models, tuple(ks), rating_model if predictions is not None else None)
    frame = measured_requests(requests, histories, labels, ranked, source_candidates, sources, max(ks))
    if predictions is not None:
        frame = with_rating_sums(frame, predictions)

    def measure(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return _measure(batches, figures, item_figures_of(item_popularity, item_features, popular_share), n_bootstrap, seed)

    def add(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return add_partials(batches, figures)

    def close(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        n_available = int(item_figures_of(item_popularity, item_features, popular_share).available.sum())
        return finish(batches, figures, n_available, n_bootstrap)

    columns = ", ".join(f"`{c.name}` {c.type}" for c in METRICS.columns if c.name not in STAMPED)
    partials = frame.mapInArrow(measure, PARTIAL_COLUMNS).repartition("key").mapInArrow(add, PARTIAL_COLUMNS)
    return partials.repartition(1).mapInArrow(close, columns)
