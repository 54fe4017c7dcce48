"""Kill the river anywhere, run it again: the end is as if nothing had happened. A kill counts only after uncommitted work was seen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recspark.errors import ConcurrentRunError
from recspark.runtime.compare import compare_warehouses
from recspark.runtime.ledger import Entry, Ledger
from recspark.runtime.store import Store
from tests.flow.conftest import committed, forget

ROOT = Path(__file__).parents[2]
PATIENCE = 240

FORGOTTEN = {
    "vectors_als": {"vectors_als"},
    "recommendations": {"staged_recommendations", "gates", "recommendations"},
}


def start(folder: Path, table: str, log: str = "killed.log") -> subprocess.Popen[bytes]:
    """`recspark run TABLE` as a process group of its own, so that a kill takes Spark's JVM along."""
    command = [
        sys.executable,
        "-m",
        "recspark.runtime.cli",
        "run",
        table,
        "--config",
        str(folder / "config.yaml"),
        "--set",
        "spark.spark.driver.memory=1g",
    ]
    with (folder / log).open("wb") as file:
        return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)


def kill_when(folder: Path, table: str, seen: Callable[[], bool]) -> None:
    """Start the run, wait until `seen` finds uncommitted work, and kill everything at that moment."""
    process = start(folder, table)
    deadline = time.monotonic() + PATIENCE
    try:
        while not seen():
            assert process.poll() is None, f"the run ended before it was killed: {(folder / 'killed.log').read_text()[-2000:]}"
            assert time.monotonic() < deadline, "nothing uncommitted was seen"
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def new_files(folder: Path, pattern: str) -> Callable[[], bool]:
    """Whether files matching `pattern` have appeared since now."""
    before = set(folder.glob(pattern))
    return lambda: bool(set(folder.glob(pattern)) - before)


def differences(spark, one: Path, other: Path) -> dict[str, str]:
    return compare_warehouses(Store(spark, str(one / "warehouse")), Store(spark, str(other / "warehouse")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "work"),
    [
        ("vectors_als", "warehouse/vectors/**/*.parquet"),
        ("recommendations", "warehouse/gates/_delta_log/*.json"),
    ],
)
def test_a_killed_run_leaves_no_trace_once_it_was_run_again(spark, finished, copied, run_river, job, work):
    """In mid-ALS, and between staging and publishing; tests/ranking kills a training."""
    forget(spark, copied / "warehouse", FORGOTTEN[job])
    kill_when(copied, job, new_files(copied, work))
    after = committed(spark, copied / "warehouse")
    assert not any(name == job for name, _ in after.entries), "the kill came too late: the job had committed"
    run_river(copied / "config.yaml", table=job)
    assert differences(spark, finished[0], copied) == {}


@pytest.mark.slow
def test_a_run_killed_while_interactions_are_written_keeps_every_index(spark, finished, copied, run_river):
    delivered = {"landed_events", "clean_events", "quarantine", "intake", "user_index", "item_index", "interactions", "deliveries"}
    forget(spark, copied / "warehouse", delivered - {"landed_events", "clean_events", "deliveries"})
    kill_when(copied, "interactions", new_files(copied, "warehouse/interactions/**/*.parquet"))
    assert committed(spark, copied / "warehouse").entry("interactions", "1") is None
    run_river(copied / "config.yaml", table="interactions")
    assert {name for name in differences(spark, finished[0], copied) if name in delivered} == set()


def test_of_two_runs_at_once_the_second_to_commit_says_so_and_mixes_nothing(spark, finished, copied, run_river):
    """The other run commits while this one is at work on its first job; nothing stays locked."""
    warehouse = copied / "warehouse"
    forget(spark, warehouse, {"popularity"})
    store = Store(spark, str(warehouse))
    entry = Ledger(store, run_id="look").entry("similar_items", "")
    assert entry is not None
    slow = Ledger(store, run_id="slow")
    fast = Ledger(store, run_id="fast")
    fast.commit([Entry(**{**entry.__dict__, "job": "similar_items"})])
    with pytest.raises(ConcurrentRunError, match="run fast committed"):
        slow.commit([entry])
    run_river(copied / "config.yaml", table="popularity")
    assert differences(spark, finished[0], copied) == {}


def test_the_comparison_sees_a_difference(spark, finished, copied):
    spark.sql(f"UPDATE delta.`{copied / 'warehouse' / 'popularity'}` SET score = score + 1 WHERE item_idx = 3")
    store = Store(spark, str(copied / "warehouse"))
    head = store.head("popularity")
    ledger = Ledger(store, run_id="x")
    entry = next(one for (job, _), one in ledger.entries.items() if job == "popularity")
    ledger.commit([Entry(**{**entry.__dict__, "outputs": {"popularity": head}})])
    found = differences(spark, finished[0], copied)
    assert set(found) == {"popularity"}
    assert found["popularity"].startswith("4 rows different in both, such as Row(one=Row(")
