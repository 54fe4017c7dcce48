"""The river on a real standalone cluster, submitted from the wheel, equals local mode in every column of every row."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recspark.runtime.cluster import SMALL, bare_python, standalone_cluster, submit
from recspark.runtime.compare import compare_warehouses
from recspark.runtime.store import Store
from tests.conftest import INTERPRETED
from tests.flow.conftest import forget

# What is left to the cluster: of each job one horizon, fit where it has that.
LEFT = {"metrics", "scores", "ranked", "champion", "staged_recommendations", "gates", "recommendations", "similar_items"}

Submit = Callable[..., str]


@pytest.fixture(scope="module")
def submitted(spark, tmp_path_factory: pytest.TempPathFactory, package: Path, finished) -> Iterator[tuple[Submit, Path]]:
    """`run(script, *words)` on the tiny world's files into a copied warehouse where most is done (but `LEFT`), and that warehouse."""
    folder = tmp_path_factory.mktemp("cluster")
    shutil.copytree(finished[0] / "warehouse", folder / "warehouse")
    shutil.rmtree(folder / "warehouse" / "_rankers")
    forget(spark, folder / "warehouse", LEFT, {"last_2/fit"})
    python = bare_python(folder / "python")
    shutil.copy(finished[0] / "config.yaml", folder)
    with standalone_cluster(folder / "daemons") as master:

        def run(script: str, *words: str) -> str:
            settings = [f"warehouse={folder / 'warehouse'}", *SMALL, *(f"spark.{name}={value}" for name, value in INTERPRETED.items())]
            told = ["--config", str(folder / "config.yaml"), "--env", "cluster", *(word for one in settings for word in ("--set", one))]
            return submit(master, package, script, [*words, *told], python=python, log=folder / f"{Path(script).stem}.log")

        yield run, folder / "warehouse"


@pytest.mark.slow
def test_the_river_on_a_cluster_makes_the_tables_of_local_mode(spark, finished, submitted):
    run, warehouse = submitted
    assert "jobs ran" in run("recspark/runtime/cli.py", "run")
    assert compare_warehouses(Store(spark, str(finished[0] / "warehouse")), Store(spark, str(warehouse))) == {}
    # A job by its file. Named like the package `requests`, which others import: a script's folder must not stand in for it.
    assert "nothing, all was up to date" in run("jobs/requests.py")
