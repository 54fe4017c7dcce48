"""Real training processes, started through Spark's TorchDistributor, and what comes back of them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recspark.errors import ConfigError, HandoverError, TrainingError
from recspark.handover.plan import PlannedFile
from recspark.ranking.models.din import DinKnobs
from recspark.ranking.score import score_slates
from recspark.ranking.train import RankerOptions, train_ranker
from recspark.runtime.config import Torch
from recspark.runtime.distribute import refuse_dynamic_allocation, run_torch
from recspark.runtime.job import Job
from recspark.runtime.torch_jobs import TorchRunner
from recspark.tables import RANKERS, SCORES
from tests.faulty_petastorm import train_with_a_reader_that_loses
from tests.slate_files import SOURCES, make_slates, plan_files, publish_items, write_file

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.fixture
def arguments(tmp_path: Path) -> dict:
    model = DinKnobs(embedding_size=4, hidden=(8,), attention_hidden=4)
    small = {"model": model, "training": RankerOptions(epochs=2, global_batch_size=16), "sources": SOURCES}
    return {
        "examples": plan_files(tmp_path / "fit", [make_slates(30, 1)]),
        "tune_examples": plan_files(tmp_path / "tune", [make_slates(10, 2)]),
        "item_features": publish_items(tmp_path),
        "folder": str(tmp_path / "work"),
        **small,
    }


@pytest.mark.parametrize("n_processes", [1, 2])
def test_a_ranker_is_trained_in_local_processes(spark, arguments, tmp_path, capfd, n_processes):
    lines = []
    folder = arguments["folder"]
    results = run_torch(spark, train_ranker, arguments, folder=folder, n_processes=n_processes, on_line=lines.append)
    assert results == [json.loads((tmp_path / "work" / "ranker" / "card.json").read_text())] * n_processes
    assert results[0]["n_processes"] == n_processes
    assert [line[:25] for line in lines[-1:]] == ["epoch 2/2  step 2/2  loss"]
    assert "tune ndcg" in lines[-1]
    assert not list((tmp_path / "work").glob("attempt-*"))
    assert capfd.readouterr().out == "", "standard output belongs to the run's result"


def test_each_process_answers_in_its_place(spark, tmp_path):
    before = dict(os.environ)
    assert run_torch(spark, os.getenv, {"key": "RANK"}, folder=str(tmp_path), n_processes=2) == ["0", "1"]
    assert dict(os.environ) == before


def test_barrier_tasks(spark, tmp_path):
    assert run_torch(spark, os.getenv, {"key": "RANK"}, folder=str(tmp_path), n_processes=2, local=False) == ["0", "1"]
    with pytest.raises(TrainingError, match="training process 0 of 1 died; run again to resume"):
        run_torch(spark, os._exit, {"status": 3}, folder=str(tmp_path), n_processes=1, local=False)


def test_our_errors_come_back_as_they_were_raised(spark, arguments):
    Path(arguments["examples"].files[0].url.removeprefix("file://")).unlink()
    with pytest.raises(HandoverError, match=r"cannot be read.*VACUUM.*\(training process 0 of 1\)"):
        run_torch(spark, train_ranker, arguments, folder=arguments["folder"], n_processes=1)


def test_a_reader_that_loses_rows_ends_the_training(spark, arguments, tmp_path):
    url = write_file(tmp_path / "fit" / "grouped.parquet", make_slates(30, 1), row_group_size=10)
    arguments["examples"] = replace(arguments["examples"], files=(PlannedFile(url, 30),))
    with pytest.raises(HandoverError, match=r"grouped.parquet .*30 rows planned, 20 read.* Run the job again.*\(training process 0 of 1\)"):
        run_torch(spark, train_with_a_reader_that_loses, arguments, folder=arguments["folder"], n_processes=1)


class Lines:
    """Keeps what a person would be told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def test_without_labelled_slates_the_tables_are_empty_and_it_is_said_once(spark, arguments, tmp_path):
    told = Lines()
    runner = TorchRunner(spark, Torch(n_processes=2), told)
    slates = make_slates(30, 1) | {"weight": np.zeros(30, np.float32)}
    unlabelled = {**arguments, "examples": plan_files(tmp_path / "others", [slates])}
    (rankers,) = runner.run(Job(train_ranker, writes=RANKERS, runner="torch"), [unlabelled], [arguments["folder"]])
    assert (rankers.columns, rankers.count()) == (["folder", "digest", "card"], 0)
    assert told.lines == ["no labelled slates at fit (fit): no ranker is trained"]
    call = {"examples": arguments["examples"], "rankers": None, "item_features": arguments["item_features"], "folder": str(tmp_path / "s")}
    (scores,) = runner.run(Job(score_slates, writes=SCORES, runner="torch"), [call], [call["folder"]])
    assert (scores.columns, scores.count()) == (["request_idx", "items", "scores"], 0)


# A driver of its own: starts Spark and a training process that does nothing but be there.
DRIVER = """
import sys
from pyspark.sql import SparkSession
from recspark.runtime.distribute import run_torch
from tests.runtime.waiting import wait_for_ever
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
run_torch(spark, wait_for_ever, {"pid_file": sys.argv[1]}, folder=sys.argv[2], n_processes=2)
"""


def test_training_processes_end_with_their_driver(tmp_path):
    """They have sessions of their own: a kill of the driver's whole process group takes their launcher, not them."""
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "pid"), str(tmp_path / "work")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (tmp_path / "driver.log").open("wb") as log:
        driver = subprocess.Popen(command, env=environment, start_new_session=True, stdout=log, stderr=subprocess.STDOUT)
    try:
        pids = [int(wait_until(lambda rank=rank: read(tmp_path / f"pid-{rank}"), driver)) for rank in range(2)]
        assert all(is_running(pid) for pid in pids)
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def is_running(pid: int) -> bool:
    """Not gone, and no mere entry that nobody has asked after yet."""
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def wait_until(seen: Callable[[], Any], driver: subprocess.Popen[bytes] | None = None) -> Any:
    deadline = time.monotonic() + 120
    while not (found := seen()):
        assert driver is None or driver.poll() is None, "the driver ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_a_process_that_dies_is_named_with_its_last_lines(spark, tmp_path):
    with pytest.raises(
        TrainingError, match=r"training process 0 of 1 died; run again to resume from the checkpoint. The last lines(.|\n)*exitcode"
    ):
        run_torch(spark, os._exit, {"status": 3}, folder=str(tmp_path), n_processes=1)


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_was_killed_may_have_wanted_memory(spark, tmp_path):
    with pytest.raises(TrainingError, match=r"0 of 1 died by SIGKILL: if memory ran out, lower n_processes, .*; run again to resume"):
        run_torch(spark, be_killed, {}, folder=str(tmp_path), n_processes=1)


def test_a_process_that_fails_is_named_with_its_traceback(spark, tmp_path):
    with pytest.raises(TrainingError, match=r"training process 0 of 1 failed; run again(.|\n)*JSONDecodeError"):
        run_torch(spark, json.loads, {"s": "{"}, folder=str(tmp_path), n_processes=1)


def test_functions_that_processes_cannot_import_are_refused(spark, tmp_path):
    def inner() -> None: ...

    with pytest.raises(ConfigError, match="cannot be run in training processes"):
        run_torch(spark, inner, {}, folder=str(tmp_path), n_processes=1)


def test_dynamic_allocation_is_refused_before_spark_does():
    refuse_dynamic_allocation("false")
    with pytest.raises(ConfigError, match="barrier tasks, which dynamic allocation excludes: set spark.dynamicAllocation.enabled=false"):
        refuse_dynamic_allocation("true")
