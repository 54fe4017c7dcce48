"""Sizes and constants of a ranker, from a seeded sample of the slates that it is fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recspark.columns import UNKNOWN_CATEGORY
from recspark.errors import TrainingError
from recspark.handover.plan import Plan
from recspark.handover.reader import read_rows
from recspark.ranking.batch import ItemTable

# Enough for means and deviations to two digits; few enough to read in seconds.
SAMPLE_ROWS = 20_000
COLUMNS = ("request_idx", "n_items", "features", "user_categories", "history_types")
USERS = ("request_idx", "user_idx")
# A feature that does not vary is divided by 1.
SMALLEST_STD = 1e-6
# Slates of which one column is looked at, at a time.
COLUMN_BATCH = 8192
# Features of this ending are 1 / (1 + position), 0 where a source did not find the candidate.
RECIPROCAL = "reciprocal_position"


@dataclass(frozen=True)
class Dimensions:
    """Sizes and constants that a ranker takes from what it is fitted on.

    `feature_means` and `feature_stds` (F each) belong to the candidates' features and, after them, the logarithm of
    each reciprocal position: see `expand_features`. `n_users` is one more than the largest user_idx, `history_length`
    the most events of a history.
    """

    feature_names: tuple[str, ...]
    feature_means: tuple[float, ...]
    feature_stds: tuple[float, ...]
    n_items: int
    n_item_codes: int
    n_item_numbers: int
    n_user_codes: int
    n_user_numbers: int
    n_event_types: int
    n_users: int
    history_length: int


def reciprocal_columns(feature_names: Sequence[str]) -> list[int]:
    return [i for i, name in enumerate(feature_names) if name.endswith(RECIPROCAL)]


def expanded_names(feature_names: Sequence[str]) -> list[str]:
    """The names of what `expand_features` gives."""
    return [*feature_names, *(f"log_{feature_names[i]}" for i in reciprocal_columns(feature_names))]


def expand_features(features: Tensor, feature_names: Sequence[str]) -> Tensor:
    """Append log(1 / (1 + position)) of each reciprocal position: ... x F -> ... x (F + R).

    The share of a place in lists of this kind falls about as 1 / (1 + position) (Zipf): its logarithm is what a linear
    model of a softmax needs. A candidate that the source did not find counts as at twice the slate's length.
    """
    reciprocals = features[..., reciprocal_columns(feature_names)]
    return torch.cat([features, reciprocals.clamp(min=1 / (2 * features.shape[-2])).log()], dim=-1)


def has_labelled_slates(plan: Plan) -> bool:
    """Whether any slate weighs anything: only those are learnt from. Reads the weights up to the first that does.

    Raises:
        HandoverError: the files do not hold what was planned.
    """
    weights = plan.select(("request_idx", "weight"))
    return any((batch["weight"] > 0).any() for batch in read_rows(weights, weights.scoring_share(0, 1), COLUMN_BATCH))


def _largest_user(plan: Plan) -> int:
    users = plan.select(USERS)
    return max((int(batch["user_idx"].max()) for batch in read_rows(users, users.scoring_share(0, 1), COLUMN_BATCH)), default=-1)


def fit_dimensions(plan: Plan, items: ItemTable, feature_names: Sequence[str], *, seed: int) -> Dimensions:
    """Read the sample (the same one in every process) and fit.

    Means and deviations are over real candidates, 0 and 1 where the sample has none. Categories and event types beyond
    the sample's largest are treated as unknown for ever after. Users are counted over all slates, not the sample.

    Raises:
        TrainingError: the slates' features are not those named, or are not finite.
        HandoverError: the files do not hold what was planned.
    """
    n_slots, width = plan.column("items").length, plan.column("features").length
    if width != n_slots * len(feature_names):
        raise TrainingError(
            f"slates have {width} feature values for {n_slots} candidates, but the {len(feature_names)} features "
            f"({', '.join(feature_names)}) make {n_slots * len(feature_names)}; `sources` must be those that the slates were built with"
        )
    n_rows, total, squares = 0, np.zeros(1), np.zeros(1)
    n_codes, n_types = UNKNOWN_CATEGORY + 1, 1
    for batch in read_rows(plan.select(COLUMNS), plan.sample_share(SAMPLE_ROWS, seed=seed), 1024):
        features = torch.from_numpy(batch["features"]).reshape(len(batch["n_items"]), n_slots, -1)
        real = np.arange(n_slots) < batch["n_items"][:, None]
        values = expand_features(features, feature_names).numpy().astype(np.float64)[real]
        if not np.isfinite(values).all():
            bad = batch["request_idx"][~(torch.isfinite(features).all(-1).numpy() | ~real).all(-1)]
            raise TrainingError(f"features of request_idx {bad[:10].tolist()} are not finite: look at these slates' features")
        n_rows, total, squares = n_rows + len(values), total + values.sum(0), squares + np.square(values).sum(0)
        n_codes = max(n_codes, int(batch["user_categories"].max()) + 1)
        n_types = max(n_types, int(batch["history_types"].max()) + 1)
    means = total / max(1, n_rows)
    stds = np.sqrt(np.maximum(squares / max(1, n_rows) - means**2, 0))
    return Dimensions(
        feature_names=tuple(feature_names),
        feature_means=tuple(means.astype(np.float32).tolist()),
        feature_stds=tuple(np.where(stds > SMALLEST_STD, stds, 1).astype(np.float32).tolist()),
        n_items=items.n_items,
        n_item_codes=items.n_codes(),
        n_item_numbers=items.n_numbers,
        n_user_codes=n_codes,
        n_user_numbers=plan.column("user_numbers").length,
        n_event_types=n_types,
        n_users=1 + _largest_user(plan),
        history_length=plan.column("history_items").length,
    )
