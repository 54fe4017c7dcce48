"""Further slates from the past: an event of a history as the positive, beside items drawn from the catalogue.

A slate of `examples` is one moment of a user, and its negatives are hard: what the sources found. These are many moments,
and easy negatives, which is how models of user and item ids are trained (He et al. 2017). What is drawn follows from the
seed, the epoch and the request alone: it is the same on any number of processes, and in whichever batch the request is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from recspark.columns import PAD_ITEM
from recspark.handover.plan import Plan
from recspark.handover.reader import REAL, read_rows
from recspark.ranking.dimensions import SAMPLE_ROWS, Dimensions, reciprocal_columns
from recspark.ranking.draws import uniform

# An item that the user has is drawn anew so many times, then left out.
ATTEMPTS = 16
_BATCH = 1024


class PastSlates(BaseModel):
    """Slates of the past beside each request's own; in the configuration, `rankers.past`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    n_slates: PositiveInt = 4
    n_negatives: PositiveInt = 50
    # Items are drawn as their events to this power; 0: all alike.
    alpha: Annotated[float, Field(ge=0)] = 0.0
    weight: PositiveFloat = 1.0


@dataclass(frozen=True)
class Catalogue:
    """What negatives are drawn from: `shares`, the items' probabilities added up, [n_items]."""

    shares: np.ndarray

    def draw(self, keys: tuple[np.ndarray | int, ...], taken: np.ndarray, n: int) -> np.ndarray:
        """[R x n] items for R rows, none of `taken` [R x H], with repeats; -1 where there seem to be no others. Keys broadcast to R x 1."""
        drawn = np.full((len(taken), n), PAD_ITEM, np.int32)
        clash = np.ones(drawn.shape, bool)
        for attempt in range(ATTEMPTS):
            drawn_shares = uniform(*keys, np.arange(n), attempt)
            items = np.minimum(np.searchsorted(self.shares, drawn_shares, side="right"), len(self.shares) - 1)
            drawn = np.where(clash, items, drawn).astype(np.int32)
            clash = (drawn[:, :, None] == taken[:, None, :]).any(-1)
            if not clash.any():
                break
        return np.where(clash, np.int32(PAD_ITEM), drawn)


def fit_catalogue(plan: Plan, n_items: int, *, alpha: float, seed: int) -> Catalogue:
    """Items drawn alike, or as their events to the power `alpha`, counted in a seeded sample of histories (the same in every process).

    Raises:
        HandoverError: the files do not hold what was planned.
    """
    counts = np.ones(n_items)
    if alpha:
        counts[:] = 0
        for batch in read_rows(plan.select(("request_idx", "history_items")), plan.sample_share(SAMPLE_ROWS, seed=seed), _BATCH):
            events = batch["history_items"]
            counts += np.bincount(events[(events >= 0) & (events < n_items)], minlength=n_items)
    weights = counts**alpha if counts.any() else np.ones(n_items)
    weights[counts == 0] = 0 if counts.any() else 1
    return Catalogue(np.cumsum(weights) / weights.sum())


def _saying_nothing(dimensions: Dimensions) -> np.ndarray:
    """F float32: the mean features; of those that enter by their logarithm, the value whose logarithm is its mean."""
    means = np.asarray(dimensions.feature_means, np.float32)
    features, logs = np.split(means, [len(dimensions.feature_names)])
    features[reciprocal_columns(dimensions.feature_names)] = np.exp(logs)
    return features


def add_past(
    columns: Mapping[str, np.ndarray], past: PastSlates, catalogue: Catalogue, dimensions: Dimensions, *, seed: int, epoch: int
) -> dict[str, np.ndarray]:
    """The batch, and behind it `past.n_slates` further slates for each of its requests that has a history.

    The positive is an event, the history what came before it, ages are counted from it; negatives are never items of the
    history, before or after, nor positives of the slate. Nothing is known of how sources would have ranked them: every
    candidate has the mean features, which say nothing. At most S - 1 negatives, for slates of S.
    """
    rows = np.flatnonzero(columns[REAL] & (columns["history_length"] > 0)).repeat(past.n_slates)
    slates = {name: array[rows] for name, array in columns.items()}
    n, n_slots = slates["items"].shape
    keys = (seed, epoch, slates["request_idx"], np.tile(np.arange(past.n_slates), n // past.n_slates))
    event = (uniform(*keys) * slates["history_length"]).astype(np.int64)
    happened = np.arange(slates["history_items"].shape[1]) < slates["history_length"][:, None]
    taken = np.where(happened, slates["history_items"], PAD_ITEM)
    positives = np.where(slates["labels"] > 0, slates["items"], PAD_ITEM)
    n_negatives = min(past.n_negatives, n_slots - 1)
    columned = tuple(key[:, None] if isinstance(key, np.ndarray) else key for key in keys)
    # -1 is nobody's item: a row of padding in `taken` clashes with nothing.
    negatives = catalogue.draw(columned, np.concatenate([taken, positives], axis=1), n_negatives)
    items = np.full((n, n_slots), PAD_ITEM, np.int32)
    items[:, 0] = taken[np.arange(n), event]
    items[:, 1 : 1 + n_negatives] = np.take_along_axis(negatives, np.argsort(negatives == PAD_ITEM, axis=1, kind="stable"), axis=1)
    labels = np.zeros((n, n_slots), np.float32)
    labels[:, 0] = 1
    since = slates["history_ages"] - slates["history_ages"][np.arange(n), event][:, None]
    slates |= {
        "items": items,
        "n_items": (1 + (negatives != PAD_ITEM).sum(1)).astype(np.int32),
        "labels": labels,
        "n_positives": np.ones(n, np.int32),
        "weight": np.full(n, past.weight, np.float32),
        "features": np.tile(_saying_nothing(dimensions), (n, n_slots)),
        "history_length": event.astype(np.int32),
        "history_ages": np.maximum(since, 0).astype(np.float32),
    }
    return {name: np.concatenate([array, slates[name]]) for name, array in columns.items()}
