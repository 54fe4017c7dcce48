"""Who may import whom: each rule is seen to break on a scratch tree with one import too many, and to hold on this one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("interactions", "features", "candidates", "examples", "recommendations", "evaluation", "ranking", "preflight")
MODULES = [
    "jobs.histories",
    "recspark.runtime.store",
    "recspark.runtime.river",
    *(f"recspark.{room}.work" for room in ROOMS),
    *(f"recspark.handover.{name}" for name in ("arrays", "plan", "export", "decode", "reader", "scores")),
    "recspark.tables.contract",
    "recspark.kernels.topk",
    "recspark.columns",
    "recspark.errors",
]
# What the contracts make exceptions for, so that the exceptions are tried too.
ALLOWED = {
    "recspark.runtime.store": "import delta.tables",
    "recspark.handover.decode": "import petastorm.arrow_reader_worker",
    "recspark.handover.reader": "import recspark.handover.decode",
    "recspark.tables.contract": "def check(): import pyspark",
    "recspark.handover.export": "import pyspark.sql",
    "recspark.ranking.work": "import recspark.handover.reader\nimport torch",
    "jobs.histories": "import recspark.features.work",
}


def check_imports(root: Path) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports_command as run; sys.exit(run())", "--no-cache"]
    answer = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    return answer.returncode, answer.stdout + answer.stderr


def broken(said: str) -> list[str]:
    """The names of the contracts that broke."""
    contracts = re.split(r"\b(KEPT|BROKEN)\b", re.sub(r"\s+", " ", said.split("dependencies.")[-1]))
    return [
        re.sub(r"^[-\s]+|\(\d+ ignored imports?\)", "", name).strip()
        for name, state in zip(contracts[::2], contracts[1::2], strict=False)
        if state == "BROKEN"
    ]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The rooms as empty modules, with the imports that are allowed, under this project's contracts."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for module in MODULES:
        path = tmp_path.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in [path.parent, *path.parent.parents]:
            if folder == tmp_path:
                break
            (folder / "__init__.py").touch()
        path.write_text(ALLOWED.get(module, "") + "\n")
    return tmp_path


def add_import(tree: Path, module: str, imported: str) -> None:
    path = tree.joinpath(*module.split(".")).with_suffix(".py")
    path.write_text(path.read_text() + f"import {imported}\n")


def test_the_rules_hold_here() -> None:
    status, said = check_imports(ROOT)
    assert status == 0, said


def test_the_rules_allow_what_they_should(tree: Path) -> None:
    status, said = check_imports(tree)
    assert status == 0, said


@pytest.mark.parametrize(
    ("module", "imported", "contract"),
    [
        ("recspark.features.work", "recspark.candidates.work", "the rooms are strangers"),
        ("recspark.ranking.work", "recspark.examples.work", "the rooms are strangers"),
        ("recspark.features.work", "recspark.runtime.river", "the rooms are strangers"),
        ("recspark.handover.plan", "recspark.features.work", "the rooms are strangers"),
        ("recspark.kernels.topk", "recspark.handover.arrays", "the rooms are strangers"),
        ("recspark.kernels.topk", "recspark.tables.contract", "the rooms are strangers"),
        ("recspark.errors", "recspark.columns", "the rooms are strangers"),
        ("recspark.runtime.river", "jobs.histories", "jobs are found"),
        ("recspark.ranking.work", "pyspark.sql", "the torch room"),
        ("recspark.ranking.work", "recspark.handover.export", "the torch room"),
        ("recspark.handover.plan", "pyspark", "the torch room"),
        ("recspark.handover.reader", "delta.tables", "the torch room"),
        ("recspark.handover.scores", "pyspark", "the torch room"),
        ("recspark.candidates.work", "torch.nn", "the Spark rooms"),
        ("recspark.evaluation.work", "recspark.handover.reader", "the Spark rooms"),
        ("recspark.examples.work", "petastorm", "the Spark rooms"),
        ("recspark.kernels.topk", "pyspark", "kernels know arrays only"),
        ("recspark.kernels.topk", "torch", "kernels know arrays only"),
        ("recspark.handover.reader", "petastorm", "petastorm is imported in one place"),
        ("recspark.handover.scores", "petastorm.reader", "petastorm is imported in one place"),
        ("jobs.histories", "petastorm", "petastorm is imported in one place"),
        ("recspark.runtime.river", "delta", "delta is imported in one place"),
    ],
)
def test_an_import_too_many_breaks_its_rule(tree: Path, module: str, imported: str, contract: str) -> None:
    add_import(tree, module, imported)
    status, said = check_imports(tree)
    assert status == 1, said
    assert any(name.startswith(contract) for name in broken(said)), said


def test_a_new_room_needs_its_place(tree: Path) -> None:
    room = tree / "recspark" / "utils"
    room.mkdir()
    (room / "__init__.py").touch()
    status, said = check_imports(tree)
    assert status == 1
    assert "utils" in said
