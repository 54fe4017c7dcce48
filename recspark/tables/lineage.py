"""What a job's parameters are annotated with. A plain `DataFrame` named like a table is that table at the job's horizon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from recspark.handover.arrays import Published
    from recspark.handover.plan import Plan


@dataclass(frozen=True)
class Rows:
    """Which roles of `interactions` a job may see at its horizon."""

    roles: tuple[str, ...]


@dataclass(frozen=True)
class At:
    """The table at the horizon that the run gives to `part`, instead of the job's own."""

    part: str
    table: str | None = None


@dataclass(frozen=True)
class Of:
    """The table has another name than the parameter."""

    table: str


@dataclass(frozen=True)
class Before:
    """The table as it was before the delivery that the job writes: a table may extend itself."""


@dataclass(frozen=True)
class AsArrays:
    """An item-sized table as published arrays: `where` filters its rows, `order_by` sorts them."""

    table: str
    where: str | None
    order_by: tuple[str, ...]


@dataclass(frozen=True)
class AsPlan:
    """A hand-over table as the plan of files and rows that training processes read; at `part`, or the job's own."""

    table: str
    part: str | None = None


# What models learn from, at the cut.
LearnRows = Annotated["DataFrame", Rows(("learn",))]
# What a request's history may hold: learnt rows, and the rows of users that models do not learn from.
HistoryRows = Annotated["DataFrame", Rows(("learn", "context"))]
# What a horizon must predict: only the job that writes `labels` may ask for it.
LabelRows = Annotated["DataFrame", Rows(("label",))]
# Every row up to the horizon's delivery, whatever its role: only splitting may ask for it.
AllRows = Annotated["DataFrame", Rows(("learn", "context", "label", "hidden"))]
# The job's own table before the delivery it writes.
Previous = Annotated["DataFrame", Before()]

ItemVectors = Annotated["Published", AsArrays("vectors", "kind = 'item'", ("idx",))]
ItemNeighbours = Annotated["Published", AsArrays("neighbours", "kind = 'item'", ("idx", "position"))]
ItemPopularity = Annotated["Published", AsArrays("popularity", None, ("item_idx",))]
ItemFeatures = Annotated["Published", AsArrays("item_features", None, ("item_idx",))]
