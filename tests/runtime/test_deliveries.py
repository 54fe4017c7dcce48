"""Deliveries: killed ones are finished first, empty ones are said, bad ones stop before anything is written."""

from __future__ import annotations

import io
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from recspark.errors import SourceError
from recspark.runtime.nightly import run_river
from tests.flow.conftest import committed, forget

HEAD = "user,item,rating,time\n"


@pytest.fixture
def land(spark, tmp_path):
    """Bring `interactions` up to date from the CSV files in the folder `landing`; returns what was printed."""
    (tmp_path / "landing").mkdir()
    base = {
        "warehouse": str(tmp_path / "warehouse"),
        "events": {
            "path": str(tmp_path / "landing"),
            "format": "csv",
            "columns": {"user_id": "user", "item_id": "item", "value": "rating", "event_at": "time"},
            "types": {"rating": 1.0},
            "time": {"format": "iso"},
        },
        "splits": {"kind": "last_n", "n_fit": 1, "n_tune": 1, "n_test": 1},
    }

    def run(*, table="interactions", dry_run=False, events=None, **sections):
        config = {**base, "events": {**base["events"], **(events or {})}, **sections}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        said = io.StringIO()
        run_river(
            table=table,
            config_file=tmp_path / "config.yaml",
            env="local",
            as_of=None,
            assignments=[],
            dry_run=dry_run,
            report=None,
            console=Console(file=said, width=300),
        )
        return said.getvalue()

    return run


def deliver(tmp_path, name, *rows):
    (tmp_path / "landing" / f"{name}.csv").write_text(HEAD + "".join(f"{row}\n" for row in rows))


def rows_of(spark, tmp_path, table):
    ledger = committed(spark, tmp_path / "warehouse")
    return spark.read.format("delta").option("versionAsOf", ledger.versions[table]).load(str(tmp_path / "warehouse" / table))


def accounts(spark, tmp_path):
    rows = rows_of(spark, tmp_path, "intake").orderBy("delivery").collect()
    return [(row.delivery, row.rows_in, row.kept, row.quarantined, row.duplicates) for row in rows]


def test_a_killed_delivery_is_finished_before_anything_new_is_taken(spark, tmp_path, land):
    deliver(tmp_path, "1", "u1,i1,5,2024-01-01", "u2,i1,4,2024-01-02")
    land()
    # As if that night had been killed once landed_events was committed.
    after = ("clean_events", "user_index", "item_index", "interactions", "quarantine", "intake")
    forget(spark, tmp_path / "warehouse", set(after))
    assert not committed(spark, tmp_path / "warehouse").versions.keys() & set(after)
    deliver(tmp_path, "2", "u4,i3,5,2024-01-04", "u4,i1,5,2024-01-05")
    said = land()
    assert "delivery 1 was not finished: it is taken up again before anything new" in said
    assert "delivery 2: 1 new file of events" in said
    assert accounts(spark, tmp_path) == [(1, 2, 2, 0, 0), (2, 2, 2, 0, 0)]
    assert rows_of(spark, tmp_path, "interactions").count() == 4
    assert {row.user_id for row in rows_of(spark, tmp_path, "clean_events").collect()} == {"u1", "u2", "u4"}


def test_nights_without_files_and_a_source_that_does_not_fit(spark, tmp_path, land):
    with pytest.raises(SourceError, match="no file at"):
        land()
    deliver(tmp_path, "1", "u1,i1,5,2024-01-01")
    (tmp_path / "items.csv").write_text("item,name\ni1,Up\n")
    items = {"path": str(tmp_path / "items.csv"), "columns": {"item_id": "itm", "title": "name"}, "attributes": ["yaer"]}
    # Every section's problems at once, and nothing is written.
    with pytest.raises(SourceError) as error:
        land(items=items, events={"columns": {"user_id": "usr", "item_id": "item", "event_at": "time"}})
    assert "events: the source" in str(error.value)
    assert "columns.user_id: 'usr' is no column there (did you mean 'user'?)" in str(error.value)
    assert "items: the source" in str(error.value)
    assert "columns.item_id: 'itm' is no column there (did you mean 'item'?)" in str(error.value)
    assert "attributes: 'yaer' is no column there" in str(error.value)
    assert committed(spark, tmp_path / "warehouse").entries == {}
    land()
    before = committed(spark, tmp_path / "warehouse").sequence
    (tmp_path / "landing" / "1.csv").unlink()
    assert "nothing new at the sources since delivery 1; no files of events lie there now" in land()
    assert committed(spark, tmp_path / "warehouse").sequence == before
    # A changed mapping reads everything again: with nothing there that would throw all events away.
    with pytest.raises(SourceError, match="no file at"):
        land(events={"time": {"format": "iso", "zone": "Europe/Paris"}})
    assert rows_of(spark, tmp_path, "interactions").count() == 1


def test_deliveries_of_which_nothing_is_kept_stop_with_the_reason(spark, tmp_path, land):
    deliver(tmp_path, "1")
    with pytest.raises(SourceError, match=r"the files at \S+/landing hold no rows yet; the first run needs at least one event"):
        land()
    deliver(tmp_path, "2", "u1,i1,5,2024-01-01", "u2,i1,4,2024-01-02", ",i1,4,2024-01-02")
    wrong = {"time": {"format": "seconds"}}
    message = r"none of the 3 rows of \S+/landing could be kept; 2 .*event_at is no time of the format 'seconds'.*Check events\.time"
    for _ in range(2):  # also when nothing is new
        with pytest.raises(SourceError, match=message):
            land(events=wrong)
    assert accounts(spark, tmp_path) == [(2, 3, 0, 3, 0)]
    land()
    assert accounts(spark, tmp_path) == [(3, 3, 2, 1, 0)]
    # One night of nothing but damage goes by: there are events from before.
    deliver(tmp_path, "3", "u1,i1,5,soon")
    land()
    assert accounts(spark, tmp_path) == [(3, 3, 2, 1, 0), (4, 1, 0, 1, 0)]


def test_ragged_and_late_rows_are_kept_or_quarantined_none_is_lost(spark, tmp_path, land):
    """04:00 two hours east of Greenwich is 02:00: what happened at 03:00 lies after it."""
    deliver(
        tmp_path,
        "1",
        "u1,i1,5,2024-01-01",
        "u1,i1,5,2024-01-01",
        "u2,i1",
        "u3,i1,5,2024-01-01,more",
        '"u4,i1,5,2024-01-01',
        "",
        "u5,i1,,2024-01-02T03:00:00Z",
    )
    started = datetime.now(UTC)
    land(now="2024-01-02T04:00:00+02:00")
    assert accounts(spark, tmp_path) == [(1, 6, 1, 4, 1)]
    reasons = sorted((row.reason, row.row) for row in rows_of(spark, tmp_path, "quarantine").collect())
    damaged = "the line does not parse: too few or too many fields, or broken quotes"
    assert reasons == [
        ("event_at is after the run's now; check time.format", '{"user":"u5","item":"i1","rating":null,"time":"2024-01-02T03:00:00Z"}'),
        (damaged, '{"line":"\\"u4,i1,5,2024-01-01"}'),
        (damaged, '{"line":"u2,i1"}'),
        (damaged, '{"line":"u3,i1,5,2024-01-01,more"}'),
    ]
    entry = committed(spark, tmp_path / "warehouse").entry("deliveries", "1")
    assert entry is not None
    assert timedelta(0) <= entry.started_at.astimezone(UTC) - started < timedelta(minutes=10)


@pytest.mark.slow
def test_a_damaged_file_ends_in_one_sentence_without_a_java_stack_trace(spark, tmp_path):
    """Footer sound, pages damaged: it shows only when the rows are read."""
    (tmp_path / "landing").mkdir()
    file = tmp_path / "landing" / "1.parquet"
    texts = np.random.default_rng(7).integers(0, 10**12, 5000).astype(str)
    pq.write_table(pa.table({"user": texts, "item": texts}), file, compression="gzip")
    data = bytearray(file.read_bytes())
    data[2000:30000] = bytes(28000)
    file.write_bytes(bytes(data))
    events = {
        "path": str(tmp_path / "landing"),
        "format": "parquet",
        "columns": {"user_id": "user", "item_id": "item"},
        "types": {"view": 1},
    }
    config = {"warehouse": str(tmp_path / "warehouse"), "events": {**events, "order": "file"}, "spark": {"spark.driver.memory": "1g"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "recspark.runtime.cli", "run", "interactions", "--config", str(tmp_path / "config.yaml")]
    # A JVM of its own: the suite's session would lend it its log settings.
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 1
    assert f"error: events: the file file://{file} cannot be read" in done.stderr
    assert "nothing of this delivery was taken in" in done.stderr
    assert "\tat " not in done.stderr
    assert ("landed_events", "1") not in committed(spark, tmp_path / "warehouse").entries


def test_a_dry_run_says_what_would_run_and_writes_nothing(spark, tmp_path, land):
    production = {"kind": "production", "label_days": 5}
    deliver(tmp_path, "1", *(f"u{n},i{n % 3},5,2024-01-{n + 1:02d}" for n in range(20)))
    said = land(table=None, dry_run=True, splits=production)
    assert "would run landed_events at 1" in said
    assert "delivery 1 must be read first" in said
    assert "done" not in said
    assert not (tmp_path / "warehouse").exists()
    land(splits=production, now="2024-01-25T00:00:00Z")
    before = committed(spark, tmp_path / "warehouse")
    deliver(tmp_path, "2", "u1,i2,5,2024-01-21")
    said = land(table=None, dry_run=True, splits=production, now="2024-01-25T00:00:00Z")
    assert "delivery 2: 1 new file of events" in said
    assert "would run interactions at 2" in said
    assert "would run recommendations" in said
    assert "nothing was written" in said
    assert "done" not in said
    assert "warning" not in said
    late = land(table=None, dry_run=True, splits=production, now="2024-02-05T00:00:00Z")
    assert "warning: the newest event is of 2024-01-20, and models are chosen on events since 2024-01-31" in late
    assert "--as-of 2024-01-21 is the night after the newest" in late
    after = committed(spark, tmp_path / "warehouse")
    assert (after.sequence, after.versions) == (before.sequence, before.versions)


def test_changed_lists_are_a_delivery_and_every_row_is_accounted_for(spark, tmp_path, land):
    deliver(tmp_path, "1", "u1,i1,5,2024-01-01", "u1,i2,5,2024-01-01", "u1,i3,5,2024-01-02")
    place = tmp_path / "lists.csv"
    place.write_text("who,what,how\nu1,i2,block\nu1,i2,block\nu1,i9,allow\nu1,i1,maybe\n")
    lists = {"path": str(place), "columns": {"user_id": "who", "item_id": "what", "kind": "how"}}
    said = " ".join(land(table="user_lists", lists=lists).split())
    assert "lists: 4 rows in = 2 kept + 1 damaged, without an id or neither block nor allow + 1 repeated; 1 of those kept name" in said
    place.write_text("who,what,how\nu1,i1,block\n")
    assert "delivery 2: no new files of events" in land(table="user_lists", lists=lists)
    rows = rows_of(spark, tmp_path, "user_lists").collect()
    assert [(row.user_id, row.item_id, row.kind, row.item_idx is not None) for row in rows] == [("u1", "i1", "block", True)]
