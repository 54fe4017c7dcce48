"""Fixtures that every room shares. Marks derive from the fixtures a test asks for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recspark.tables import STAMPED, Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Hundreds of queries over a few rows each: generating, compiling and warming code for them would be a quarter of the time.
INTERPRETED = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.ui.explainMode": "simple",
}
SPARK_SETTINGS = {
    **INTERPRETED,
    "spark.master": "local[2]",
    "spark.ui.enabled": "false",
    # Tiny frames: more partitions only add task overhead, but one would hide partition mistakes.
    "spark.sql.shuffle.partitions": "3",
    "spark.default.parallelism": "3",
    # Delta reads its log with 50 partitions by default: 20 s for the first write in local mode.
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.driver.memory": "2g",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.extraJavaOptions": "-XX:+UseParallelGC -Duser.timezone=UTC",
}


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _fixtures(item) & {"spark", "table"}:
            item.add_marker(pytest.mark.spark)
        # Two test processes: one makes the finished river and runs all that starts from it; the other the rest, file by file.
        item.add_marker(pytest.mark.xdist_group("flow" if _is_of_the_finished_river(item) else f"{item.path.parent.name}/{item.path.stem}"))
    items.sort(key=lambda item: not _is_of_the_finished_river(item))


def _fixtures(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


def _is_of_the_finished_river(item: pytest.Item) -> bool:
    return "finished" in _fixtures(item)


@pytest.fixture(scope="session")
def spark_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("spark")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def spark(spark_folder: Path) -> Iterator[SparkSession]:
    """One local session for the whole run."""
    from recspark.runtime.session import start_session

    # What the machine does a second is measured once, and kept there.
    os.environ["XDG_CACHE_HOME"] = str(spark_folder / "cache")
    session = start_session({**SPARK_SETTINGS, "spark.sql.warehouse.dir": str(spark_folder)}, name="recspark-tests")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `spark-submit --py-files` takes it, built from a copy so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("package")
    root = Path(__file__).parents[1]
    for name in ("recspark", "jobs", "conf"):
        shutil.copytree(root / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(root / name, folder / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(folder / "source")], check=True)
    (wheel,) = folder.glob("recspark-*.whl")
    return wheel.rename(folder / "recspark.zip")


@pytest.fixture
def table(spark: SparkSession) -> Callable[[Table, Sequence[dict[str, Any]]], DataFrame]:
    """Rows of a table as a job's function gets them: without the columns that the runner stamps; what is left out is null."""
    from recspark.runtime.rows import as_frame

    def make(of: Table, rows: Sequence[dict[str, Any]]) -> DataFrame:
        columns = [column for column in of.columns if column.name not in STAMPED]
        data = [tuple(row.get(column.name) for column in columns) for row in rows]
        return as_frame(spark, data, ", ".join(f"`{column.name}` {column.type}" for column in columns))

    return make
