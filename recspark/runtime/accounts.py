"""What a run checks of itself: no row of a source is lost, and what a source's damaged file says is said in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recspark.errors import AccountingError, SourceError, StoreError
from recspark.interactions.land import count_rows
from recspark.interactions.lists import count_lists
from recspark.runtime.config import Settings
from recspark.runtime.deliveries import EVENTS, Intake
from recspark.runtime.inputs import Inputs, Scope
from recspark.runtime.job import Job
from recspark.runtime.ledger import Ledger
from recspark.runtime.sources import explained_source_errors


def accounts_of(intake: DataFrame, scopes: Sequence[Scope], ledger: Ledger) -> Iterator[str]:
    """Each delivery's account in words: rows in = kept + quarantined + duplicates.

    Raises:
        AccountingError: the sum does not hold, or a commit wrote another number of rows than `intake` counts.
    """
    for scope in scopes:
        row = intake.where(F.col("delivery") == scope.delivery).collect()[0]
        wrote = {name: ledger.entries[name, scope.slice].n_rows for name in ("landed_events", "clean_events", "quarantine")}
        counted = {"landed_events": row.rows_in, "clean_events": row.kept, "quarantine": row.quarantined}
        if row.rows_in != row.kept + row.quarantined + row.duplicates or wrote != counted:
            raise AccountingError(
                f"delivery {scope.delivery}: {row.rows_in} rows in, but {row.kept} kept + {row.quarantined} quarantined + "
                f"{row.duplicates} duplicates (commits wrote {json.dumps(wrote)}); nothing after this delivery was computed: please report this"
            )
        yield (
            f"delivery {scope.delivery}: {row.rows_in:,} rows in = {row.kept:,} kept + {row.quarantined:,} quarantined + "
            f"{row.duplicates:,} duplicates"
        )


def _of_lists(intake: Intake, user_lists: DataFrame, delivery: int, mapping: Any) -> str:
    """Likewise of the lists, always: what stands there and names nobody does nothing."""
    row = count_lists(intake.read("lists", delivery), user_lists, mapping=mapping).collect()[0]
    return (
        f"lists: {row.rows_in:,} rows in = {row.kept:,} kept + {row.refused:,} damaged, without an id or neither block nor allow + "
        f"{row.repeated:,} repeated; {row.unknown:,} of those kept name a user or an item that no other source names"
    )


def _of_catalogue(intake: Intake, source: str, delivery: int, mapping: Any) -> str:
    """Items and users have no quarantine: what was left out, and why; empty where nothing was."""
    row = count_rows(intake.read(source, delivery), mapping=mapping).collect()[0]
    if not row.refused and not row.repeated:
        return ""
    return (
        f"{source}: {row.rows_in:,} rows in = {row.kept:,} kept + {row.refused:,} damaged or without an id + "
        f"{row.repeated:,} of an id that stands again further on"
    )


def account_of_source(job: Job, inputs: Inputs, delivery: int, settings: Settings) -> str:
    """What the job left out of items, users or lists, and why, in words; empty where there is nothing to say."""
    if job.source in (None, EVENTS):
        return ""
    mapping = getattr(settings, job.source)
    if job.source == "lists":
        return _of_lists(inputs.intake, inputs.table(job.writes.name), delivery, mapping)
    return _of_catalogue(inputs.intake, job.source, delivery, mapping)


@contextmanager
def source_errors(job: Job) -> Iterator[None]:
    """Damage inside a source's file shows when its rows are written: say which file it is."""
    section = job.source
    try:
        yield
    except StoreError as error:
        if section is None or error.__cause__ is None:
            raise
        try:
            with explained_source_errors(section):
                raise error.__cause__
        except SourceError:
            raise
        except Exception:
            raise error from None
