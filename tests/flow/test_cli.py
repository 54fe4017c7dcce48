"""The command line on a finished warehouse: exit codes, JSON, show, export, rollback, dry run, init."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path

import pytest
import yaml

from jobs.similar_items import JOB
from recspark.errors import LimitError
from recspark.runtime import cli
from tests.flow.conftest import committed, forget

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def recspark(spark, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`recspark ARGUMENTS` in the suite's session: exit code, standard output, standard error."""

    def command(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["recspark", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return command


def live(spark, folder: Path) -> dict[str, list[str]]:
    rows = spark.read.format("delta").load(str(folder / "warehouse" / "recommendations")).collect()
    return {row.user_id: [one.item_id for one in row["items"]] for row in rows}


def test_an_idle_run_prints_the_last_summary_as_json(recspark, copied):
    code, out, err = recspark("run", "--config", copied / "config.yaml", "--json")
    summary = json.loads(out)
    assert (code, summary["ran"], summary["counts"]["users"]) == (0, {}, 40)
    assert "0 jobs ran" in " ".join(err.split())


def test_show_prints_one_users_history_and_lists(spark, recspark, copied):
    code, out, _ = recspark("show", "u7", "--config", copied / "config.yaml", "--json")
    found = json.loads(out)
    assert code == 0
    assert [one["item_id"] for one in found["recommendations"]] == live(spark, copied)["u7"]
    assert len(found["history"]) == 10
    code, _, err = recspark("show", "nobody", "--config", copied / "config.yaml")
    assert code == 1
    assert "user 'nobody' has no recommendations" in " ".join(err.split())


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_export_writes_a_row_an_item(spark, recspark, copied, tmp_path, kind):
    target = tmp_path / f"out.{kind}"
    assert recspark("export", target, "--config", copied / "config.yaml")[0] == 0
    lists: dict[str, list[tuple[int, str]]] = {}
    if kind == "csv":
        rows = [row for part in target.glob("*.csv") for row in csv.DictReader(part.open(encoding="utf-8"))]
    else:
        rows = [row.asDict() for row in spark.read.parquet(str(target)).collect()]
    for row in rows:
        lists.setdefault(row["user_id"], []).append((int(row["rank"]), row["item_id"]))
    assert {user: [item for _, item in sorted(one)] for user, one in lists.items()} == live(spark, copied)
    code, _, err = recspark("export", target, "--config", copied / "config.yaml")
    assert (code, "replace it with --overwrite" in " ".join(err.split())) == (1, True)
    assert recspark("export", target, "--overwrite", "--config", copied / "config.yaml")[0] == 0


def test_a_failed_gate_ends_with_3_and_leaves_what_is_live(spark, recspark, copied, tmp_path):
    before = live(spark, copied)
    report = tmp_path / "refused.html"
    strict = ["--set", "gates.min_quality=0.99", "--report", report, "--json"]
    code, out, err = recspark("run", "--config", copied / "config.yaml", *strict)
    assert code == 3
    words = "not published, the live recommendations are unchanged: gate quality"
    assert words in " ".join(err.split())
    said = json.loads(out)
    assert (words in said["error"], said["kind"], said["exit_code"]) == (True, "GateError", 3)
    assert "gates.min_quality" in said["error"]
    assert str(report) in said["error"]
    assert "<h3>Not published</h3>" in report.read_text()
    assert "User u" in err  # and all else that a run ends with
    assert live(spark, copied) == before


def test_rollback_brings_back_what_was_live_before(spark, recspark, copied):
    def reasons() -> dict[str, list[list[str]]]:
        rows = spark.read.format("delta").load(str(copied / "warehouse" / "recommendations")).collect()
        return {row.user_id: [list(one.because) for one in row["items"]] for row in rows}

    before = reasons()
    assert max(len(one) for lists in before.values() for one in lists) > 1
    assert recspark("rollback", "--config", copied / "config.yaml")[0] == 1  # nothing was live before these
    fewer = ["--set", "staged_recommendations.n_because=1"]
    assert recspark("run", "recommendations", "--config", copied / "config.yaml", *fewer)[0] == 0
    assert max(len(one) for lists in reasons().values() for one in lists) == 1
    assert recspark("rollback", "--config", copied / "config.yaml")[0] == 0
    assert reasons() == before


def test_a_dry_run_says_what_would_run_and_does_nothing(spark, recspark, copied):
    forget(spark, copied / "warehouse", {"similar_items", "popularity"})
    before = committed(spark, copied / "warehouse").sequence
    code, out, _ = recspark("run", "similar_items", "--config", copied / "config.yaml", "--dry-run")
    assert (code, "would run similar_items" in " ".join(out.split())) == (0, True)
    assert committed(spark, copied / "warehouse").sequence == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"items": {"path": "nowhere.csv", "columns": {"item_id": "item", "categories": "genre"}, "attributes": ["year"]}}, "nowhere.csv"),
        ({"champion": {"metric": "ndgc", "k": 4}}, "ndgc"),
        ({"vectors_als": {"rnak": 3}}, "rnak"),
    ],
)
def test_a_users_mistake_ends_with_1_and_one_sentence(recspark, copied, change, words):
    config = yaml.safe_load((copied / "config.yaml").read_text()) | change
    (copied / "wrong.yaml").write_text(yaml.safe_dump(config))
    code, _, err = recspark("run", "--config", copied / "wrong.yaml")
    assert (code, words in err) == (1, True), err
    assert "Traceback" not in err
    assert "\tat " not in err


def test_what_a_task_refuses_while_its_job_waits_for_it_ends_with_1_and_its_sentence(spark, recspark, copied, monkeypatch):
    def refuse(batches):
        raise LimitError("the figure is 3; make it 2")

    @wraps(JOB.function)
    def build(neighbours, *others, **knobs):
        neighbours.mapInArrow(refuse, neighbours.schema).collect()

    forget(spark, copied / "warehouse", {"similar_items"})
    monkeypatch.setattr("jobs.similar_items.JOB", replace(JOB, function=build))
    code, _, err = recspark("run", "similar_items", "--config", copied / "config.yaml")
    assert (code, err.splitlines()[-1]) == (1, "error: the figure is 3; make it 2"), err


def test_a_run_that_is_told_to_stop_says_so_and_ends_as_told():
    code = "import os, signal; from recspark.runtime.cli import _guarded; _guarded(lambda: os.kill(os.getpid(), signal.SIGTERM))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")
    assert done.stderr == "recspark: stopped by SIGTERM; nothing half-done is visible, run again to go on\n"


def test_wrong_usage_ends_with_2_and_our_own_faults_with_4(recspark, monkeypatch):
    assert recspark("run", "--no-such-option")[0] == 2
    code, _, err = recspark("run", "--set", "vectors_als.rank")
    assert (code, "is no assignment" in " ".join(err.split())) == (2, True), err
    monkeypatch.setattr("recspark.runtime.nightly.start_session", lambda settings: 1 / 0)
    code, _, err = recspark("run", "no_such_table", "--config", "conf/movielens.yaml")
    assert (code, "no table or job 'no_such_table'" in " ".join(err.split())) == (2, True), err
    monkeypatch.setattr("recspark.runtime.graph.draw_graph", lambda jobs: 1 / 0)
    code, _, err = recspark("graph")
    assert (code, "internal error: ZeroDivisionError" in " ".join(err.split())) == (4, True)
