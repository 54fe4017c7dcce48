"""lists, champion -> staged_recommendations: what would go live, filled to its length and explained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from pydantic import PositiveInt
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recspark.columns import RANKER, RUNGS
from recspark.errors import ConfigError, ContractError
from recspark.handover.arrays import Published
from recspark.kernels.frozen import frozen
from recspark.kernels.ladder import BY_NOTHING, climb, explain
from recspark.kernels.masks import mask_of
from recspark.kernels.ragged import allow_lists, as_ragged
from recspark.recommendations.fallback import Fallback, fallback_of
from recspark.tables.lineage import (
    AlsItemVectors,
    EaseNeighbours,
    ItemFeatures,
    ItemPopularity,
    KnnNeighbours,
    NextItemVectors,
    NextNeighbours,
    WalkNeighbours,
)

# Why a request gets fewer than k: fixed, so that they can be counted.
TOO_FEW = "too few items are left that may be offered"
NOTHING = "no item is left that may be offered"

Similar = tuple[np.ndarray, np.ndarray, np.ndarray]
Vectors = tuple[np.ndarray, np.ndarray]

# One row an item (reason 0) and one for each of its reasons (1, 2, ...).
_SLOT_COLUMNS = "request_idx bigint, place int, reason int, item_idx int, score float, source string, rung string"
_SLOTS = pa.schema(
    [("request_idx", pa.int64()), ("place", pa.int32()), ("reason", pa.int32()), ("item_idx", pa.int32()), ("score", pa.float32())]
    + [(name, pa.string()) for name in ("source", "rung")]
)


def _gathered(
    requests: DataFrame,
    source_candidates: DataFrame,
    candidates: DataFrame,
    ranked: DataFrame | None,
    champion: DataFrame,
    seen: DataFrame,
    histories: DataFrame,
    user_lists: DataFrame | None,
) -> DataFrame:
    """One row a request with all that its list is made of: k, model, the champion's list, the candidates, seen, history, blocked items."""
    lists = source_candidates.select("source", "request_idx", "items", "scores")
    if ranked is not None:
        lists = lists.unionByName(ranked.select(F.lit(RANKER).alias("source"), "request_idx", "items", "scores"))
    model = F.broadcast(champion.select("model"))
    own = lists.join(model, F.col("source") == F.col("model"))
    frame = (
        _with_blocked(requests, user_lists)
        .select("request_idx", "k", "blocked")
        .crossJoin(model)
        .join(own.select("request_idx", F.col("items").alias("own"), F.col("scores").alias("own_scores")), "request_idx", "left")
        .join(candidates.select("request_idx", "items", "positions", "scores"), "request_idx", "left")
        .join(seen.select("request_idx", F.col("items").alias("seen"), "allowed"), "request_idx", "left")
        .join(histories.select("request_idx", F.slice("items", 1, F.col("length")).alias("history")), "request_idx", "left")
    )
    lists_of = {
        name: F.coalesce(name, F.array().cast(kind)) for name, kind in frame.dtypes if kind.startswith("array") and name != "allowed"
    }
    frame = frame.withColumns(lists_of)
    citable = F.filter("history", lambda item: ~F.array_contains("blocked", item))
    return frame.select("*", F.size("history").cast("bigint").alias("history_length"), citable.alias("citable")).drop("history", "blocked")


def _with_blocked(requests: DataFrame, user_lists: DataFrame | None) -> DataFrame:
    """`requests` with the items that their users block."""
    if user_lists is None:
        return requests.withColumn("blocked", F.array().cast("array<int>"))
    blocks = user_lists.filter((F.col("kind") == "block") & F.col("user_idx").isNotNull() & F.col("item_idx").isNotNull())
    return requests.join(blocks.groupBy("user_idx").agg(F.collect_set("item_idx").alias("blocked")), "user_idx", "left")


def _as_matrix(offsets: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A ragged column as [n x longest], padded with -1, and the lengths [n]."""
    lengths = np.diff(offsets)
    matrix = np.full((lengths.size, max(1, int(lengths.max(initial=0)))), -1, dtype=np.int32)
    filled = np.arange(matrix.shape[1]) < lengths[:, None]
    matrix[filled] = values[offsets[0] : offsets[-1]]
    return matrix, lengths


def _of_each_source(batch: pa.RecordBatch, column: str, sources: Sequence[str]) -> np.ndarray:
    """A flat column of `candidates` as [candidates x sources]."""
    values = as_ragged(batch.column(column))[1]
    n_items = len(batch.column("items").values)
    if values.size != n_items * len(sources):
        raise ContractError(
            f"staged_recommendations: {n_items} candidates have {values.size} {column}, which is not one for each of the sources "
            f"{list(sources)}; give staged_recommendations.sources the sources of candidates, in their order"
        )
    return values.reshape(n_items, len(sources))


def _place_of(champion: str, sources: Sequence[str]) -> int:
    if champion != RANKER and champion not in sources:
        raise ConfigError(f"the champion is {champion!r}, which is none of staged_recommendations.sources {list(sources)}: name it there")
    return len(sources) if champion == RANKER else list(sources).index(champion)


def _fill_batch(
    batch: pa.RecordBatch,
    sources: Sequence[str],
    fallback: Fallback,
    means: np.ndarray,
    similar: tuple[Similar, ...],
    vectors: tuple[Vectors, ...],
    n_because: int,
) -> pa.RecordBatch:
    """The slots of a batch of requests: items by the ladder, then their reasons."""
    counts, filled, filled_scores, source_codes, rungs = climb(
        batch.column("k").to_numpy(zero_copy_only=False).astype(np.int64),
        batch.column("history_length").to_numpy(zero_copy_only=False),
        _place_of(batch.column("model")[0].as_py(), sources),
        *as_ragged(batch.column("own")),
        as_ragged(batch.column("own_scores"))[1],
        *as_ragged(batch.column("items")),
        _of_each_source(batch, "positions", sources),
        _of_each_source(batch, "scores", sources),
        mask_of(fallback.available, as_ragged(batch.column("seen")), *allow_lists(batch.column("allowed")), fallback.quota),
        fallback.items,
        fallback.scores,
        len(sources),
    )
    citable = _as_matrix(*as_ragged(batch.column("citable")))
    because = explain(counts, filled, source_codes, *citable, fallback.available, n_because, means, similar, vectors)
    request_idx = batch.column("request_idx").to_numpy(zero_copy_only=False)
    places = np.arange(filled.size) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    # As in `_means_of`.
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
    ]
    return pa.RecordBatch.from_arrays([pa.array(column, field.type) for column, field in zip(columns, _SLOTS, strict=True)], schema=_SLOTS)


def _similar_of(item_neighbours: Published | None, lists_of: str) -> Similar:
    """What an item adds to another: item, other, score, ascending by item; arrays of no rows where nothing was fitted."""
    known = item_neighbours.arrays() if item_neighbours else {}
    idx, neighbour_idx, score = (known.get(name, np.empty(0)) for name in ("idx", "neighbour_idx", "score"))
    if lists_of == "candidates":
        order = np.argsort(neighbour_idx, kind="stable")
        idx, neighbour_idx, score = neighbour_idx[order], idx[order], score[order]
    return frozen(idx, np.int64), frozen(neighbour_idx, np.int64), frozen(score, np.float32)


def _means_of(sources: Sequence[str], of_neighbours: Sequence[str], of_vectors: Sequence[str]) -> np.ndarray:
    """How each source's rows are explained (kernels.ladder.explain), and last those of no source."""
    places = {name: place for place, name in enumerate([*of_neighbours, *of_vectors])}
    # Neighbours of a user are people, who are never named: what speaks for their items is what the same people use.
    means = {**places, "user_knn": places["item_knn"]}
    # The popularity rung's code stands behind the sources'; NO_SOURCE (-1) reads the entry at the end.
    return np.array([*(means.get(source, BY_NOTHING) for source in sources), BY_NOTHING, BY_NOTHING])


def _vectors_of(item_vectors: Published | None) -> Vectors:
    """idx [m], vector [m x D]; likewise."""
    known = item_vectors.arrays() if item_vectors else {}
    idx, vector = frozen(known.get("idx", np.empty(0)), np.int64), frozen(known.get("vector", np.empty(0)), np.float32)
    return idx, vector if vector.ndim == 2 else vector.reshape(0, 1)


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
    """request_idx, item_idxs, items of every request with an item; item ids looked up by a join."""
    named = slots.join(item_index.select("item_idx", "item_id"), "item_idx", "left")
    slot = F.struct("place", "reason", "item_idx", "item_id", "score", "source", "rung")
    lists = named.groupBy("request_idx").agg(F.sort_array(F.collect_list(slot)).alias("slots"))
    chosen = F.transform(F.filter("slots", lambda one: one["reason"] == 0), lambda one: one["item_idx"])
    return lists.select("request_idx", chosen.alias("item_idxs"), _items().alias("items"))


def build_staged(
    requests: DataFrame,
    source_candidates: DataFrame,
    candidates: DataFrame,
    champion: DataFrame,
    seen: DataFrame,
    histories: DataFrame,
    item_index: DataFrame,
    user_index: DataFrame,
    item_popularity: ItemPopularity,
    item_features: ItemFeatures,
    knn_neighbours: KnnNeighbours | None,
    next_neighbours: NextNeighbours | None,
    walk_neighbours: WalkNeighbours | None,
    ease_neighbours: EaseNeighbours | None,
    als_vectors: AlsItemVectors | None,
    next_item_vectors: NextItemVectors | None,
    ranked: DataFrame | None,
    user_lists: DataFrame | None,
    *,
    sources: list[str] = ["als", "item_knn", "popular"],  # noqa: B006 (a knob's default, never changed)
    n_because: PositiveInt = 3,
    lists_of: dict[str, str] = {"item_knn": "history", "item_next": "history", "rp3beta": "history"},  # noqa: B006
) -> DataFrame:
    """One row a request: k distinct, unseen, available items with reasons, or as many as there are and why not k.

    The list is filled rung by rung (kernels.ladder.climb): the champion's list, the candidates (all sources fused), every available
    item by popularity; requests without history have the last rung alone. `source` is the source that places the item best (ranker
    where none holds it), `score` the ranker's on its rung, that source's own on the source rung, the popularity score on the last.
    `because` names up to `n_because` items of the history, those that speak for the item in the source that made the row
    (kernels.ladder.explain): available ones that the user does not block. Popularity has no reasons but itself, nor has the ranker.
    `shortfall` is one of TOO_FEW and NOTHING, or empty. What a source without its neighbours or vectors (None) made has no reasons.

    Args:
        sources: those of `candidates`, in their order.
        n_because: reasons an item, at most.
        lists_of: of sources of neighbours, whose lists they add up, the history's items' or the candidates' (`score_neighbour_candidates`).

    Raises:
        ConfigError: no source is named, or one is named twice; within the task: an unknown champion.
        ContractError: within the task: candidates of other sources.
    """
    if not sources or len(set(sources)) < len(sources) or RANKER in sources:
        raise ConfigError(f"staged_recommendations.sources is {sources}: name at least one candidate source, each once, not {RANKER!r}")

    of_neighbours = {"item_knn": knn_neighbours, "item_next": next_neighbours, "rp3beta": walk_neighbours, "ease": ease_neighbours}
    of_vectors = {"als": als_vectors, "next_item": next_item_vectors}

    def fill(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        fallback = fallback_of(item_popularity, item_features)
        means = _means_of(sources, list(of_neighbours), list(of_vectors))
        vectors = tuple(_vectors_of(one) for one in of_vectors.values())
        similar = tuple(_similar_of(one, lists_of.get(name, "history")) for name, one in of_neighbours.items())
        for batch in batches:
            if batch.num_rows:
                yield _fill_batch(batch, sources, fallback, means, similar, vectors, n_because)

    gathered = _gathered(requests, source_candidates, candidates, ranked, champion, seen, histories, user_lists)
    lists = _collected(gathered.mapInArrow(fill, _SLOT_COLUMNS), item_index)
    users = requests.select("request_idx", "user_idx", "k").join(user_index.select("user_idx", "user_id"), "user_idx")
    n_items = F.coalesce(F.array_size("item_idxs"), F.lit(0))
    return users.join(lists, "request_idx", "left").select(
        "request_idx",
        "user_id",
        "k",
        F.coalesce("item_idxs", F.array().cast("array<int>")).alias("item_idxs"),
        F.coalesce("items", F.array().cast(lists.schema["items"].dataType)).alias("items"),
        F.when(n_items >= F.col("k"), "").when(n_items == 0, NOTHING).otherwise(TOO_FEW).alias("shortfall"),
    )
