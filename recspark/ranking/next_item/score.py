"""What a finished next-item model says: vectors of users, to be compared with those of items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from recspark.ranking.checkpoint import load_artefact
from recspark.ranking.next_item.batch import from_table, latest_events, to_batch, trimmed
from recspark.ranking.next_item.dimensions import ItemContent
from recspark.ranking.next_item.models.build import build_next_item_model
from recspark.ranking.next_item.models.next_item import NextItemModel


def load_next_item_model(folder: str, content: ItemContent) -> tuple[NextItemModel, dict[str, Any]]:
    """A finished model over a catalogue, and its card.

    Raises:
        TrainingError: it is not there or damaged, or the catalogue does not fit it.
    """
    weights, card = load_artefact(folder)
    model = build_next_item_model(card["model"], content)
    model.load_state_dict(weights)
    return model.eval(), card


def user_vectors(model: NextItemModel, rows: Iterable[Mapping[str, np.ndarray]]) -> Iterator[np.ndarray]:
    """vectors B x E of rows as `sequences` or `histories` give them, from the latest events that the model reads.

    With `item_vectors` and `item_biases` they make scores: the top-k of any other source of vectors serves them.
    """
    device = next(model.parameters()).device
    with torch.no_grad():
        for columns in rows:
            batch = to_batch(trimmed(latest_events(from_table(columns), model.length))).to(device)
            yield model.vectors(batch).float().cpu().numpy()
