"""The learning rate by update: arithmetic alone, so that a resumed training needs no state of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from recspark.ranking.options import TrainingOptions


def learning_rate_share(options: TrainingOptions, update: int, n_updates: int, epoch: int, figures: Sequence[float]) -> float:
    """What update number `update` of `n_updates` takes of the learning rate: a linear warm-up, then the schedule.

    cosine: half a cosine down to `final_share`; step: times `decay` after every `decay_epochs` epochs; plateau: times
    `decay` whenever `figures` (one an evaluation so far, higher is better) had no new best for `decay_epochs` epochs.
    """
    warm_up = options.warm_up if options.warm_up >= 1 else max(1, int(n_updates * options.warm_up)) if options.warm_up else 0
    if update < warm_up:
        return (update + 1) / warm_up
    if options.schedule == "cosine":
        done = (update - warm_up) / max(1, n_updates - warm_up)
        return options.final_share + (1 - options.final_share) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    if options.schedule == "step":
        return float(options.decay ** (epoch // options.decay_epochs))
    if options.schedule == "plateau":
        return float(options.decay ** n_plateaus(figures, options.decay_epochs))
    return 1.0


def n_plateaus(figures: Sequence[float], length: int) -> int:
    """How many times in a row `length` figures brought no new best; each time the count begins anew."""
    best, since, found = -math.inf, 0, 0
    for figure in figures:
        best, since = (figure, 0) if figure > best else (best, since + 1)
        if since == length:
            found, since = found + 1, 0
    return found
