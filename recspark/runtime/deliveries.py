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
from recspark.runtime.rows import as_frame
from recspark.runtime.sources import FoundFile, list_files, new_files, read_source
from recspark.runtime.store import Store
from recspark.tables import CLEAN_EVENTS, DELIVERIES, LANDED_EVENTS, QUARANTINE

EVENTS = "events"
# Sources that are read anew as a whole wherever they have changed.
CATALOGUES = ("items", "users", "lists")
# The jobs that end a delivery: until all have committed it, nothing new is taken.
DELIVERED = ("interactions", "quarantine", "intake")
# What to look at, by the first word of the rule that was broken.
CURES = {
    "user_id": "events.columns.user_id",
    "item_id": "events.columns.item_id",
    "event_type": "events.types, events.aliases or events.columns.event_type",
    "event_at": "events.time (format, zone, earliest) or events.columns.event_at",
    "value": "events.value_bounds or events.columns.value",
    "event_order": "events.columns.event_order",
    "the": "events.format and events.options (sep, quote, header)",
}


class Intake:
    """The sources as one run sees them. Files are listed once; a file is read in the delivery that first saw it."""

    def __init__(self, store: Store, ledger: Ledger, settings: Settings) -> None:
        self._store, self._ledger = store, ledger
        self._mappings: dict[str, Any] = {
            name: mapping for name in (EVENTS, *CATALOGUES) if (mapping := getattr(settings, name)) is not None
        }
        self._listings: dict[str, list[FoundFile]] = {}
        self.delivery = 0
        self.message = ""
        self._first: dict[int, int] = {}

    def discover(self, *, commit: bool = True) -> bool:
        """List the sources and, where anything is new, commit the next delivery. Returns whether there is one.

        A delivery that was landed and not finished comes first: then nothing new is taken. Without `commit` (a dry run) nothing is written.

        Raises:
            SourceError: a source is not there or does not fit its mapping, or there is nothing at all to begin with.
        """
        started = time.monotonic()
        last, notes = self._committed()
        mapping = _digest(self._mappings[EVENTS].model_dump(mode="json"))
        reread = last > 0 and notes["mapping"] != mapping
        # Once events have been read from it, a place that is empty for a night is no error.
        self._listings = {
            name: list_files(self._store.spark, one, section=name, may_be_empty=name == EVENTS and last > 0 and not reread)
            for name, one in self._mappings.items()
        }
        state = {"mapping": mapping} | {name: self.digest(name) for name in CATALOGUES}
        self.delivery, first = last, int(notes.get("first", 1))
        self._first[last] = first
        if last and not self.is_finished(last):
            self.message = f"delivery {last} was not finished: it is taken up again before anything new"
            return False
        found = self._listings[EVENTS]
        fresh = found if reread or last == 0 else new_files(found, self._delivered().where(F.col("delivery") <= last).collect())
        if not fresh and (last == 0 or reread):
            why = "the events section changed, so everything is read again" if reread else "the first run needs at least one event"
            raise SourceError(f"events: {self._mappings[EVENTS].place} holds no files, and {why}; check `path`")
        # A source that the last delivery's note does not name was not configured then: its digest was empty.
        if last and not fresh and not reread and all(notes.get(name, "") == state[name] for name in CATALOGUES):
            self.message = f"nothing new at the sources since delivery {last}" + ("" if found else "; no files of events lie there now")
            return False
        self.delivery = last + 1
        self._check_columns(fresh)
        first = self.delivery if reread else first
        self._first[self.delivery] = first
        if commit:
            self._commit(fresh, {**state, "first": first, "n_files": len(fresh)}, started, whole=reread)
        self.message = f"delivery {self.delivery}: {len(fresh) or 'no'} new file{'s' if len(fresh) != 1 else ''} of events"
        if reread:
            self.message += "; the events section changed, so everything is read again"
        return True

    def is_finished(self, delivery: int) -> bool:
        """Whether every job that ends a delivery has committed it."""
        return all(self._ledger.entry(name, str(delivery)) is not None for name in DELIVERED)

    def refuse_if_nothing_was_kept(self) -> None:
        """Stop where no delivery that still counts has brought a sound event: whatever comes after could only fail less clearly.

        Raises:
            SourceError: names the rule that most rows break, and the setting to change.
        """
        first = self.first_of(self.delivery)
        entries = [self._ledger.entry(CLEAN_EVENTS.name, str(number)) for number in range(first, self.delivery + 1)]
        if any(entry is None or entry.n_rows != 0 for entry in entries):
            return
        refused = self._store.read(QUARANTINE.name, self._ledger.versions[QUARANTINE.name]).where(F.col("delivery") >= first)
        reasons = refused.groupBy("reason").agg(F.count(F.lit(1)).alias("n")).orderBy(F.desc("n"), "reason").collect()
        place = self._mappings[EVENTS].place
        if not reasons:
            raise SourceError(f"events: the files at {place} hold no rows yet; the first run needs at least one event")
        total, most = sum(row.n for row in reasons), reasons[0]
        raise SourceError(
            f"events: none of the {total:,} rows of {place} could be kept; {most.n:,} were refused for one rule: {most.reason}. "
            f"Check {CURES[most.reason.split()[0]]} and run again: everything is then read anew (the rows stand in the table quarantine)"
        )

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

    def _check_columns(self, fresh: list[FoundFile]) -> None:
        """Every source's columns against its mapping, before anything is committed: the schemas only, no rows."""
        problems = []
        for name, mapping in self._mappings.items():
            files = fresh if name == EVENTS else self._listings[name]
            try:
                read_source(self._store.spark, mapping, files, delivery=self.delivery, section=name)
            except SourceError as error:
                problems.append(str(error))
        if problems:
            raise SourceError("\n".join(problems))

    def _commit(self, files: list[FoundFile], note: dict[str, Any], started: float, *, whole: bool) -> None:
        rows = [(self.delivery, EVENTS, file.path, file.n_bytes, file.modified_at) for file in files]
        frame = as_frame(self._store.spark, rows, DELIVERIES.ddl())
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
                    started_at=datetime.now(UTC),
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
        """The files of `delivery` (events), or all of them (items, users, lists), as read."""
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
