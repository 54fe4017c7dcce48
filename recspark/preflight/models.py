"""Which job's work is forecast by which model: the expensive ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recspark.preflight.factors import als_candidates_work, als_work
from recspark.preflight.similarity import item_knn_work, knn_candidates_work, popular_candidates_work
from recspark.preflight.work import Forecaster


@dataclass(frozen=True)
class Model:
    """How a job's work is forecast, and which of its knobs make it less."""

    work: Forecaster
    levers: tuple[str, ...] = ()  # whole numbers of which less costs less, the least harmful first
    blocks: str | None = None  # a whole number of which more costs a task less memory, and changes no result
    instead: Mapping[str, Any] = field(default_factory=dict)  # another way of doing the same
    told: Mapping[str, str] = field(default_factory=dict)  # knobs of other jobs (section.knob) that the work depends on


MODELS: Mapping[str, Model] = {
    "vectors_als": Model(als_work, levers=("max_iter", "rank"), instead={"engine": "mllib"}),
    "neighbours_item_cosine": Model(item_knn_work, levers=("max_items_per_user", "n_neighbours"), blocks="n_blocks"),
    "source_candidates_als": Model(als_candidates_work, levers=("rank",), told={"rank": "vectors_als.rank"}),
    "source_candidates_item_cosine": Model(
        knn_candidates_work,
        levers=("max_history", "n_neighbours"),
        told={"n_neighbours": "neighbours_item_cosine.n_neighbours", "max_length": "histories.max_length"},
    ),
    "source_candidates_popular": Model(popular_candidates_work),
}
