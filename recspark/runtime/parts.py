"""Which horizon this run gives to which part, and what a past horizon keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from recspark.columns import SERVE, TUNE
from recspark.errors import ConfigError, UsageError
from recspark.interactions.horizons import EventBounds, SplitSpec, fit_bounds, plan_horizons, require_stored
from recspark.runtime.inputs import Inputs, Scope
from recspark.runtime.ledger import Ledger
from recspark.tables.horizon import Horizon


def with_as_of(spec: SplitSpec, as_of: str | None) -> SplitSpec:
    """The split, serving at `as_of` (a date or time, UTC).

    Raises:
        UsageError: `as_of` is no date.
        ConfigError: the split has no cut in time to move.
    """
    if as_of is None:
        return spec
    try:
        moment = datetime.fromisoformat(as_of)
    except ValueError:
        raise UsageError(f"--as-of {as_of!r} is no date; write it as 2025-06-01 or 2025-06-01T04:00") from None
    if not spec.needs_times:
        raise ConfigError(f"--as-of moves a cut in time, and splits.kind {spec.kind} has none; use splits.kind: production (or time)")
    return SplitSpec.model_validate({**spec.model_dump(exclude_unset=True), "as_of": moment})


def give_parts(
    spec: SplitSpec, inputs: Inputs, ledger: Ledger, *, now: datetime, note: Callable[[str], None], stored: Collection[str] = ()
) -> dict[str, Horizon]:
    """Part -> horizon. In production a horizon that was computed before keeps the deliveries it knew.

    So late files never rewrite the past, and last week's slates become this week's examples at no cost. `stored`: what the source
    says that it holds out (events.parts). `note` is told where the newest event is too old for a night as late as this.

    Raises:
        SplitError: the events cannot be cut so, or nothing is there of what the source should hold out.
    """
    delivery = inputs.intake.delivery
    bounds = fit_bounds(inputs.slice("interactions", Scope("delivery", delivery))) if spec.needs_times else None
    if stored:
        require_stored(inputs.slice("interactions", Scope("delivery", delivery)), stored)
    planned = plan_horizons(spec, delivery=delivery, now=now, bounds=bounds, stored=stored)
    if spec.kind != "production":
        return planned
    assert bounds is not None
    if warning := _warning_of_age(bounds, planned[TUNE]):
        note(warning)
    return {part: _as_first_computed(horizon, inputs, ledger, past=part != SERVE) for part, horizon in planned.items()}


def _warning_of_age(bounds: EventBounds, tune: Horizon) -> str:
    """Where no event lies in the window that models are chosen on: an old log, or deliveries that have stopped. Else empty."""
    assert bounds.last_at is not None
    assert tune.cut is not None
    if bounds.last_at >= tune.cut:
        return ""
    return (
        f"warning: the newest event is of {bounds.last_at:%Y-%m-%d}, and models are chosen on events since {tune.cut:%Y-%m-%d}: there are none; "
        f"--as-of {bounds.last_at + timedelta(days=1):%Y-%m-%d} is the night after the newest"
    )


def _as_first_computed(horizon: Horizon, inputs: Inputs, ledger: Ledger, *, past: bool) -> Horizon:
    first = inputs.intake.first_of(inputs.intake.delivery)

    def known(job: str, bound: str) -> int | None:
        entry = ledger.entry(job, horizon.name)
        number = entry.note["horizon"][bound] if entry else None
        return max(int(number), first) if number else None

    return dataclasses.replace(
        horizon,
        past=past,
        delivery=(known("requests", "delivery") if past else None) or horizon.delivery,
        label_delivery=known("labels", "label_delivery") or inputs.intake.delivery,
    )
