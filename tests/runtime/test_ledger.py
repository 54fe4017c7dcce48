"""The ledger is the commit point: the newest row of a slice counts, and of two runs one wins."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from recspark.errors import ConcurrentRunError
from recspark.runtime.ledger import Entry, Ledger
from recspark.runtime.store import Store


def entry(job: str, slice_: str, fingerprint: str, version: int) -> Entry:
    return Entry(
        job,
        slice_,
        fingerprint,
        {job: version},
        {"x": "y"},
        "{}",
        3,
        datetime(2025, 1, 1, tzinfo=UTC),
        0.5,
        note={"k": [1], "cut": datetime(2025, 6, 1)},
    )


def test_the_newest_row_of_a_slice_is_its_state(spark, tmp_path: Path):
    store = Store(spark, str(tmp_path / "w"))
    ledger = Ledger(store, run_id="r1")
    ledger.commit([entry("a", "h1", "f1", 1), entry("a", "h2", "f1", 1)])
    ledger.commit([entry("a", "h1", "f2", 2)])
    again = Ledger(store, run_id="r2")
    assert {key: (e.fingerprint, e.run_id, e.sequence) for key, e in again.entries.items()} == {
        ("a", "h1"): ("f2", "r1", 2),
        ("a", "h2"): ("f1", "r1", 1),
    }
    assert again.versions == {"a": 2}
    assert again.entry("a", "h1").started_at == datetime(2025, 1, 1, tzinfo=UTC)
    assert again.entry("a", "h1").note == {"k": [1], "cut": "2025-06-01 00:00:00"}


def test_of_two_runs_the_first_to_commit_wins_and_the_other_is_told(spark, tmp_path: Path):
    store = Store(spark, str(tmp_path / "w"))
    Ledger(store, run_id="r0").commit([entry("a", "h1", "f0", 1)])
    one, two = Ledger(store, run_id="one"), Ledger(store, run_id="two")
    one.commit([entry("a", "h1", "f1", 2)])
    with pytest.raises(ConcurrentRunError, match="run one committed.*while run two"):
        two.commit([entry("a", "h1", "f2", 3)])
    assert Ledger(store, run_id="later").versions == {"a": 2}
    one.commit([entry("b", "h1", "f1", 1)])  # the winner goes on


def test_what_is_recorded_counts_at_once_and_is_committed_in_its_order(spark, tmp_path: Path):
    store = Store(spark, str(tmp_path / "w"))
    ledger = Ledger(store, run_id="r1")
    for version in range(1, 8):
        ledger.record([entry("a", "h1", f"f{version}", version)])
        assert ledger.versions == {"a": version}
    ledger.settle()
    again = Ledger(store, run_id="r2")
    assert again.versions == {"a": 7}
    assert again.entry("a", "h1").fingerprint == "f7"
    assert ledger.sequence == again.sequence <= 7  # what gathered while a commit was written shares the next


def test_a_run_that_lost_is_told_at_its_next_record_too(spark, tmp_path: Path):
    store = Store(spark, str(tmp_path / "w"))
    Ledger(store, run_id="r0").commit([entry("a", "h1", "f0", 1)])
    one, two = Ledger(store, run_id="one"), Ledger(store, run_id="two")
    one.commit([entry("a", "h1", "f1", 2)])
    two.record([entry("a", "h1", "f2", 3)])
    with pytest.raises(ConcurrentRunError, match="run one committed"):
        two.settle()
    with pytest.raises(ConcurrentRunError, match="run one committed"):
        two.record([entry("a", "h1", "f2", 3)])
    assert Ledger(store, run_id="later").versions == {"a": 2}
