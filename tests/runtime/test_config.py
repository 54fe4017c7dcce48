"""Layers lie in their order, and what is wrong with a configuration is said at once, once, and in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from omegaconf import OmegaConf
from pydantic import BaseModel

from recspark.errors import ConfigError, UsageError
from recspark.runtime.config import Config, Settings, check, conf_folder, load_layers, shared_knobs
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
    assert layers["torch"] == {"n_processes": 2, "local": True, "use_gpu": False}


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
    with pytest.raises(ConfigError, match=r"no configuration file .*big\.yaml; there are: bst, dcn_v2, debug, deepfm, default,"):
        load_layers(None, "local", ["ranker=big"])


def test_another_model_than_the_ranker_files_leaves_its_knobs_behind(tmp_path: Path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("rankers: {model: {name: gmf, embedding_size: 4}}")
    rankers = load_layers(str(mine), "local", [])["rankers"]
    assert (rankers["model"], rankers["epochs"]) == ({"name": "gmf", "embedding_size": 4}, 20)
    assert load_layers(str(mine), "local", ["rankers.model.name=din"])["rankers"]["model"]["hidden"] == [64, 32]
    assert load_layers(None, "local", ["rankers.model.embedding_size=4"])["rankers"]["model"]["hidden"] == [64, 32]


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("vectors_als.rank", "--set 'vectors_als.rank' is no assignment: write it as section.key=value"),
        ("metrics.ks=[1", "--set 'metrics.ks=[1' is not YAML after the =: while parsing a flow sequence"),
    ],
)
def test_an_assignment_that_is_none(assignment: str, said: str):
    with pytest.raises(UsageError) as raised:
        load_layers(None, "local", [assignment])
    assert said in str(raised.value)
    assert raised.value.exit_code == 2


def test_every_problem_is_said_at_once(jobs: dict[str, Job]):
    found = problems(jobs, requests={"k": "many", "kk": 1}, vektors={}, parallel_jobs=0)
    assert [line.split(":")[0] for line in found] == ["vektors", "parallel_jobs", "requests.k", "requests.kk"]
    assert found[-1] == "requests.kk: unknown key (did you mean 'k'?); allowed here: k"


def test_one_typo_is_one_problem_and_what_it_leaves_out(jobs: dict[str, Job]):
    found = problems(jobs, events={**EVENTS, "columns": {"user": "u", "item_id": "i", "event_at": "t"}})
    allowed = "user_id, item_id, event_type, value, event_at, event_order, part"
    assert found == [
        "events.columns.user_id: missing",
        f"events.columns.user: unknown key (did you mean 'user_id'?); allowed here: {allowed}",
    ]


def test_jobs_are_told_what_the_settings_say_but_their_own_section_wins(jobs: dict[str, Job]):
    raw = {
        **load_layers(None, "local", []),
        "events": {**EVENTS, "value_bounds": {"min": 1, "max": 7}, "columns": {**EVENTS["columns"], "value": "v"}},
    }
    config = check(
        {
            **raw,
            "vectors_als": {"model": "explicit"},
            "predictions": {"method": "als", "maximum": 6},
            "popularity": {"weights": {"view": 3}},
        },
        jobs,
    )
    assert config.parameters(jobs["predictions"]).items() >= {"weights": {"view": 2.0}, "minimum": 1.0, "maximum": 6.0}.items()
    assert config.parameters(jobs["popularity"])["weights"] == {"view": 3.0}
    assert config.parameters(jobs["splits"])["order"] == "time"


def test_a_section_that_is_null_switches_its_job_off(jobs: dict[str, Job]):
    config = check({**load_layers(None, "local", []), "events": EVENTS, "rankers": None}, jobs)
    assert "rankers" not in config.jobs
    assert "scores" in config.jobs


def test_a_section_that_is_not_there_is_named_with_what_was_meant(jobs: dict[str, Job]):
    assert problems(jobs, repeat="all") == ["repeat: no such section; did you mean 'repeats'?"]
    said = problems(jobs, xyzzy=1)[0].removeprefix("xyzzy: no such section; there are ").split(", ")
    assert said == sorted({*Settings.model_fields, *jobs})


def test_no_events_are_said_with_their_cure(jobs: dict[str, Job]):
    with pytest.raises(ConfigError) as raised:
        check(load_layers(None, "local", []), jobs)
    assert str(raised.value).splitlines()[1:] == [
        "  events: missing, which says where your events lie; give a configuration that has it with --config FILE "
        "(`recspark init FILES > mine.yaml` writes one from your data)"
    ]


def test_a_typo_that_base_copies_is_said_once_with_what_is_allowed(tmp_path: Path, jobs: dict[str, Job]):
    mine = tmp_path / "mine.yaml"
    mine.write_text("feature_stats_item: {categorical: {categories: {max_value: 3}}}\nuser_features: {numeric: {age: {skale: log}}}")
    layers = load_layers(str(mine), "local", [])
    assert layers["item_features"]["categorical"] == {"categories": {"max_value": 3}}
    assert problems(jobs, **{name: layers[name] for name in ("feature_stats_item", "item_features", "user_features")}) == [
        "feature_stats_item.categorical.categories.max_value: unknown key (did you mean 'max_values'?); allowed here: "
        "missing, min_count, max_vocabulary, max_values, separator, n_oov_buckets",
        "user_features.numeric.age.skale: unknown key (did you mean 'scale'?); allowed here: missing, clip_quantiles, scale",
    ]


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("vectors_als.reg", "lots", "must be a number (got 'lots')"),
        ("vectors_als.rank", 3.5, "must be a whole number (got 3.5)"),
        ("vectors_als.rank", None, "must be a whole number (got null)"),
        ("vectors_als.nonnegative", "maybe", "must be true or false (got 'maybe')"),
        ("vectors_als.value_as", "cube", "must be one of ignore, linear, log (got 'cube')"),
        ("popularity.half_life_days", -1, "must be more than 0 (got -1)"),
        ("metrics.ks", True, "must be a list (got true)"),
        ("rankers.model.dropout", 3, "must be less than 1 (got 3)"),
        (
            "rankers.model.name",
            "dinn",
            "must be one of din, logistic, mlp, gmf, ncf_mlp, neumf, wide_deep, deepfm, dcn_v2, bst (got 'dinn')",
        ),
        ("rankers.model", 4, "must be a section of keys and values (got 4)"),
        ("torch.n_processes", 0, "must be at least 1 (got 0)"),
        ("limits", 4, "must be a section of keys and values (got 4)"),
        ("requests", 5, "must be a section of keys and values (got 5)"),
        ("catalog", 3, "must be a text (got 3)"),
        ("sources", [], "must be a list of at least 1 (got [])"),
        ("now", "soon", "must be a date or time, such as 2025-06-01 or 2025-06-01T04:00 (got 'soon')"),
        ("events.path", 5, "must be a text or a list (got 5)"),
        ("events.path", ["a.csv", 5], "must be a text (got 5)"),
        ("events.time.earliest", "x", "must be a date, such as 2025-06-01 (got 'x')"),
        ("events.time.zone", "Pariss", "zone 'Pariss' is unknown; give a name such as Europe/Paris, or an offset such as +02:00"),
        (
            "splits",
            {"kind": "last_n", "label_days": 4},
            "label_days has no meaning where kind is last_n; its settings are n_fit, n_test, n_tune",
        ),
        ("catalog", ["x" * 200], "must be a text (got ['" + "x" * 98 + "...)"),
    ],
)
def test_what_must_stand_there_is_said_in_words(jobs: dict[str, Job], place: str, value: Any, said: str):
    raw = {**load_layers(None, "local", []), "events": {**EVENTS, "time": {}}}
    *sections, key = place.split(".")
    at = raw
    for section in sections:
        at[section] = dict(at[section])
        at = at[section]
    at[key] = value
    with pytest.raises(ConfigError) as raised:
        check(raw, jobs)
    lines = [line.strip() for line in str(raised.value).splitlines()[1:]]
    assert lines[-1].startswith(place)
    assert lines[-1].endswith(f": {said}")


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize(
    "place",
    [
        *("vectors_als.reg", "neighbours_ease.reg", "popularity.half_life_days", "rankers.learning_rate", "rankers.model.dropout"),
        *("limits.seconds", "splits.share_fit", "events.types.view", "events.value_bounds.max", "predictions.minimum"),
    ],
)
def test_a_number_that_is_not_finite_is_refused(jobs: dict[str, Job], place: str, value: float):
    raw = OmegaConf.create({**load_layers(None, "local", []), "events": EVENTS})
    OmegaConf.update(raw, place, value, force_add=True)
    with pytest.raises(ConfigError) as raised:
        check(OmegaConf.to_container(raw), jobs)  # type: ignore[arg-type]
    lines = [line.strip() for line in str(raised.value).splitlines()[1:]]
    assert any(line.startswith(f"{place}: ") and line.endswith(f"(got {value!r})") for line in lines), lines


def test_no_model_of_the_configuration_takes_numbers_that_are_not_finite(jobs: dict[str, Job]):
    waiting, known = [Settings, *(job.section for job in jobs.values())], set()
    while waiting:
        model = waiting.pop()
        known.add(model)
        inner = {one for field in model.model_fields.values() for one in models_in(field.annotation)}
        waiting += inner - known
    assert len(known) > len(jobs) + 8
    assert {model.__name__ for model in known if model.model_config.get("allow_inf_nan", True)} == set()


def models_in(annotation: Any) -> set[type[BaseModel]]:
    """The models that a knob may hold, in lists, mappings and choices too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for inner in get_args(annotation) for model in models_in(inner)}


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """base.yaml and the ranker's sections as they are written, interpolations too."""
    return {
        name: value
        for file in ("base.yaml", "ranker/default.yaml", "next_item/default.yaml")
        for name, value in yaml.safe_load(_text(file)).items()
    }


def _text(file: str) -> str:
    return conf_folder().joinpath(*file.split("/")).read_text(encoding="utf-8")


def told_names(config: Config) -> set[str]:
    return set(shared_knobs(config.settings)) | {
        "clean_items.mapping",
        "clean_users.mapping",
        "user_lists.mapping",
        "predictions.minimum",
        "predictions.maximum",
    }


def test_every_knob_stands_in_the_files_of_defaults(jobs: dict[str, Job], written: dict[str, Any]):
    told = told_names(check({**load_layers(None, "local", []), "events": EVENTS}, jobs))
    knobs = {(name, knob) for name, job in jobs.items() for knob in job.section.model_fields if not {knob, f"{name}.{knob}"} & told}
    assert {(name, knob) for name, knob in knobs if knob not in (written.get(name) or {})} == set()
    assert set(Settings.model_fields) - set(written) == {"events"}
    assert {name: set(written[name]) for name in ("torch", "limits")} == {
        "torch": {"n_processes", "local", "use_gpu"},
        "limits": {"published_rows", "seconds", "shuffle_bytes", "task_bytes", "driver_bytes"},
    }


def test_what_the_files_of_defaults_say_is_what_the_code_does(jobs: dict[str, Job], written: dict[str, Any]):
    config = check({**load_layers(None, "local", []), "events": EVENTS}, jobs)
    given = [
        (f"{name}.{knob}", getattr(config.jobs[name], knob), jobs[name].section.model_fields[knob])
        for name in jobs.keys() & written.keys() - Settings.model_fields.keys()
        for knob in written[name] or {}
    ]
    settings = Settings.model_validate({**{name: written[name] for name in Settings.model_fields if name in written}, "events": EVENTS})
    given += [(name, getattr(settings, name), field) for name, field in Settings.model_fields.items() if field.default_factory is None]
    assert len(given) > 60
    assert {where: value for where, value, field in given if not field.is_required() and value != field.default} == {}


def test_features_whose_statistics_are_off_are_none():
    raw = load_layers(None, "local", ["feature_stats_item=null"])
    assert raw["item_features"] == {"numeric": {}, "categorical": {}, "max_per_category": None}
