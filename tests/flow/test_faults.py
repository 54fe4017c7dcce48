"""Kill the river anywhere, run it again: the end is as if nothing had happened. A kill counts only after uncommitted work was seen."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recspark.runtime.compare import compare_warehouses
from recspark.runtime.ledger import Entry, Ledger
from recspark.runtime.store import Store
from recspark.tables import RECOMMENDATIONS
from tests.conftest import INTERPRETED
from tests.flow.conftest import committed, forget

ROOT = Path(__file__).parents[2]
PATIENCE = 240

FORGOTTEN = {
    "vectors_als": {"vectors_als"},
    "rankers": {"rankers"},
    "recommendations": {"staged_recommendations", "gates", "recommendations"},
}


def start(folder: Path, table: str, log: str = "killed.log") -> subprocess.Popen[bytes]:
    """`recspark run TABLE` as a process group of its own, so that a kill takes Spark's JVM along."""
    settings = INTERPRETED | {"spark.driver.memory": "1g"}
    command = [sys.executable, "-m", "recspark.runtime.cli", "run", table, "--config", str(folder / "config.yaml")]
    command += [word for name, value in settings.items() for word in ("--set", f"spark.{name}={value}")]
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
        ("rankers", "warehouse/_rankers/*/checkpoints/*.pt"),
        ("recommendations", "warehouse/gates/_delta_log/*.json"),
    ],
)
def test_a_killed_run_leaves_no_trace_once_it_was_run_again(spark, finished, copied, run_river, job, work):
    """In mid-ALS, in mid-training, and between staging and publishing."""
    forget(spark, copied / "warehouse", FORGOTTEN[job])
    shutil.rmtree(copied / "warehouse" / "_rankers")  # nor is the ranker there already
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
    assert differences(spark, finished[0], copied) == {}


@pytest.mark.slow
def test_of_two_runs_at_once_one_wins_and_the_other_says_so(spark, finished, copied, run_river):
    """Two processes start at one time on the same work. No table is mixed, and nothing stays locked."""
    forget(spark, copied / "warehouse", {"vectors_als"})
    runs = [start(copied, "vectors_als", log=f"{name}.log") for name in ("one", "two")]
    codes = [run.wait(PATIENCE) for run in runs]
    said = [(copied / f"{name}.log").read_text() for name in ("one", "two")]
    assert sorted(codes) == [0, 1], said
    loser = " ".join(said[codes.index(1)].split())
    assert re.search(r"error: .*(run \S+ committed to .* while run \S+ was at work|another run)", loser)
    assert "Traceback" not in loser
    assert "\tat " not in said[codes.index(1)]
    assert run_river(copied / "config.yaml", table="vectors_als")["ran"] == {}
    assert differences(spark, finished[0], copied) == {}


@pytest.mark.slow
def test_a_run_that_lost_while_it_published_leaves_no_lists_behind(spark, finished, copied, run_river):
    """Other lists stand at the live table's head, committed by nobody: the next run puts back what was published."""
    store, ledger = Store(spark, str(copied / "warehouse")), committed(spark, copied / "warehouse")
    base = ledger.versions["recommendations"]
    store.write(store.read("recommendations", base).limit(3), RECOMMENDATIONS, replace=None, base=base, run_id="lost")
    assert spark.read.format("delta").load(str(copied / "warehouse" / "recommendations")).count() == 3
    assert list(run_river(copied / "config.yaml", table="recommendations")["ran"]) == ["recommendations"]
    assert spark.read.format("delta").load(str(copied / "warehouse" / "recommendations")).count() == 40
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


def test_a_copy_that_nobody_wrote_to_is_compared_by_its_commits(spark, finished, copied):
    for file in (copied / "warehouse" / "popularity").rglob("*.parquet"):
        file.unlink()
    assert differences(spark, finished[0], copied) == {}
