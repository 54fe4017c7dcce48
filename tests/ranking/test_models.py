"""The models together: each has its file, its suite and its configuration; what concerns one alone stands in its suite."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from recspark.errors import TrainingError
from recspark.ranking.batch import SlateBatch, keep_weighing
from recspark.ranking.models.bst import BstKnobs
from recspark.ranking.models.build import KNOBS, MODELS, NAMES, build_model, describe_model
from recspark.ranking.models.din import DinKnobs
from recspark.ranking.optimisers import decay_groups
from recspark.ranking.train import train_ranker
from recspark.runtime.job import Job
from recspark.tables import RANKERS
from tests.ranking.contract import RankerContract, dimensions
from tests.slate_files import N_SLOTS, SOURCES, make_slates

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf" / "ranker"
NO_MODELS = frozenset({"__init__", "build", "ranker"})


def model_files(root: Path) -> set[str]:
    return {path.stem for path in (root / "recspark" / "ranking" / "models").glob("*.py")} - NO_MODELS


def lacks_suite(root: Path, name: str) -> str:
    """What the suite of a model's file lacks; nothing where all is well."""
    file = root / "tests" / "ranking" / "models" / f"test_{name}.py"
    if not file.exists():
        return f"{name}: no tests/ranking/models/{file.name}"
    classes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ClassDef)]
    suites = [
        one for one in classes if one.name.startswith("Test") and RankerContract.__name__ in [ast.unparse(base) for base in one.bases]
    ]
    if not suites:
        return f"{name}: no class of it inherits {RankerContract.__name__}"
    replaced = [node.name for node in suites[0].body if isinstance(node, ast.FunctionDef) and hasattr(RankerContract, node.name)]
    if replaced:
        return f"{name}: its suite replaces {replaced[0]}"
    imported = ast.unparse(ast.parse(file.read_text()))
    return "" if f"from recspark.ranking.models.{name} import" in imported else f"{name}: its suite is of another model"


def test_every_model_file_is_registered_and_has_its_suite():
    assert model_files(ROOT) == set(NAMES) == set(MODELS)
    assert [missing for name in NAMES if (missing := lacks_suite(ROOT, name))] == []


@pytest.mark.parametrize(
    ("suite", "lacks"),
    [
        (None, "deep: no tests/ranking/models/test_deep.py"),
        ("class TestDeep:\n    knobs = 1\n", "deep: no class of it inherits RankerContract"),
        ("class Deep(RankerContract):\n    knobs = 1\n", "deep: no class of it inherits RankerContract"),
        ("class TestDeep(RankerContract):\n    def test_shapes(self): ...\n", "deep: its suite replaces test_shapes"),
        (
            "from recspark.ranking.models.din import X\nclass TestDeep(RankerContract):\n    knobs = X\n",
            "deep: its suite is of another model",
        ),
        ("from recspark.ranking.models.deep import X\nclass TestDeep(RankerContract):\n    knobs = X\n", ""),
    ],
)
def test_a_missing_suite_is_found(tmp_path: Path, suite: str | None, lacks: str):
    for file, text in {"recspark/ranking/models/deep.py": "", "tests/ranking/models/test_deep.py": suite}.items():
        (tmp_path / file).parent.mkdir(parents=True)
        if text is not None:
            (tmp_path / file).write_text(text)
    assert model_files(tmp_path) == {"deep"}
    assert lacks_suite(tmp_path, "deep") == lacks


def test_knobs_are_named_alike_in_every_model():
    assert {name: knobs.model_fields["name"].default for name, knobs in KNOBS.items()} == {name: name for name in NAMES}
    allowed = {"name", "embedding_size", "hidden", "dropout", "item_dropout", "user_dropout", "n_layers", "n_heads"}
    assert {knob for knobs in KNOBS.values() for knob in knobs.model_fields} - allowed == {"attention_hidden", "cross_rank"}


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_configuration_builds_its_model(file: Path, batch: SlateBatch):
    section = yaml.safe_load(file.read_text())["rankers"]
    model = Job(train_ranker, writes=RANKERS, runner="torch").section(sources=SOURCES, **section).model
    assert model.name == file.stem or file.stem not in NAMES
    assert build_model(describe_model(dimensions(), model))(batch).shape == (32, N_SLOTS)


def test_every_model_has_its_configuration():
    assert {file.stem for file in CONF.glob("*.yaml")} >= {"debug", "default", "large", *NAMES} - {"din"}


def test_every_knob_of_a_model_is_explained_in_the_file_of_defaults():
    lines = (CONF / "default.yaml").read_text().splitlines()
    explained = {line.strip("# ").split(":")[0] for line in lines if "#" in line.strip(" #")}
    assert {knob for knobs in KNOBS.values() for knob in knobs.model_fields} - explained == set()


def test_unknown_models_are_refused():
    with pytest.raises(TrainingError, match="no ranker 'dinn'; there are: din, logistic, mlp,"):
        build_model({"name": "dinn", "dimensions": {}, "knobs": {}})


@pytest.mark.parametrize(
    "knob", [{"dropout": 1.5}, {"dropout": -0.1}, {"item_dropout": 1.0}, {"embedding_size": 0}, {"hidden": [0]}, {"hiden": [4]}]
)
def test_knobs_out_of_range_are_refused(knob: dict):
    with pytest.raises(ValidationError, match=next(iter(knob))):
        DinKnobs(**knob)


def test_heads_that_do_not_divide_the_embedding_are_refused():
    with pytest.raises(ValidationError, match="n_heads 3 do not divide embedding_size 16: each head has its share of it"):
        BstKnobs(n_heads=3)


@pytest.mark.parametrize("name", NAMES)
def test_vectors_and_the_blend_are_not_decayed(name: str):
    model = build_model(describe_model(dimensions(), KNOBS[name]()))
    decayed, free = decay_groups(model.named_parameters(), model.no_decay, 0.1)
    names = {parameter: one for one, parameter in model.named_parameters()}
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert "blend.linear.weight" in {names[parameter] for parameter in free["params"]}
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(names)


def test_where_no_row_weighs_padding_stands_in():
    slates = {**make_slates(3, 1), "is_real": np.ones(3, bool)}
    slates["weight"][:], slates["features"][:] = 0, np.nan
    kept = keep_weighing(slates)
    assert (len(kept["weight"]), kept["is_real"].any(), np.isnan(kept["features"]).any()) == (1, False, False)
