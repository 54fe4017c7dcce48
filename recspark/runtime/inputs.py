"""What a job's parameters become: frames, published arrays, plans, at one slice; and the fingerprint of each."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.columns import FIT, LABEL, SERVE
from recspark.errors import LimitError, LineageError
from recspark.handover.arrays import Published, publish
from recspark.handover.export import plan_table
from recspark.interactions.roles import keep_rows
from recspark.runtime.deliveries import Intake
from recspark.runtime.job import TABLES_BY_NAME, Input, Job, role_tables, writers_of
from recspark.runtime.ledger import Ledger
from recspark.runtime.rows import as_frame
from recspark.runtime.store import Store
from recspark.tables import STAMPED, Table
from recspark.tables.horizon import Horizon
from recspark.tables.lineage import AsArrays, AsPlan, Before, New, Rows, Source


@dataclass(frozen=True)
class Scope:
    """What one call of a job computes: a delivery, a horizon, or (`once`) the whole table as of the serving horizon."""

    kind: Literal["delivery", "horizon", "once"]
    delivery: int
    horizon: Horizon | None = None

    @property
    def slice(self) -> str:
        if self.kind == "delivery":
            return str(self.delivery)
        return self.horizon.name if self.kind == "horizon" and self.horizon else ""


class Inputs:
    """Resolves inputs against the ledger's state. `parts` says which horizon the run gives to which part."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        jobs: Mapping[str, Job],
        intake: Intake,
        *,
        repeats: Literal["earliest", "latest", "all"],
        published_rows: int,
    ) -> None:
        self.store, self.ledger, self.jobs, self.intake = store, ledger, jobs, intake
        self.parts: Mapping[str, Horizon] = {}
        self._repeats, self._published_rows = repeats, published_rows
        self._frames: dict[tuple[str, int], DataFrame] = {}
        self._published: dict[str, Published] = {}
        self._publishing = threading.Lock()

    # ---- which slice an input means

    def scope_of(self, one: Input, scope: Scope) -> Scope | None:
        """The slice that `one` reads when its job computes `scope`; None where the run has none (an optional part)."""
        if one.table is None:
            return None
        slices = TABLES_BY_NAME[one.table].slices
        if "delivery" in TABLES_BY_NAME[one.table].column_names:
            return Scope("delivery", self._known_delivery(one, scope))
        if "horizon" not in slices:
            return Scope("once", scope.delivery, self.parts.get(SERVE))
        own = scope.horizon or self.parts.get(SERVE)
        # A run that trains no ranker may have no fit: what is fitted there for all horizons is then fitted at each.
        horizon = self.parts.get(one.part, own if one.part == FIT else None) if one.part else own
        return Scope("horizon", horizon.delivery, horizon) if horizon else None

    def _known_delivery(self, one: Input, scope: Scope) -> int:
        if scope.horizon is None:
            return scope.delivery
        labels = isinstance(one.marker, Rows) and LABEL in one.marker.roles
        return (scope.horizon.label_delivery or scope.horizon.delivery) if labels else scope.horizon.delivery

    def writers(self, table: str) -> list[Job]:
        return [job for job in self.jobs.values() if job.writes.name == table]

    def writers_of(self, one: Input) -> list[Job]:
        """The jobs of this run that write what `one` reads."""
        return writers_of(one, self.jobs.values())

    def is_available(self, one: Input, scope: Scope) -> bool:
        """Whether an optional input exists in this run: it has a writer, and labels exist only once their window closed."""
        if isinstance(one.marker, Source | Before):
            return True
        found = self.scope_of(one, scope)
        if one.table is None or found is None or not self.writers_of(one):
            return False
        return not (one.table == "labels" and found.horizon is not None and not found.horizon.closed)

    def deciders(self, one: Input, horizon: Horizon) -> list[str]:
        """The tables that decide which rows a view of `interactions` shows at `horizon`."""
        if not isinstance(one.marker, Rows):
            return []
        return [name for name in role_tables(one.marker) if name != "splits" or horizon.stored_roles]

    # ---- fingerprints

    def fingerprint(self, one: Input, scope: Scope) -> str:
        """What the input is, as a hash: equal hashes mean equal contents."""
        if isinstance(one.marker, Before):
            return ""
        if isinstance(one.marker, Source):
            return self.intake.digest(one.marker.name)
        found = self.scope_of(one, scope)
        if found is None or one.table is None or not self.is_available(one, scope):
            return "absent"
        parts = [self._slice_fingerprint(self.writers_of(one), found)]
        if isinstance(one.marker, Rows) and scope.horizon is not None:
            at_horizon = Scope("horizon", scope.horizon.delivery, scope.horizon)
            parts += [self._slice_fingerprint(self.writers(name), at_horizon) for name in self.deciders(one, scope.horizon)]
            parts += [self._repeats, *one.marker.roles, str(scope.horizon.cut), str(scope.horizon.label_until)]
            parts += ["every_repeat"] if one.marker.every_repeat else []
        return digest(parts)

    def _slice_fingerprint(self, writers: Iterable[Job], scope: Scope) -> str:
        found = []
        for job in writers:
            entry = self.ledger.entry(job.name, scope.slice)
            if entry is None:
                raise LineageError(
                    f"table {job.writes.name!r} at {scope.slice or 'its one slice'!r} was asked for before {job.name!r} had written it"
                )
            found.append(entry.fingerprint)
        return digest(found)

    # ---- values

    def value(self, one: Input, scope: Scope) -> Any:
        """What the function is given for `one`."""
        if one.optional and not self.is_available(one, scope):
            return None
        if isinstance(one.marker, Source):
            return self.intake.read(one.marker.name, scope.delivery)
        assert one.table is not None
        table = TABLES_BY_NAME[one.table]
        if isinstance(one.marker, Before):
            return self._before(table, scope)
        found = self.scope_of(one, scope)
        if found is None:
            raise LineageError(f"{one.table!r} is asked for at part {one.part!r}, which this run gives to no horizon")
        if isinstance(one.marker, AsPlan):
            return self._plan(table, found)
        if isinstance(one.marker, AsArrays):
            return self._arrays(one, one.marker, found, self.fingerprint(one, scope))
        if isinstance(one.marker, Rows):
            return self._view(one, scope)
        if isinstance(one.marker, New):
            return _unstamped(self.table(table.name).where(F.col("delivery") == found.delivery))
        frame = self._rows_of(one, found)
        return _only_row(frame) if one.is_row else frame

    def table(self, name: str) -> DataFrame:
        """The table at its committed version."""
        version = self.ledger.versions[name]
        if (name, version) not in self._frames:
            self._frames[name, version] = self.store.read(name, version)
        return self._frames[name, version]

    def slice(self, name: str, scope: Scope) -> DataFrame:
        """The table's rows at `scope`, without the columns that the runner stamps."""
        frame = self.table(name)
        if scope.kind == "delivery":
            frame = frame.where(F.col("delivery") <= scope.delivery)
        elif scope.kind == "horizon" and scope.horizon is not None:
            frame = frame.where(F.col("horizon") == scope.horizon.name)
        return _unstamped(frame)

    def _rows_of(self, one: Input, scope: Scope) -> DataFrame:
        assert one.table is not None
        frame = self.slice(one.table, scope)
        return frame.where(F.col("source") == one.source) if one.source else frame

    def earlier(self, job: Job, scope: Scope) -> DataFrame | None:
        """The job's committed rows at the newest horizon whose cut lies before that of `scope`; None where there are none."""
        if scope.horizon is None or scope.horizon.cut is None:
            return None
        cuts = {entry.slice: str(entry.note["horizon"]["cut"]) for entry in self.ledger.entries.values() if entry.job == job.name}
        before = {name: cut for name, cut in cuts.items() if cut < str(scope.horizon.cut)}
        if not before:
            return None
        rows = self.table(job.writes.name).where(F.col("horizon") == max(before, key=lambda name: before[name]))
        return _unstamped(reduce(lambda frame, own: frame.where(F.col(own[0]) == own[1]), job.slice.items(), rows))

    def _before(self, table: Table, scope: Scope) -> DataFrame | None:
        if table.name not in self.ledger.versions:
            return as_frame(self.store.spark, [], table.ddl()).drop(*STAMPED) if table.slices else None
        frame = self.table(table.name)
        if "delivery" in table.slices:
            first = 1 if table.permanent else self.intake.first_of(scope.delivery)
            frame = frame.where((F.col("delivery") >= first) & (F.col("delivery") < scope.delivery))
        return _unstamped(frame)

    def _view(self, one: Input, scope: Scope) -> DataFrame:
        assert isinstance(one.marker, Rows)
        assert scope.horizon is not None
        interactions = self.slice("interactions", Scope("delivery", self._known_delivery(one, scope)))
        deciders = self.deciders(one, scope.horizon)
        at_horizon = Scope("horizon", scope.horizon.delivery, scope.horizon)
        return keep_rows(
            interactions,
            self.slice("splits", at_horizon) if "splits" in deciders else None,
            self.slice("flagged_users", at_horizon) if "flagged_users" in deciders else None,
            horizon=scope.horizon,
            roles=one.marker.roles,
            repeats=self._repeats,
            every_repeat=one.marker.every_repeat,
        )

    def _plan(self, table: Table, scope: Scope) -> Any:
        assert scope.horizon is not None
        return plan_table(
            self.store.spark, self.store.location(table.name), self.ledger.versions[table.name], horizon=scope.horizon.name, table=table
        )

    def _arrays(self, one: Input, marker: AsArrays, scope: Scope, fingerprint: str) -> Published:
        key = digest([marker.table, one.source or "", marker.where or "", *marker.order_by, fingerprint])
        with self._publishing:  # two jobs of one run may ask for the same arrays at once
            if key not in self._published:
                self._published[key] = self._publish(self._rows_of(one, scope), marker, scope)
            return self._published[key]

    def _publish(self, frame: DataFrame, marker: AsArrays, scope: Scope) -> Published:
        if marker.where:
            frame = frame.where(marker.where)
        rows = frame.orderBy(*marker.order_by).limit(self._published_rows + 1).toArrow()
        if rows.num_rows > self._published_rows:
            raise LimitError(
                f"table {marker.table!r} at {scope.slice!r} has more than {self._published_rows} rows and would pass through the driver "
                "as arrays; raise limits.published_rows if the driver's memory allows"
            )
        return publish(_as_arrays(rows), f"{self.store.warehouse}/_arrays")


def _only_row(frame: DataFrame) -> dict[str, Any] | None:
    row = frame.first()
    return row.asDict(recursive=True) if row else None


def _unstamped(frame: DataFrame) -> DataFrame:
    return frame.drop(*(name for name in STAMPED if name in frame.columns))


def _as_arrays(rows: pa.Table) -> dict[str, np.ndarray]:
    """Numbers as they are, lists of one length as [n, length]; strings stay behind."""
    arrays: dict[str, np.ndarray] = {}
    for name in rows.column_names:
        column = rows.column(name).combine_chunks()
        if pa.types.is_list(column.type):
            values = column.flatten().to_numpy(zero_copy_only=False)
            width = len(values) // len(column) if len(column) else 0
            arrays[name] = values.reshape(len(column), width)
        elif pa.types.is_boolean(column.type) or pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            arrays[name] = column.to_numpy(zero_copy_only=False)
    return arrays


def digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]
