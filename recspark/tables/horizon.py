"""The river's clock: a horizon is a cut of the events; a split says what each event is on either side of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Horizon:
    """One cut.

    `name` is what the `horizon` columns hold: a date (`2025-06-01`), or split and part (`last_5/test`, `serve`).
    With `cut`, learn is every event before it and labels are the events from it until `label_until`. Without `cut`,
    the roles are the rows of `splits` at this horizon; events without a row there are learnt from.
    `delivery` is the newest delivery that its learnt rows know, `label_delivery` the newest that its labels know (None:
    the same). `closed` says that its labels are complete. `past` marks a night gone by: it keeps its deliveries and the
    attributes that it was computed with, so late files and changed catalogues never rewrite it.
    """

    name: str
    delivery: int
    closed: bool
    cut: datetime | None = None
    label_until: datetime | None = None
    stored_roles: bool = False
    label_delivery: int | None = None
    past: bool = False
