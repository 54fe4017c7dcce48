"""Forecasts in the river: beside what was measured, in front of what is refused, and as a command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from recspark.errors import LimitError
from recspark.runtime.forecast import forecast
from tests.flow.conftest import committed, forget, write_world

SOURCES = ("als", "item_knn", "popular")
EXPENSIVE = {"vectors_als", "neighbours_item_knn", *(f"source_candidates_{source}" for source in SOURCES)}


def test_every_expensive_job_has_its_forecast_beside_what_was_measured(spark, finished):
    ledger = committed(spark, finished[0] / "warehouse")
    entries = {key: entry for key, entry in ledger.entries.items() if key[0] in EXPENSIVE}
    assert len(entries) == len(EXPENSIVE) * 4
    for entry in entries.values():
        assert entry.seconds > 0
        assert entry.note["forecast"]["seconds"] > 0
        assert entry.note["forecast"]["task_bytes"] > 0
    fit = ledger.entry("vectors_als", "serve").note
    assert fit["forecast"]["chosen"] == {"engine": "blocked"}
    assert fit["forecast"]["pairs"] == sum(block["n_events"] for block in fit["facts"]["fit"]["blocks"])
    sent = sum(block["bytes_sent"] for block in fit["facts"]["fit"]["blocks"])
    assert sent / 1.1 <= fit["forecast"]["sent_bytes"] <= sent * 1.1


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (["limits.seconds=0.001", "vectors_als.rank=5"], r"vectors_als was not started: at .* it takes about [\d.]+ s, and limits.seconds is 0.001 s: raise"),
        (
            ["limits.task_bytes=1000", "neighbours_item_knn.n_neighbours=7", "vectors_als=null", "sources=[item_knn,popular]"],
            r"neighbours_item_knn was not started: .* needs .* in a task, and limits.task_bytes is 1 KB",
        ),
        (["limits.shuffle_bytes=100", "vectors_als.rank=5"], "vectors_als was not started: .* shuffles .* and limits.shuffle_bytes is 0.1 KB"),
        (["limits.driver_bytes=10", "source_candidates_als.n_candidates=7"], "source_candidates_als was not started: .* through the driver"),
    ],
)  # fmt: skip
def test_what_is_over_a_limit_never_starts(spark, copied: Path, run_river, assignments: list[str], said: str):
    table = said.split(" ")[0]
    before = committed(spark, copied / "warehouse").entry(table, "serve").fingerprint
    with pytest.raises(LimitError, match=said):
        run_river(copied / "config.yaml", table=table, assignments=assignments)
    assert committed(spark, copied / "warehouse").entry(table, "serve").fingerprint == before


def _forecast(config: Path, *assignments: str) -> dict:
    found = forecast(config_file=config, env="local", as_of=None, assignments=assignments, calibrate=False, console=Console(quiet=True))
    return json.loads(json.dumps(found))


def test_the_command_forecasts_without_writing(spark, copied: Path):
    before = committed(spark, copied / "warehouse").sequence
    found = _forecast(copied / "config.yaml", "limits.seconds=100000")
    assert found["refused"] is False
    rows = {(row["job"], row["horizon"]): row for row in found["forecasts"]}
    assert len(rows) == len(EXPENSIVE) * 4
    assert {"rankers", "scores"} <= set(found["not_forecast"])
    row = rows["vectors_als", "serve"]
    assert (row["pairs"], row["origin"], row["refusal"]) == (480, "counted", "")
    assert rows["vectors_als", "last_2/fit"]["pairs"] == 480 - 40 * 6
    # Nothing counted yet: from the files that there are, with the events of all parts.
    forget(spark, copied / "warehouse", {"activity"})
    refused = _forecast(copied / "config.yaml", "limits.seconds=0.01")
    assert refused["refused"] is True
    row = next(row for row in refused["forecasts"] if row["job"] == "vectors_als")
    assert row["origin"].startswith("estimated from ")
    assert 240 <= row["pairs"] <= 960
    assert "limits.seconds" in row["refusal"]
    assert committed(spark, copied / "warehouse").sequence == before


def test_events_that_nobody_has_read_are_read_first(tmp_path: Path, spark):
    """As the README has it: after init and a dry run, which write nothing."""
    found = _forecast(write_world(tmp_path))
    row = next(row for row in found["forecasts"] if (row["job"], row["horizon"]) == ("vectors_als", "serve"))
    assert row["origin"].startswith("estimated from ")
    assert 240 <= row["pairs"] <= 960
    assert {job for job, _ in committed(spark, tmp_path / "warehouse").entries} >= {"interactions", "intake", "quarantine"}
    assert "activity" not in {job for job, _ in committed(spark, tmp_path / "warehouse").entries}
