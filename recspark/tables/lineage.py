"""What a job's parameters are annotated with. A plain `DataFrame` named like a table is that table at the job's horizon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from recspark.handover.arrays import Published


@dataclass(frozen=True)
class Rows:
    """Which roles of `interactions` a job may see at its horizon."""

    roles: tuple[str, ...]
    flags: bool = True  # users in `flagged_users` are not learnt from
    table: str | None = None  # what is seen, where the parameter has another name
    every_repeat: bool = False  # also the repeats of a user, item and type that the configuration's `repeats` drops


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
    """A cumulative table as it was before the delivery that the job writes: a table may extend itself."""

    table: str | None = None


@dataclass(frozen=True)
class New:
    """Only the rows of the delivery that the job writes; without it, a cumulative table is everything so far."""


@dataclass(frozen=True)
class Source:
    """What has newly arrived at a source, as its files read, with `_file` (string) and `_position` (bigint)."""

    name: str


@dataclass(frozen=True)
class Clock:
    """The run's recorded now; never the machine's clock."""


@dataclass(frozen=True)
class Folder:
    """The job's working folder: the same when the same work is done again, so that it can resume."""


@dataclass(frozen=True)
class TaskSlots:
    """How many tasks the session runs at once."""


@dataclass(frozen=True)
class Facts:
    """Where the job says what it found out beside its rows: `tell(name, value)` puts a JSON value into its row of `runs`."""


@dataclass(frozen=True)
class EarlierRows:
    """`earlier()`: the job's own rows at the newest horizon before its own; None where there are none. Never makes a job stale."""


@dataclass(frozen=True)
class AsArrays:
    """An item-sized table as published arrays: `where` filters its rows, `order_by` sorts them.

    A name in braces in `where` stands for the job's own slice: `source = '{source}'`.
    """

    table: str
    where: str | None
    order_by: tuple[str, ...]


@dataclass(frozen=True)
class AsPlan:
    """A hand-over table as the plan of files and rows that training processes read; at `part`, or the job's own."""

    table: str
    part: str | None = None


@dataclass(frozen=True)
class Spread:
    """A model of knobs that several jobs share: its fields stand in each job's own section, beside the other knobs."""


# What models learn from, at the cut.
LearnRows = Annotated["DataFrame", Rows(("learn",))]
# What a request's history may hold: learnt rows, and the rows of users that models do not learn from.
HistoryRows = Annotated["DataFrame", Rows(("learn", "context"))]
# Rows of users that models do not learn from, but serve.
ContextRows = Annotated["DataFrame", Rows(("context",), table="interactions")]
# The same with every repeat: when something was done last, whatever models learn from.
PastRows = Annotated["DataFrame", Rows(("learn", "context"), every_repeat=True)]
# What a horizon must predict: only the job that writes `labels` may ask for it.
LabelRows = Annotated["DataFrame", Rows(("label",))]
# Learnt rows before anybody is flagged: only the job that flags may ask for it.
UnflaggedRows = Annotated["DataFrame", Rows(("learn",), flags=False)]
# Every row up to the horizon's delivery, whatever its role: only splitting may ask for it.
AllRows = Annotated["DataFrame", Rows(("learn", "context", "label", "hidden"))]
# The job's own table before the delivery it writes.
Previous = Annotated["DataFrame", Before()]
NewRows = Annotated["DataFrame", New()]
EventsSource = Annotated["DataFrame", Source("events")]
ItemsSource = Annotated["DataFrame", Source("items")]
UsersSource = Annotated["DataFrame", Source("users")]
ListsSource = Annotated["DataFrame", Source("lists")]
Now = Annotated[datetime, Clock()]
WorkFolder = Annotated[str, Folder()]
Slots = Annotated[int, TaskSlots()]
Earlier = Annotated[Callable[[], "DataFrame | None"], EarlierRows()]
Tell = Annotated[Callable[[str, Any], None], Facts()]

# Of one source each: two fits have unrelated axes, and two lists of neighbours no common scale.
ItemVectors = Annotated["Published", AsArrays("vectors", "kind = 'item' and source = 'als'", ("idx",))]
ItemNeighbours = Annotated["Published", AsArrays("neighbours", "kind = 'item' and source = '{source}'", ("idx", "position"))]
KnnNeighbours = Annotated["Published", AsArrays("neighbours", "kind = 'item' and source = 'item_knn'", ("idx", "position"))]
NextNeighbours = Annotated["Published", AsArrays("neighbours", "kind = 'item' and source = 'item_next'", ("idx", "position"))]
WalkNeighbours = Annotated["Published", AsArrays("neighbours", "kind = 'item' and source = 'rp3beta'", ("idx", "position"))]
EaseNeighbours = Annotated["Published", AsArrays("neighbours", "kind = 'item' and source = 'ease'", ("idx", "position"))]
ItemPopularity = Annotated["Published", AsArrays("popularity", None, ("item_idx",))]
ItemFeatures = Annotated["Published", AsArrays("item_features", None, ("item_idx",))]
