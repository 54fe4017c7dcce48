"""Real training processes, started through Spark's TorchDistributor, and what comes back of them."""

import json
import os
from pathlib import Path

import pytest

from recspark.errors import ConfigError, HandoverError, TrainingError
from recspark.ranking.train import train_ranker
from recspark.runtime.distribute import refuse_dynamic_allocation, run_torch
from tests.slate_files import SOURCES, make_slates, plan_files, publish_items

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.fixture
def arguments(tmp_path: Path) -> dict:
    small = {"embedding_size": 4, "hidden": [8], "attention_hidden": 4, "epochs": 2, "global_batch_size": 16, "sources": SOURCES}
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


def test_a_process_that_dies_is_named_with_its_last_lines(spark, tmp_path):
    with pytest.raises(
        TrainingError, match=r"training process 0 of 1 died; run again to resume from the checkpoint. The last lines(.|\n)*exitcode"
    ):
        run_torch(spark, os._exit, {"status": 3}, folder=str(tmp_path), n_processes=1)


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
