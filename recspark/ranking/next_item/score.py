"""What a finished next-item model says: vectors of requests, to be compared with those of items. Runs inside every training process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import torch
from pydantic import PositiveInt

from recspark.columns import FIT, ITEM, REQUEST
from recspark.errors import TrainingError
from recspark.handover.plan import Plan
from recspark.handover.reader import read_rows
from recspark.handover.results import ROWS_PER_FILE, ResultWriter, vector_rows
from recspark.ranking.batch import ItemTable
from recspark.ranking.checkpoint import load_artefact
from recspark.ranking.next_item.batch import CONTEXT_COLUMNS, from_table, latest_events, to_batch, trimmed
from recspark.ranking.next_item.dimensions import ItemContent, content_of
from recspark.ranking.next_item.models.build import build_next_item_model
from recspark.ranking.next_item.models.next_item import NextItemModel
from recspark.ranking.processes import this_process
from recspark.tables.lineage import AsPlan, At, ItemFeatures, WorkFolder


def load_next_item_model(folder: str, content: ItemContent, digest: str | None = None) -> tuple[NextItemModel, dict[str, Any]]:
    """A finished model over a catalogue, and its card; `digest`: that of the weights which are meant.

    Raises:
        TrainingError: it is not there, is not what its card or `digest` says, or the catalogue does not fit it.
    """
    weights, card = load_artefact(folder, digest)
    model = build_next_item_model(card["model"], content)
    model.load_state_dict(weights)
    return model.eval(), card


def user_vectors(model: NextItemModel, rows: Iterable[Mapping[str, np.ndarray]]) -> Iterator[np.ndarray]:
    """vectors B x E of rows as `sequences` or `contexts` give them, from the latest events that the model reads.

    With `item_vectors` and `item_biases` they make scores: the top-k of any other source of vectors serves them. A row without
    events has a vector of zeros.
    """
    device = next(model.parameters()).device
    with torch.no_grad():
        for columns in rows:
            batch = to_batch(trimmed(latest_events(from_table(columns), model.length))).to(device)
            yield model.vectors(batch).float().cpu().numpy()


def _of_items(model: NextItemModel, rank: int, world_size: int) -> Iterator[pa.Table]:
    with torch.no_grad():
        vectors, biases = (tensor.float().cpu().numpy() for tensor in (model.item_vectors(), model.item_biases()))
    own = np.arange(rank * len(vectors) // world_size, (rank + 1) * len(vectors) // world_size)
    # Of a later item that has no content nothing is known: a vector of zeros would score above what was learnt to be unlikely.
    own = own[(own < model.catalogue.n_trained) | vectors[own].any(1)]
    for start in range(0, len(own), ROWS_PER_FILE):
        some = own[start : start + ROWS_PER_FILE]
        yield _rows(ITEM, some, vectors[some], biases[some])


def _rows(kind: str, idx: np.ndarray, vectors: np.ndarray, biases: np.ndarray) -> pa.Table:
    finite = np.isfinite(vectors).all(1) & np.isfinite(biases)
    if not finite.all():
        raise TrainingError(
            f"vectors of {kind}_idx {idx[~finite][:10].tolist()} are not finite: train the model again with a lower learning_rate"
        )
    return vector_rows(kind, idx, vectors, biases)


def write_vectors(
    contexts: Annotated[Plan, AsPlan("contexts")],
    next_item_models: Annotated[dict[str, Any], At(FIT)] | None,
    item_features: ItemFeatures,
    *,
    folder: WorkFolder,
    batch_size: PositiveInt = 256,
) -> dict[str, Any] | None:
    """A vector and a bias of every item and of every request with a history: Parquet files below `folder`; returns their manifest.

    Score = dot product + the item's bias. Each process writes its share of both. `next_item_models` None: no model was trained,
    there are no vectors. Items that came after the training have vectors of their content alone, and none where the model reads no content.

    Args:
        batch_size: requests that a process reads at once; changes no vector.

    Raises:
        HandoverError: the files do not hold what was planned.
        TrainingError: the model is not what `next_item_models` says, or gives vectors that are not finite.
    """
    if next_item_models is None:
        return None
    model, _ = load_next_item_model(next_item_models["folder"], content_of(ItemTable(item_features)), next_item_models["digest"])
    processes = this_process()
    model.to(processes.device)
    rank, world_size = processes.process_rank, processes.world_size
    plan = contexts.select(CONTEXT_COLUMNS)
    writer = ResultWriter(folder, contexts, rank, world_size)
    for rows in _of_items(model, rank, world_size):
        writer.add(rows, n_planned=0)
    for columns in read_rows(plan, plan.scoring_share(rank, world_size), batch_size):
        known = columns["length"] > 0
        (vectors,) = user_vectors(model, [columns])
        idx = columns["request_idx"][known]
        writer.add(_rows(REQUEST, idx, vectors[known], np.zeros(len(idx), np.float32)), n_planned=len(known))
    return writer.finish()
