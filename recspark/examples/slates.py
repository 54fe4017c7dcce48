"""Puts together what a ranker reads: one slate a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from pydantic import PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.columns import PAD_ITEM
from recspark.errors import ConfigError, ContractError
from recspark.handover.arrays import Published
from recspark.kernels.ragged import Ragged, as_ragged
from recspark.kernels.slates import Catalogue, describe_catalogue, slate_features
from recspark.tables import EXAMPLES, STAMPED
from recspark.tables.lineage import ItemFeatures, ItemPopularity

_COLUMNS = [column for column in EXAMPLES.columns if column.name not in STAMPED]
_PASSED_THROUGH = (
    "request_idx",
    "user_idx",
    "history_items",
    "history_types",
    "history_ages",
    "history_length",
    "user_numbers",
    "user_categories",
    "n_positives",
)
# Slates put together at a time: bounds what a task holds beside Spark's own batch.
_ROWS_AT_ONCE = 1024


def _cut_candidates(candidates: DataFrame, slate_size: int, n_sources: int) -> DataFrame:
    """The first `slate_size` candidates; the rest does not travel to Python, only how long the lists were."""
    return candidates.select(
        "request_idx",
        F.size("items").alias("n_candidates"),
        F.size("positions").alias("n_entries"),
        F.slice("items", 1, slate_size).alias("items"),
        F.slice("positions", 1, slate_size * n_sources).alias("positions"),
        F.slice("scores", 1, slate_size * n_sources).alias("scores"),
    )


def _name_histories(histories: DataFrame) -> DataFrame:
    return histories.select(
        "request_idx",
        F.col("items").alias("history_items"),
        F.col("event_types").alias("history_types"),
        F.col("ages").alias("history_ages"),
        F.col("length").alias("history_length"),
    )


def _name_user_features(user_features: DataFrame) -> DataFrame:
    return user_features.select("user_idx", F.col("numbers").alias("user_numbers"), F.col("categories").alias("user_categories"))


def _with_positives(rows: DataFrame, labels: DataFrame | None) -> DataFrame:
    """Add the positive items and their number; no label row means none, no labels at all means not known (-1)."""
    none = F.array().cast("array<int>")
    if labels is None:
        return rows.withColumns({"positives": none, "n_positives": F.lit(-1)})
    kept = F.filter(F.arrays_zip("items", "positive"), lambda entry: entry["positive"])
    positives = labels.select("request_idx", F.transform(kept, lambda entry: entry["items"]).alias("positives"))
    joined = rows.join(positives, "request_idx", "left").withColumn("positives", F.coalesce("positives", none))
    return joined.withColumn("n_positives", F.size("positives"))


def _gather_inputs(
    requests: DataFrame, candidates: DataFrame, histories: DataFrame, user_features: DataFrame, labels: DataFrame | None
) -> DataFrame:
    """One row a request. A request without candidates gets empty lists; one without history or user features stays null."""
    rows = (
        requests.select("request_idx", "user_idx")
        .join(candidates, "request_idx", "left")
        .join(_name_histories(histories), "request_idx", "left")
        .join(_name_user_features(user_features), "user_idx", "left")
    )
    counts = {name: F.coalesce(name, F.lit(0)) for name in ("n_candidates", "n_entries")}
    lists = {name: F.coalesce(name, F.array().cast("array<int>")) for name in ("items", "positions")}
    scores = {"scores": F.coalesce("scores", F.array().cast("array<float>"))}
    inputs = _with_positives(rows, labels).withColumns(counts | lists | scores)
    return inputs.select(*_PASSED_THROUGH, "n_candidates", "n_entries", "items", "positions", "scores", "positives")


def _column(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return batch.column(name).to_numpy(zero_copy_only=False)


def _lists(batch: pa.RecordBatch, name: str) -> Ragged:
    """A column of lists, its offsets counted from 0 also where the batch is a slice of a longer one."""
    offsets, values = as_ragged(batch.column(name))
    return offsets - offsets[0], values[offsets[0] : offsets[-1]]


def _fixed(values: np.ndarray) -> pa.ListArray:
    """[R, n] as R lists of n."""
    return pa.ListArray.from_arrays(np.arange(len(values) + 1, dtype=np.int32) * values.shape[1], values.reshape(-1))


def _histories(batch: pa.RecordBatch) -> Ragged:
    """The history items without their padding."""
    items = _lists(batch, "history_items")[1].reshape(batch.num_rows, -1)
    lengths = _column(batch, "history_length").astype(np.int64)
    return np.concatenate([[0], np.cumsum(lengths)]), items[np.arange(items.shape[1]) < lengths[:, None]]


def _check_inputs(batch: pa.RecordBatch, sources: Sequence[str]) -> None:
    for name, table in (("history_items", "histories"), ("user_numbers", "user_features")):
        absent = batch.column(name).is_null().to_numpy(zero_copy_only=False)
        if absent.any():
            request = _column(batch, "request_idx")[absent][0]
            raise ContractError(f"examples: request {request} has no row in {table}; rebuild {table} at this horizon")
    n, entries = _column(batch, "n_candidates").astype(np.int64), _column(batch, "n_entries")
    wrong = entries != n * len(sources)
    if wrong.any():
        raise ContractError(
            f"examples: request {_column(batch, 'request_idx')[wrong][0]} has {n[wrong][0]} candidates and {entries[wrong][0]} positions, "
            f"which is not one for each of the sources {list(sources)}; give examples.sources the sources of candidates, in their order"
        )


def _labels(batch: pa.RecordBatch, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
    """1 where the candidate `items` [N] of the slates `rows` [N] is a positive of its request, else 0."""
    offsets, positives = _lists(batch, "positives")
    owners = np.repeat(np.arange(batch.num_rows), np.diff(offsets))
    # Slate and item as one number, so that one look-up serves all slates.
    return np.isin((rows << 32) + items, (owners << 32) + positives).astype(np.float32)


def _slates(batch: pa.RecordBatch, slate_size: int, sources: Sequence[str], catalogue: Catalogue) -> pa.RecordBatch:
    _check_inputs(batch, sources)
    n = batch.num_rows
    offsets, items = _lists(batch, "items")
    positions, scores = (_lists(batch, name)[1].reshape(len(items), len(sources)) for name in ("positions", "scores"))
    features = slate_features(offsets, items, positions, scores, *_histories(batch), catalogue)
    rows = np.repeat(np.arange(n), np.diff(offsets))
    places = np.arange(len(items)) - offsets[rows]
    slate_items = np.full((n, slate_size), PAD_ITEM, np.int32)
    slate_items[rows, places] = items
    slate_feature_values = np.zeros((n, slate_size, features.shape[1]), np.float32)
    slate_feature_values[rows, places] = features
    labels = np.zeros((n, slate_size), np.float32)
    labels[rows, places] = _labels(batch, rows, items)
    computed = {
        "items": _fixed(slate_items),
        "n_items": pa.array(np.diff(offsets), pa.int32()),
        "features": _fixed(slate_feature_values.reshape(n, -1)),
        "labels": _fixed(labels),
        "weight": pa.array(labels.max(axis=1), pa.float32()),
    }
    names = [column.name for column in _COLUMNS]
    return pa.RecordBatch.from_arrays([computed[name] if name in computed else batch.column(name) for name in names], names)


def _slate_maker(
    slate_size: int, sources: Sequence[str], item_popularity: Published, item_features: Published
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What a task runs: describes the catalogue once, then turns every batch of inputs into slates."""

    def make_slates(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        popularity, features = item_popularity.arrays(), item_features.arrays()
        catalogue = describe_catalogue(popularity["item_idx"], popularity["score"], popularity["age"], features["categories"])
        for batch in batches:
            for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                yield _slates(batch.slice(start, _ROWS_AT_ONCE), slate_size, sources, catalogue)

    return make_slates


def build_examples(
    requests: DataFrame,
    candidates: DataFrame,
    histories: DataFrame,
    user_features: DataFrame,
    labels: DataFrame | None,
    item_popularity: ItemPopularity,
    item_features: ItemFeatures,
    *,
    slate_size: PositiveInt = 100,
    sources: Sequence[str] = ("als", "item_knn", "popular"),
) -> DataFrame:
    """One slate a request: history, user features, the best `slate_size` candidates, their features, labels, weight.

    Lists have one fixed length: history L as in `histories`, items and labels S = `slate_size`, features S x F with the
    F names of `recspark.kernels.slates.feature_names(sources)`; features are those of `slate_features` on the slate.
    `sources` are those of `candidates`, in their order. A request without candidates has n_items 0.
    Only three columns look at `labels`: `labels` is 1 where the candidate is a positive, `n_positives` counts the
    request's positives whether found or not (-1 where `labels` is None), `weight` is 1 where the slate holds one.

    Raises:
        ConfigError: `slate_size` is less than 1.
        ContractError: within the task: a request without history or user features, or candidates of other sources.
    """
    if slate_size < 1:
        raise ConfigError(f"examples.slate_size is {slate_size}: a slate holds at least one candidate; set it to 1 or more")
    cut = _cut_candidates(candidates, slate_size, len(sources))
    inputs = _gather_inputs(requests, cut, histories, user_features, labels)
    schema = ", ".join(f"{column.name} {column.type}" for column in _COLUMNS)
    return inputs.mapInArrow(_slate_maker(slate_size, tuple(sources), item_popularity, item_features), schema)
