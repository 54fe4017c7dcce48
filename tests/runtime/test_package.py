"""The wheel carries all that runs: unpacked or as a zip on the path it finds its jobs, its settings and its code as the checkout does."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from recspark.runtime.cluster import bare_python
from recspark.runtime.config import conf_folder, load_layers
from recspark.runtime.job import find_jobs

LOOK = """
import json, sys
import recspark
from recspark.runtime.config import check, conf_folder, load_layers
from recspark.runtime.job import find_jobs
from recspark.runtime.report import render_report
jobs = find_jobs()
event = {"path": "x.csv", "columns": {"user_id": "u", "item_id": "i", "event_at": "t"}, "types": {"view": 1}}
layers = load_layers(None, "cluster", [])
assert check({**layers, "events": event}, jobs)
json.dump({
    "from": recspark.__file__,
    "code": {name: job.code_hash for name, job in jobs.items()},
    "layers": layers,
    "movielens": (conf_folder() / "movielens.yaml").read_text(encoding="utf-8"),
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_python(tmp_path_factory.mktemp("python"))


def run(python: Path, program: str, on_path: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": on_path}
    return subprocess.run([python, "-c", program], env=environment, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("unpacked", [False, True], ids=["zip", "unpacked"])
def test_the_wheel_is_what_the_checkout_is(package: Path, python: Path, tmp_path: Path, unpacked: bool):
    place = package
    if unpacked:
        place = tmp_path / "unpacked"
        zipfile.ZipFile(package).extractall(place)
    answer = run(python, LOOK, str(place), tmp_path)
    assert answer.returncode == 0, answer.stderr
    found: dict[str, Any] = json.loads(answer.stdout)
    assert found["from"] == f"{place}/recspark/__init__.py"
    assert found["code"] == {name: job.code_hash for name, job in find_jobs().items()}
    assert found["layers"] == load_layers(None, "cluster", [])
    assert found["movielens"] == (conf_folder() / "movielens.yaml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_bare_interpreter_has_the_packages_but_not_the_checkout(python: Path, tmp_path: Path):
    assert run(python, "import pyspark, numba", "", tmp_path).returncode == 0
    assert "No module named 'recspark'" in run(python, "import recspark", "", tmp_path).stderr
