"""The `runs` table: the commit point. Its newest rows name the version and the fingerprint of every slice."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pyspark.sql import Window
from pyspark.sql import functions as F

from recspark.errors import ConcurrentRunError
from recspark.runtime.store import Store
from recspark.tables import RUNS

APPLICATION = "recspark-runs"


@dataclass(frozen=True)
class Entry:
    """One job at one slice, done."""

    job: str
    slice: str
    fingerprint: str
    outputs: Mapping[str, int]
    inputs: Mapping[str, str]
    parameters: str
    n_rows: int | None
    started_at: datetime
    seconds: float
    status: str = "done"
    note: Mapping[str, Any] = field(default_factory=dict)
    run_id: str = ""
    sequence: int = 0


class Ledger:
    """What is committed, as this run knows it, and the one way to commit more."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self.run_id = run_id
        self._lock = threading.Lock()
        self.entries: dict[tuple[str, str], Entry] = {}
        self.versions: dict[str, int] = {}
        self.sequence = 0
        if store.exists(RUNS.name):
            self._load()

    def _load(self) -> None:
        newest = Window.partitionBy("job", "slice").orderBy(F.col("sequence").desc())
        rows = self._store.read(RUNS.name).withColumn("age", F.row_number().over(newest)).where("age = 1").drop("age").collect()
        for row in sorted(rows, key=lambda row: row.sequence):
            self._remember(
                Entry(
                    row.job,
                    row.slice,
                    row.fingerprint,
                    dict(row.outputs),
                    dict(row.inputs),
                    row.parameters,
                    row.n_rows,
                    row.started_at,
                    row.seconds,
                    row.status,
                    json.loads(row.note),
                    row.run_id,
                    row.sequence,
                )
            )

    def _remember(self, entry: Entry) -> None:
        self.entries[entry.job, entry.slice] = entry
        self.versions.update(entry.outputs)
        self.sequence = max(self.sequence, entry.sequence)

    def entry(self, job: str, slice_: str) -> Entry | None:
        return self.entries.get((job, slice_))

    def is_done(self, job: str, slice_: str, fingerprint: str) -> bool:
        entry = self.entry(job, slice_)
        return entry is not None and entry.fingerprint == fingerprint

    def commit(self, entries: Sequence[Entry]) -> None:
        """Append `entries` as the next commit: a compare-and-set against whatever other run is at work.

        Raises:
            ConcurrentRunError: another run committed since this one last looked.
        """
        with self._lock:
            number = self.sequence + 1
            stamped = [Entry(**{**entry.__dict__, "run_id": self.run_id, "sequence": number}) for entry in entries]
            rows = [
                (
                    e.sequence,
                    e.run_id,
                    e.job,
                    e.slice,
                    e.fingerprint,
                    dict(e.outputs),
                    dict(e.inputs),
                    e.parameters,
                    e.n_rows,
                    e.started_at,
                    e.seconds,
                    e.status,
                    json.dumps(e.note, sort_keys=True, default=str),
                )
                for e in stamped
            ]
            frame = self._store.spark.createDataFrame(rows, RUNS.ddl())
            if not self._store.append_once(frame, RUNS, application=APPLICATION, number=number, run_id=self.run_id):
                self._refuse_unless_ours(number)
            for entry in stamped:
                self._remember(entry)

    def _refuse_unless_ours(self, number: int) -> None:
        winner = self._store.read(RUNS.name).where(F.col("sequence") == number).select("run_id").first()
        if winner is None or winner.run_id != self.run_id:
            other = winner.run_id if winner else "another run"
            raise ConcurrentRunError(
                f"run {other} committed to {self._store.warehouse} while run {self.run_id} was at work: this run stops and "
                "what it had not committed is discarded; start it again when the other has ended"
            )
