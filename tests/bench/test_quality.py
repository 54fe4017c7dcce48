"""The archives' readers on lines of each kind, what counts as reached, and configurations that measure what is compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from recspark.runtime.config import load_layers
from tests.bench.archives import ARCHIVES, write_diginetica, write_gowalla, write_ncf, write_s3rec, write_sasrec_ml_1m
from tests.bench.published import TRIALS, Figure, Trial
from tests.bench.quality import CONF


def files(folder: Path) -> dict[str, list[str]]:
    return {path.name: path.read_text().splitlines() for path in sorted(folder.rglob("*.csv"))}


def test_a_stored_negative_that_is_the_test_item_is_one_candidate(tmp_path: Path):
    (tmp_path / "train.tsv").write_text("0\t5\t4\n1\t6\t3\n")
    (tmp_path / "ml-1m.test.rating").write_text("0\t25\t5\t978824351\n")
    (tmp_path / "ml-1m.test.negative").write_text("(0,25)\t7\t25\t8\n")
    write_ncf(tmp_path, tmp_path / "data")
    assert files(tmp_path / "data") == {
        "candidates.csv": ["user,item", "0,25", "0,7", "0,8"],
        "test.csv": ["user,item", "0,25"],
        "train.csv": ["user,item", "0,5", "1,6"],
    }


def test_lines_of_a_user_and_items(tmp_path: Path):
    (tmp_path / "train.txt").write_text("0 3 4\n1 5\n")
    (tmp_path / "test.txt").write_text("0 6\n1\n")  # user 1 has nothing to predict
    write_gowalla(tmp_path, tmp_path / "data")
    assert files(tmp_path / "data") == {"train.csv": ["user,item", "0,3", "0,4", "1,5"], "test.csv": ["user,item", "0,6"]}


def test_of_a_session_the_prefix_is_the_past_and_the_target_comes_after_it(tmp_path: Path):
    (tmp_path / "train_sessions.txt").write_text("1 2\n3\n")
    (tmp_path / "test_examples.tsv").write_text("8 9\t8\n8\t9\n")
    write_diginetica(tmp_path, tmp_path / "data")
    assert files(tmp_path / "data") == {
        "past.csv": ["session,item,place", "test 0,8,0", "test 0,9,1", "test 1,8,0"],
        "test.csv": ["session,item,place", "test 0,8,2", "test 1,9,1"],
        "train.csv": ["session,item,place", "0,1,0", "0,2,1", "1,3,0"],
    }


def test_sequences_keep_their_order(tmp_path: Path):
    (tmp_path / "sasrec_ml-1m.txt").write_text("1 7\n1 3\n2 7\n")
    (tmp_path / "Beauty.txt").write_text("1 7 3\n2 7\n")
    for write in (write_sasrec_ml_1m, write_s3rec("Beauty")):
        write(tmp_path, tmp_path / "out")
        assert (tmp_path / "out" / "events.csv").read_text().split() == ["user,item,place", "1,7,0", "1,3,1", "2,7,2"]


@pytest.mark.parametrize(
    ("metric", "aim", "ours", "met"),
    [
        ("ndcg", "check", 0.25454, True),
        ("ndcg", "check", 0.25456, False),
        ("ndcg", "reach", 0.2546, True),
        ("ndcg", "reach", 0.2544, False),
        ("rmse", "reach", 0.2544, True),
        ("rmse", "reach", 0.2546, False),
        ("ndcg", "within", 0.252, True),
        ("ndcg", "within", 0.2514, False),
        ("ndcg", "beside", 0.1, None),
    ],
)
def test_what_counts_as_reached(metric, aim, ours, met):
    assert Figure("m", "als", metric, 10, 0.2545, aim, "", margin=0.003).is_met(ours) is met


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.config)
def test_a_configuration_measures_what_is_compared(trial: Trial):
    config = load_layers(str(CONF / trial.config), "local", list(trial.assignments))
    assert trial.data in ARCHIVES
    assert config["warehouse"] == f"warehouse/bench/{trial.data}"
    for figure in trial.figures:
        assert figure.source in config["sources"]
        assert figure.k in (*config["metrics"]["ks"], 0)


def test_every_configuration_is_run():
    assert {trial.config for trial in TRIALS} == {path.name for path in CONF.glob("*.yaml")}
