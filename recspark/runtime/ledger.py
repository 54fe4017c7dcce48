"""The `runs` table: the commit point. Its newest rows name the version and the fingerprint of every slice."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import Window
from pyspark.sql import functions as F

from recspark.errors import ConcurrentRunError
from recspark.runtime.rows import as_frame
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


def claim(job: str, slice_: str, outputs: Mapping[str, int]) -> Entry:
    """Announces a change of a live table, which keeps its version (`outputs`) until the job is recorded; is never up to date."""
    return Entry(job, slice_, "claimed", outputs, {}, "{}", None, datetime.now(UTC), 0.0, status="claimed")


class Ledger:
    """What is done, as this run knows it, and the one way to commit more.

    A job's entry counts for this run as soon as it is recorded; a thread of the ledger commits entries in the order of
    their recording, all that have gathered while it wrote the last ones in one commit. So the jobs never wait for it, and a
    killed run only repeats what was not committed.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self.run_id = run_id
        self._lock = threading.Lock()
        self._gathered: list[Entry] = []
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._writing: Future[None] | None = None
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
                    row.started_at.astimezone(UTC),  # as collected: naive, in the machine's zone
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

    def record(self, entries: Sequence[Entry]) -> None:
        """Count `entries` as done and hand them over to be committed.

        Raises:
            ConcurrentRunError: an earlier commit of this run lost against another run.
        """
        with self._lock:
            if self._writing is not None and self._writing.done():  # it ends by itself with None, or with an error
                self._writing.result()
            for entry in entries:
                self._remember(entry)
            self._gathered += entries
            if self._writing is None:
                self._writing = self._writer.submit(self._write_gathered)

    def settle(self) -> None:
        """Wait until all that was recorded is committed.

        Raises:
            ConcurrentRunError: another run committed since this one last looked.
        """
        while True:
            with self._lock:
                writing = self._writing
            if writing is None:
                return
            writing.result()

    def commit(self, entries: Sequence[Entry]) -> None:
        """Record `entries` and wait until they are committed: for what must not go on before it is known who won.

        Raises:
            ConcurrentRunError: another run committed since this one last looked.
        """
        self.record(entries)
        self.settle()

    def _write_gathered(self) -> None:
        while True:
            with self._lock:
                batch, self._gathered = self._gathered, []
                if not batch:
                    self._writing = None
                    return
            self._write(batch)

    def _write(self, batch: Sequence[Entry]) -> None:
        """Append `batch` as the next commit: a compare-and-set against whatever other run is at work."""
        number = self.sequence + 1
        rows = [
            (
                number,
                self.run_id,
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
            for e in {(e.job, e.slice): e for e in batch}.values()  # one row a slice and commit: the last
        ]
        frame = as_frame(self._store.spark, rows, RUNS.ddl())
        if not self._store.append_once(frame, RUNS, application=APPLICATION, number=number, run_id=self.run_id):
            self._refuse_unless_ours(number)
        self.sequence = number

    def _refuse_unless_ours(self, number: int) -> None:
        winner = self._store.read(RUNS.name).where(F.col("sequence") == number).select("run_id").first()
        if winner is None or winner.run_id != self.run_id:
            other = winner.run_id if winner else "another run"
            raise ConcurrentRunError(
                f"run {other} committed to {self._store.warehouse} while run {self.run_id} was at work: this run stops and "
                "what it had not committed is discarded; start it again when the other has ended"
            )
