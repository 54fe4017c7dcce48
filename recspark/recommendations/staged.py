"""lists, champion -> staged_recommendations: what would go live, filled to its length and explained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.columns import RANKER, RUNGS
from recspark.errors import ConfigError
from recspark.handover.arrays import Published
from recspark.kernels.ladder import climb, count_seen, explain
from recspark.kernels.ragged import as_ragged, stack
from recspark.recommendations.fallback import Fallback, fallback_of
from recspark.tables.lineage import ItemFeatures, ItemNeighbours, ItemPopularity, ItemVectors

# One row an item (reason 0) and one for each of its reasons (1, 2, ...).
_SLOT_COLUMNS = "request_idx bigint, place int, reason int, item_idx int, score float, source string, rung string, shortfall string"
_SLOTS = pa.schema(
    [("request_idx", pa.int64()), ("place", pa.int32()), ("reason", pa.int32()), ("item_idx", pa.int32()), ("score", pa.float32())]
    + [(name, pa.string()) for name in ("source", "rung", "shortfall")]
)


def _gathered(
    requests: DataFrame,
    source_candidates: DataFrame,
    ranked: DataFrame | None,
    champion: DataFrame,
    seen: DataFrame,
    histories: DataFrame,
    sources: Sequence[str],
) -> DataFrame:
    """One row a request with all that its list is made of: k, model, items_MODEL, scores_MODEL, seen, history, length."""
    mine = [F.col("source") == source for source in sources]
    columns = [
        F.first(F.when(is_mine, F.col(column)), ignorenulls=True).alias(f"{column}_{source}")
        for source, is_mine in zip(sources, mine, strict=True)
        for column in ("items", "scores")
    ]
    lists = source_candidates.filter(F.col("source").isin(*sources)).groupBy("request_idx").agg(*columns)
    frame = (
        requests.select("request_idx", "k")
        .crossJoin(champion.select("model"))
        .join(lists, "request_idx", "left")
        .join(seen.select("request_idx", F.array_sort("items").alias("seen")), "request_idx", "left")
        .join(histories.select("request_idx", F.slice("items", 1, F.col("length")).alias("history")), "request_idx", "left")
    )
    if ranked is not None:
        own = ranked.select("request_idx", F.col("items").alias(f"items_{RANKER}"), F.col("scores").alias(f"scores_{RANKER}"))
        frame = frame.join(own, "request_idx", "left")
    return frame.select(
        *[
            F.coalesce(F.col(f"`{name}`"), F.array().cast(kind)).alias(name) if kind.startswith("array") else F.col(f"`{name}`")
            for name, kind in frame.dtypes
        ]
    )


def _as_matrix(offsets: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A ragged column as [n x longest], padded with -1, and the lengths [n]."""
    lengths = np.diff(offsets)
    matrix = np.full((lengths.size, max(1, int(lengths.max(initial=0)))), -1, dtype=np.int32)
    filled = np.arange(matrix.shape[1]) < lengths[:, None]
    matrix[filled] = values[offsets[0] : offsets[-1]]
    return matrix, lengths


def _shortfalls(counts: np.ndarray, ks: np.ndarray, n_seen: np.ndarray, n_available: int) -> np.ndarray:
    """[n] why a request gets fewer than k, in words; empty where it gets k."""
    texts = np.full(counts.size, "", dtype=object)
    for i in np.flatnonzero(counts < ks):
        texts[i] = f"{counts[i]} of {ks[i]}: of {n_available} available items {n_seen[i]} are seen"
    return texts


def _place_of(champion: str, sources: Sequence[str]) -> int:
    if champion != RANKER and champion not in sources:
        raise ConfigError(f"the champion is {champion!r}, which is none of staged_recommendations.sources {list(sources)}: name it there")
    return len(sources) if champion == RANKER else list(sources).index(champion)


def _fill_batch(
    batch: pa.RecordBatch,
    sources: Sequence[str],
    fallback: Fallback,
    neighbours: Sequence[np.ndarray],
    vectors: Sequence[np.ndarray],
    n_because: int,
) -> pa.RecordBatch:
    """The slots of a batch of requests: items by the ladder, then their reasons."""
    champion = _place_of(batch.column("model")[0].as_py(), sources)
    # Without a ranker's list at this horizon the ladder goes on with the sources.
    names = [*sources, RANKER]
    lists = [batch.schema.get_field_index(f"items_{name}") >= 0 for name in names]
    empty = (np.zeros(batch.num_rows + 1, dtype=np.int64), np.empty(0, dtype=np.int32))
    items = [as_ragged(batch.column(f"items_{name}")) if there else empty for name, there in zip(names, lists, strict=True)]
    scores = [as_ragged(batch.column(f"scores_{name}"))[1] if there else empty[1] for name, there in zip(names, lists, strict=True)]
    ks = batch.column("k").to_numpy(zero_copy_only=False).astype(np.int64)
    seen = as_ragged(batch.column("seen"))
    offsets, stacked = stack(items)
    counts, filled, filled_scores, source_codes, rungs = climb(
        ks,
        champion,
        offsets,
        stacked.astype(np.int32, copy=False),
        np.concatenate(scores).astype(np.float32, copy=False),
        len(sources),
        *seen,
        fallback.available,
        fallback.items,
        fallback.scores,
        len(sources),
    )
    because = explain(counts, filled, rungs, *_as_matrix(*as_ragged(batch.column("history"))), n_because, *neighbours, *vectors)
    request_idx = batch.column("request_idx").to_numpy(zero_copy_only=False)
    shortfalls = _shortfalls(counts, ks, count_seen(*seen, fallback.available), len(fallback.items))
    places = np.arange(filled.size) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    # The popularity rung's code stands behind the sources'; NO_SOURCE (-1) reads the entry at the end.
    source_names = np.array([*sources, "popular", RANKER], dtype=object)[source_codes]
    slots = np.concatenate([filled[:, None], because], axis=1)
    row, reason = np.nonzero(slots >= 0)
    request = np.repeat(np.arange(counts.size), counts)[row]
    columns = [
        request_idx[request],
        places[row],
        reason,
        slots[row, reason],
        filled_scores[row],
        source_names[row],
        np.array(RUNGS, dtype=object)[rungs][row],
        shortfalls[request],
    ]
    return pa.RecordBatch.from_arrays([pa.array(column, field.type) for column, field in zip(columns, _SLOTS, strict=True)], schema=_SLOTS)


def _arrays_of(item_neighbours: Published, item_vectors: Published) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(idx, neighbour_idx, score) and (idx, vector [m x D]); empty tables have arrays of no rows."""
    known, factors = item_neighbours.arrays(), item_vectors.arrays()
    vector = factors["vector"] if factors["vector"].ndim == 2 else np.zeros((0, 1), dtype=np.float32)
    return [known["idx"], known["neighbour_idx"], known["score"]], [factors["idx"], vector]


def _items() -> Column:
    """The published array of a request, from its sorted `slots`."""

    def published(slot: Column) -> Column:
        reasons = F.filter("slots", lambda other: (other["place"] == slot["place"]) & (other["reason"] > 0))
        return F.struct(
            slot["item_id"].alias("item_id"),
            slot["place"].alias("rank"),
            slot["score"].alias("score"),
            slot["source"].alias("source"),
            F.transform(reasons, lambda other: other["item_id"]).alias("because"),
            slot["rung"].alias("rung"),
        )

    return F.transform(F.filter("slots", lambda slot: slot["reason"] == 0), published)


def _collected(slots: DataFrame, item_index: DataFrame) -> DataFrame:
    """request_idx, item_idxs, items, shortfall of every request with an item; item ids looked up by a join."""
    named = slots.join(item_index.select("item_idx", "item_id"), "item_idx", "left")
    slot = F.struct("place", "reason", "item_idx", "item_id", "score", "source", "rung")
    lists = named.groupBy("request_idx").agg(F.sort_array(F.collect_list(slot)).alias("slots"), F.max("shortfall").alias("shortfall"))
    chosen = F.transform(F.filter("slots", lambda one: one["reason"] == 0), lambda one: one["item_idx"])
    return lists.select("request_idx", chosen.alias("item_idxs"), _items().alias("items"), "shortfall")


def build_staged(
    requests: DataFrame,
    source_candidates: DataFrame,
    champion: DataFrame,
    seen: DataFrame,
    histories: DataFrame,
    item_index: DataFrame,
    user_index: DataFrame,
    item_popularity: ItemPopularity,
    item_features: ItemFeatures,
    item_neighbours: ItemNeighbours,
    item_vectors: ItemVectors,
    ranked: DataFrame | None,
    *,
    sources: list[str] = ["als", "item_cosine", "popular"],  # noqa: B006 (a knob's default, never changed)
    n_because: int = 3,
) -> DataFrame:
    """One row a request: k distinct, unseen, available items with reasons, or as many as there are and why not k.

    The list is filled rung by rung (kernels.ladder.climb): the champion's list, the sources' lists fused, every available item by
    popularity. `source` is the source that places the item best (ranker where none holds it), `score` the ranker's on its rung,
    that source's own on the source rung, the popularity score on the last. `because` names up to `n_because` items of the history
    (kernels.ladder.explain); it is empty for requests without history and on the popularity rung.

    Raises:
        ConfigError: no source is named, one is named twice, or n_because is negative.
    """
    if not sources or len(set(sources)) < len(sources) or RANKER in sources:
        raise ConfigError(f"staged_recommendations.sources is {sources}: name at least one candidate source, each once, not {RANKER!r}")
    if n_because < 0:
        raise ConfigError(f"staged_recommendations.n_because is {n_because}: a number of reasons is 0 or more; 3 is usual")

    def fill(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        fallback = fallback_of(item_popularity, item_features)
        neighbours, vectors = _arrays_of(item_neighbours, item_vectors)
        for batch in batches:
            if batch.num_rows:
                yield _fill_batch(batch, sources, fallback, neighbours, vectors, n_because)

    slots = _gathered(requests, source_candidates, ranked, champion, seen, histories, sources).mapInArrow(fill, _SLOT_COLUMNS)
    lists = _collected(slots, item_index)
    users = requests.select("request_idx", "user_idx", "k").join(user_index.select("user_idx", "user_id"), "user_idx")
    nothing = F.concat(F.lit("0 of "), F.col("k"), F.lit(": every available item is seen"))
    staged = users.join(lists, "request_idx", "left")
    return staged.select(
        "request_idx",
        "user_id",
        "k",
        F.coalesce("item_idxs", F.array().cast("array<int>")).alias("item_idxs"),
        F.coalesce("items", F.array().cast(lists.schema["items"].dataType)).alias("items"),
        F.coalesce(F.col("shortfall"), nothing).alias("shortfall"),
    )
