"""Layers lie in their order, and what is wrong with a configuration is said at once, once, and in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recspark.errors import ConfigError
from recspark.runtime.config import check, load_layers
from recspark.runtime.job import Job, find_jobs

EVENTS = {"path": "x.csv", "columns": {"user_id": "u", "item_id": "i", "event_at": "t"}, "types": {"view": 2.0}}


@pytest.fixture(scope="module")
def jobs() -> dict[str, Job]:
    return find_jobs()


def problems(jobs: dict[str, Job], **sections: Any) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        check({**load_layers(None, "local", []), "events": EVENTS, **sections}, jobs)
    return [line.strip() for line in str(raised.value).splitlines()[1:]]


def test_later_layers_win(tmp_path: Path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("ranker: debug\nvectors_als: {rank: 8}\nrequests:\n  k: ${vectors_als.rank}\nrankers: {epochs: 3}\n")
    layers = load_layers(str(mine), "local", ["vectors_als.rank=9", "torch.n_processes=2"])
    assert layers["vectors_als"]["max_iter"] == 10  # base.yaml
    assert layers["spark"]["spark.master"] == "local[*]"  # env/local.yaml
    assert layers["rankers"]["checkpoint_every"] == 10  # ranker/debug.yaml
    assert layers["rankers"]["epochs"] == 3  # mine.yaml, over ranker/debug.yaml
    assert (layers["vectors_als"]["rank"], layers["requests"]["k"]) == (9, 9)  # assignments, before interpolations
    assert layers["torch"] == {"n_processes": 2, "local": True}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [1", "is not YAML: while parsing a flow sequence"),
        ("a: 1\na: 2", "is not YAML: while constructing a mapping"),
        ("a: ${b", "is not YAML"),
        ("a: ${b}", "does not resolve: Interpolation key 'b' not found"),
        ("- a", "is not a mapping of sections"),
        ("5", "cannot be read as a configuration"),
        ("\udcff", "is not YAML: 'utf-8' codec can't decode"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: str, said: str):
    mine = tmp_path / "mine.yaml"
    mine.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as raised:
        load_layers(str(mine), "local", [])
    assert said in str(raised.value)


def test_names_that_are_not_there(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no configuration file .*mine\.yaml; `recspark init FILES > my\.yaml`"):
        load_layers(str(tmp_path / "mine.yaml"), "local", [])
    with pytest.raises(ConfigError, match=r"no configuration file .*lokal\.yaml; there are: cluster, databricks, local"):
        load_layers(None, "lokal", [])
    with pytest.raises(ConfigError, match=r"no configuration file .*big\.yaml; there are: debug, default"):
        load_layers(None, "local", ["ranker=big"])


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("vectors_als.rank", "--set 'vectors_als.rank' is no assignment: write it as section.key=value"),
        ("metrics.ks=[1", "--set 'metrics.ks=[1' is not YAML after the =: while parsing a flow sequence"),
    ],
)
def test_an_assignment_that_is_none(assignment: str, said: str):
    with pytest.raises(ConfigError) as raised:
        load_layers(None, "local", [assignment])
    assert said in str(raised.value)


def test_every_problem_is_said_at_once(jobs: dict[str, Job]):
    found = problems(jobs, requests={"k": "many", "kk": 1}, vektors={}, parallel_jobs=0)
    assert [line.split(":")[0] for line in found] == ["vektors", "parallel_jobs", "requests.k", "requests.kk"]
    assert found[-1] == "requests.kk: unknown key; allowed here: k"


def test_one_typo_is_one_problem_and_what_it_leaves_out(jobs: dict[str, Job]):
    found = problems(jobs, events={**EVENTS, "columns": {"user": "u", "item_id": "i", "event_at": "t"}})
    allowed = "user_id, item_id, event_type, value, event_at, event_order"
    assert found == ["events.columns.user_id: missing", f"events.columns.user: unknown key; allowed here: {allowed}"]


def test_jobs_are_told_what_the_settings_say_but_their_own_section_wins(jobs: dict[str, Job]):
    raw = {
        **load_layers(None, "local", []),
        "events": {**EVENTS, "value_bounds": {"min": 1, "max": 7}, "columns": {**EVENTS["columns"], "value": "v"}},
    }
    config = check({**raw, "vectors_als": {"implicit": False}, "predictions": {"maximum": 6}, "popularity": {"weights": {"view": 3}}}, jobs)
    assert config.parameters(jobs["predictions"]) == {"weights": {"view": 2.0}, "minimum": 1.0, "maximum": 6.0}
    assert config.parameters(jobs["popularity"])["weights"] == {"view": 3.0}
    assert config.parameters(jobs["splits"])["order"] == "time"


def test_a_section_that_is_null_switches_its_job_off(jobs: dict[str, Job]):
    config = check({**load_layers(None, "local", []), "events": EVENTS, "rankers": None}, jobs)
    assert "rankers" not in config.jobs
    assert "scores" in config.jobs
