"""The whole river on a real standalone cluster, submitted from the wheel, equals local mode in every column of every row."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recspark.runtime.cluster import SMALL, standalone_cluster, submit
from recspark.runtime.compare import compare_warehouses
from recspark.runtime.store import Store

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as spark-submit takes it, built from a copy so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("package")
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "source")], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*command, str(folder / "source")], check=True, capture_output=True)
    (wheel,) = folder.glob("recspark-*.whl")
    return wheel.rename(folder / "recspark.zip")


@pytest.mark.slow
def test_the_cluster_and_local_mode_make_the_same_tables(spark, finished, package, tmp_path):
    folder, _ = finished
    settings = [f"warehouse={tmp_path / 'warehouse'}", *SMALL]
    arguments = ["run", "--config", str(folder / "config.yaml"), "--env", "cluster", *(word for one in settings for word in ("--set", one))]
    with standalone_cluster(tmp_path / "daemons") as master:
        submit(master, package, "recspark/runtime/cli.py", arguments, log=tmp_path / "submit.log")
        again = ["--config", str(folder / "config.yaml"), "--env", "cluster", *(word for one in settings for word in ("--set", one))]
        submit(master, package, "jobs/similar_items.py", again, log=tmp_path / "again.log")
    assert "similar_items" not in (tmp_path / "again.log").read_text().split("ran:")[-1]
    assert compare_warehouses(Store(spark, str(folder / "warehouse")), Store(spark, str(tmp_path / "warehouse"))) == {}
