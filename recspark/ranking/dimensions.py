"""Sizes and constants of a ranker, from a seeded sample of the slates that it is fitted on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from recspark.columns import UNKNOWN_CATEGORY
from recspark.errors import TrainingError
from recspark.handover.plan import Plan
from recspark.handover.reader import read_rows
from recspark.ranking.batch import ItemTable
from recspark.ranking.models.din import Dimensions, expand_features

# Enough for means and deviations to two digits; few enough to read in seconds.
SAMPLE_ROWS = 20_000
COLUMNS = ("n_items", "features", "user_categories", "history_types")
# A feature that does not vary is divided by 1.
SMALLEST_STD = 1e-6


def fit_dimensions(plan: Plan, items: ItemTable, feature_names: Sequence[str], *, seed: int) -> Dimensions:
    """Read the sample (the same one in every process) and fit.

    Means and deviations are over real candidates. Categories and event types beyond the sample's largest are treated
    as unknown for ever after.

    Raises:
        TrainingError: the slates' features are not those named.
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
        n_rows, total, squares = n_rows + len(values), total + values.sum(0), squares + np.square(values).sum(0)
        n_codes = max(n_codes, int(batch["user_categories"].max()) + 1)
        n_types = max(n_types, int(batch["history_types"].max()) + 1)
    if not n_rows:
        raise TrainingError(
            f"no slate of the sample of table {plan.table!r} at horizon {plan.horizon!r} holds a candidate; look at the sources"
        )
    means = total / n_rows
    stds = np.sqrt(np.maximum(squares / n_rows - means**2, 0))
    return Dimensions(
        feature_names=tuple(feature_names),
        feature_means=tuple(means.astype(np.float32).tolist()),
        feature_stds=tuple(np.where(stds > SMALLEST_STD, stds, 1).astype(np.float32).tolist()),
        n_slots=n_slots,
        n_items=items.n_items,
        n_item_codes=items.n_codes(),
        n_item_numbers=items.numbers.shape[1],
        n_user_codes=n_codes,
        n_user_numbers=plan.column("user_numbers").length,
        n_event_types=n_types,
    )
