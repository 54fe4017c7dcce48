"""Deliveries: what has newly arrived at the sources since the warehouse last looked, numbered from 1."""

from __future__ import annotations

import hashlib
import json
import time
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.errors import SourceError
from recspark.runtime.config import Settings
from recspark.runtime.ledger import Entry, Ledger
from recspark.runtime.sources import FoundFile, list_files, new_files, read_source
from recspark.runtime.store import Store
from recspark.tables import DELIVERIES, LANDED_EVENTS

EVENTS = "events"


class Intake:
    """The sources as one run sees them. Files are listed once; a file is read in the delivery that first saw it."""

    def __init__(self, store: Store, ledger: Ledger, settings: Settings) -> None:
        self._store, self._ledger = store, ledger
        self._mappings: dict[str, Any] = {
            name: mapping
            for name, mapping in (("events", settings.events), ("items", settings.items), ("users", settings.users))
            if mapping
        }
        self._listings: dict[str, list[FoundFile]] = {}
        self.delivery = 0
        self.message = ""
        self._first: dict[int, int] = {}

    def discover(self) -> bool:
        """List the sources and, where anything is new, commit the next delivery. Returns whether there is one.

        Raises:
            SourceError: a source is not there, or there is nothing at all to begin with.
        """
        started = time.monotonic()
        self._listings = {name: list_files(self._store.spark, mapping, section=name) for name, mapping in self._mappings.items()}
        last, notes = self._committed()
        state = {
            "mapping": _digest(self._mappings[EVENTS].model_dump(mode="json")),
            "items": self.digest("items"),
            "users": self.digest("users"),
        }
        reread = last > 0 and notes["mapping"] != state["mapping"]
        found = self._listings[EVENTS]
        fresh = found if reread or last == 0 else new_files(found, self._delivered().where(F.col("delivery") <= last).collect())
        if last == 0 and not fresh:
            raise SourceError(f"events: {self._mappings[EVENTS].place} holds no files yet; the first run needs at least one event")
        self.delivery, first = last, int(notes.get("first", 1))
        if last and not fresh and not reread and all(notes[name] == state[name] for name in ("items", "users")):
            self.message = f"nothing new at the sources since delivery {last}"
            self._first[last] = first
            return False
        self.delivery = last + 1
        first = self.delivery if reread else first
        self._first[self.delivery] = first
        self._commit(fresh, {**state, "first": first, "n_files": len(fresh)}, started, whole=reread)
        self.message = f"delivery {self.delivery}: {len(fresh) or 'no'} new file{'s' if len(fresh) != 1 else ''} of events"
        if reread:
            self.message += "; the events section changed, so everything is read again"
        return True

    def _committed(self) -> tuple[int, dict[str, Any]]:
        """The last delivery that was landed, and its note. One that was only listed is listed anew: its files may have changed."""
        numbers = [int(slice_) for job, slice_ in self._ledger.entries if job == LANDED_EVENTS.name]
        if not numbers:
            return 0, {}
        entry = self._ledger.entry(DELIVERIES.name, str(max(numbers)))
        assert entry is not None
        return max(numbers), dict(entry.note)

    def _delivered(self) -> DataFrame:
        return self._store.read(DELIVERIES.name, self._ledger.versions[DELIVERIES.name])

    def _commit(self, files: list[FoundFile], note: dict[str, Any], started: float, *, whole: bool) -> None:
        rows = [(self.delivery, EVENTS, file.path, file.n_bytes, file.modified_at) for file in files]
        frame = self._store.spark.createDataFrame(rows, DELIVERIES.ddl())
        written = self._store.write(
            frame,
            DELIVERIES,
            replace=None if whole else f"delivery >= {self.delivery}",
            base=self._ledger.versions.get(DELIVERIES.name),
            run_id=self._ledger.run_id,
        )
        self._ledger.commit(
            [
                Entry(
                    job=DELIVERIES.name,
                    slice=str(self.delivery),
                    fingerprint=_digest([self.delivery, note]),
                    outputs={DELIVERIES.name: written.version},
                    inputs={},
                    parameters="{}",
                    n_rows=len(files),
                    started_at=datetime.now(UTC).replace(tzinfo=None),
                    seconds=time.monotonic() - started,
                    note=note,
                )
            ]
        )

    def first_of(self, delivery: int) -> int:
        """The first delivery whose rows still count when `delivery` is written."""
        return self._first.get(delivery, 1)

    def digest(self, name: str) -> str:
        """What the source's files are, as a hash; empty for a source that is not configured."""
        if name not in self._mappings:
            return ""
        files = [(file.path, file.n_bytes, str(file.modified_at)) for file in self._listings[name]]
        return _digest([self._mappings[name].model_dump(mode="json"), sorted(files, key=str)])

    def read(self, name: str, delivery: int) -> DataFrame:
        """The files of `delivery` (events), or all of them (items, users), as read."""
        files = self._listings[name]
        if name == EVENTS:
            mine = {row.path for row in self._delivered().where(F.col("delivery") == delivery).select("path").collect()}
            gone = mine - {file.path for file in files}
            if gone:
                raise SourceError(
                    f"events: {sorted(gone)[0]} was listed for delivery {delivery} and is gone; put it back, or start a new warehouse"
                )
            files = [file for file in files if file.path in mine]
        return read_source(self._store.spark, self._mappings[name], files, delivery=delivery, section=name)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]
