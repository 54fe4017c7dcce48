"""Three nights in a row: each trains on the newest closed horizon before the one that chooses, and rewrites no night gone by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.flow.conftest import committed, write_config
from tests.worlds import START, checkerboard, write_events, write_items

NIGHTS = ("2024-03-20", "2024-03-25", "2024-03-30")
WINDOW = 5


def deliver(folder: Path, night: int) -> None:
    """The files that have arrived by this night: everything before the first, then the days since the night before."""
    world = checkerboard(n_users=30, n_items=30, n_events=12)
    starts = [0.0, *(float((np.datetime64(one) - np.datetime64(f"{START:%Y-%m-%d}")).astype(int)) for one in NIGHTS)]
    rows = np.flatnonzero((world.days >= starts[night]) & (world.days < starts[night + 1]))
    write_events(world, folder / "events" / f"night-{night}.csv", rows=rows[np.argsort(world.days[rows], kind="stable")])
    if night == 0:
        write_items(world, folder / "items.csv")


@pytest.mark.slow
def test_three_nights(spark, tmp_path, run_river):
    config = write_config(
        tmp_path,
        splits={"kind": "production", "label_days": WINDOW},
        sources=["popular"],
        torch={"n_processes": 1},
        rankers={"epochs": 1, "model": {"embedding_size": 4, "hidden": [8], "attention_hidden": 4}, "k": 4},
    )
    histories: dict[str, str] = {}
    for night, date in enumerate(NIGHTS):
        deliver(tmp_path, night)
        summary = run_river(config, table="recommendations", as_of=date)
        day = np.datetime64(date)
        ledger = committed(spark, tmp_path / "warehouse")
        trained = ledger.entry("rankers", str(day - 2 * WINDOW))
        assert trained is not None
        assert trained.run_id == summary["run_id"]
        live = spark.read.format("delta").load(str(tmp_path / "warehouse" / "recommendations"))
        assert live.where(f"horizon = '{date}'").count() > 0
        # A horizon computed on an earlier night keeps what it knew: its histories are not computed again.
        now = {slice_: entry.fingerprint for (job, slice_), entry in ledger.entries.items() if job == "histories"}
        assert {slice_: now[slice_] for slice_ in histories} == histories
        histories = now
    assert sorted(histories) == ["2024-03-10", "2024-03-15", "2024-03-20", "2024-03-25", "2024-03-30"]
    # The night of the 20th was served before its labels existed; ten days later it is what the ranker learns from.
    last = committed(spark, tmp_path / "warehouse")
    assert last.entry("labels", "2024-03-20") is not None
    assert last.entry("rankers", "2024-03-20") is not None
