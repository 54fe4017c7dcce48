"""Which job's work is forecast by which model: the expensive ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recspark.preflight.factors import als_work
from recspark.preflight.proposals import (
    als_candidates_work,
    ease_candidates_work,
    list_candidates_work,
    next_item_candidates_work,
    popular_candidates_work,
    user_knn_candidates_work,
)
from recspark.preflight.similarity import ease_work, item_knn_work, user_knn_work
from recspark.preflight.work import Forecaster


@dataclass(frozen=True)
class Model:
    """How a job's work is forecast, and which of its knobs make it less."""

    work: Forecaster
    levers: tuple[str, ...] = ()  # whole numbers of which less costs less, the least harmful first
    blocks: str | None = None  # a whole number of which more costs a task less memory, and changes no result
    instead: Mapping[str, Any] = field(default_factory=dict)  # another way of doing the same
    told: Mapping[str, str] = field(default_factory=dict)  # knobs of other jobs (section.knob) that the work depends on


def _from_lists(source: str) -> Model:
    told = {knob: f"neighbours_{source}.{knob}" for knob in ("n_neighbours", "min_support", "max_items_per_user")}
    told["max_length"] = "histories.max_length"
    return Model(list_candidates_work, levers=("max_history", "n_neighbours"), told=told)


_ITEM_KNN = Model(item_knn_work, levers=("max_items_per_user", "n_neighbours"), blocks="n_blocks")

MODELS: Mapping[str, Model] = {
    "vectors_als": Model(als_work, levers=("max_iter", "rank"), instead={"engine": "mllib"}),
    "neighbours_item_knn": _ITEM_KNN,
    "neighbours_item_next": _ITEM_KNN,
    "neighbours_rp3beta": _ITEM_KNN,
    "neighbours_ease": Model(ease_work, levers=("n_neighbours",), blocks="n_blocks", instead={"single_precision": True}),
    "neighbours_user_knn": Model(
        user_knn_work, levers=("max_users_per_item", "n_neighbours", "n_probes", "max_exact_users"), blocks="n_blocks"
    ),
    "source_candidates_als": Model(als_candidates_work, levers=("rank",), told={"rank": "vectors_als.rank"}),
    "source_candidates_next_item": Model(
        next_item_candidates_work, levers=("rank",), told={"rank": "next_item_models.model.embedding_size"}
    ),
    "source_candidates_item_knn": _from_lists("item_knn"),
    "source_candidates_item_next": _from_lists("item_next"),
    "source_candidates_rp3beta": _from_lists("rp3beta"),
    "source_candidates_ease": Model(ease_candidates_work, levers=("n_neighbours",), told={"n_neighbours": "neighbours_ease.n_neighbours"}),
    "source_candidates_user_knn": Model(
        user_knn_candidates_work,
        levers=("n_neighbours",),
        blocks="n_blocks",
        told={"n_neighbours": "neighbours_user_knn.n_neighbours"},
    ),
    "source_candidates_popular": Model(popular_candidates_work),
}
