"""What a session is made with; and what this machine lacks for one is said in one sentence, before Spark is started."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from recspark.errors import MachineError
from recspark.runtime.cluster import bare_python
from recspark.runtime.doctor import Check, check_java
from recspark.runtime.session import _beside_submitted, pass_on, require

ROOT = Path(__file__).parents[2]
CONFIG = """
warehouse: {warehouse}
events:
  path: events.csv
  columns: {{user_id: u, item_id: i, event_at: t}}
  types: {{view: 1}}
"""


def test_what_java_says_is_passed_on_but_for_the_modules_that_spark_asks_for(tmp_path: Path):
    said, to = os.pipe()
    answer = os.open(tmp_path / "err", os.O_WRONLY | os.O_CREAT)
    os.write(to, b"WARNING: Using incubator modules: jdk.incubator.vector\njava.lang.OutOfMemoryError: heap\n\tat x\ncut off")
    os.close(to)
    pass_on(said, answer)
    assert (tmp_path / "err").read_bytes() == b"java.lang.OutOfMemoryError: heap\n\tat x\ncut off"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter of its own, so that what scripts/setup recorded beside this one is not found."""
    return bare_python(tmp_path_factory.mktemp("python"))


def run(python: Path, folder: Path, warehouse: str = "warehouse") -> tuple[int, str]:
    """Exit status and standard error of `recspark run` where nothing is on the PATH and JAVA_HOME is not set."""
    (folder / "mine.yaml").write_text(CONFIG.format(warehouse=warehouse))
    environment = {**os.environ, "PATH": str(folder), "PYTHONPATH": str(ROOT)}
    for name in ("JAVA_HOME", "PYSPARK_GATEWAY_PORT"):
        environment.pop(name, None)
    command = [python, "-m", "recspark.runtime.cli", "run", "--config", "mine.yaml"]
    answer = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    return answer.returncode, answer.stderr


def old_java(folder: Path) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "java").write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    (folder / "bin" / "java").chmod(0o755)
    return folder


@pytest.mark.slow
def test_no_java_is_one_sentence_with_a_cure(python: Path, tmp_path: Path):
    assert run(python, tmp_path) == (
        1,
        "error: Java: none: JAVA_HOME is not set, no java on the PATH; wanted: 17 or 21. Cure: install a Java 17 (Debian: apt-get install "
        "openjdk-17-jre-headless) and set JAVA_HOME to it, or run scripts/setup\n",
    )


@pytest.mark.slow
def test_the_recorded_java_is_taken_where_java_home_is_not_set(python: Path, tmp_path: Path):
    record = python.parents[1] / "recspark-env"
    java = old_java(tmp_path / "a folder" / "jdk")
    record.write_text(f"export JAVA_HOME={str(java).replace(' ', chr(92) + ' ')}\n")
    try:
        status, said = run(python, tmp_path)
    finally:
        record.unlink()
    assert (status, said.partition(";")[0]) == (1, f"error: Java: 11.0.2 ({java}/bin/java)")


@pytest.mark.slow
def test_a_warehouse_that_cannot_be_written_is_one_sentence_with_a_cure(python: Path, tmp_path: Path):
    (tmp_path / "taken").write_text("a file, below which nobody can write")
    status, said = run(python, tmp_path, "taken/warehouse")
    assert (status, said) == (
        1,
        f"error: Warehouse: {tmp_path}/taken: Not a directory; wanted: a folder to write in. "
        f"Cure: give yourself write access to {tmp_path}/taken, or set warehouse to another folder\n",
    )


def test_java_home_stands_above_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "recspark-env").write_text("export JAVA_HOME=/recorded\n")
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert check_java().found == "/recorded/bin/java does not start (FileNotFoundError)"
    monkeypatch.setenv("JAVA_HOME", str(old_java(tmp_path / "jdk")))
    assert check_java().found == f"11.0.2 ({tmp_path}/jdk/bin/java)"


def test_a_check_that_failed_is_raised():
    require(Check("Disk", "9 GiB free", "2 GiB free", True))
    with pytest.raises(MachineError, match=r"Disk: 1 GiB free; wanted: 2 GiB free\. Cure: free some space"):
        require(Check("Disk", "1 GiB free", "2 GiB free", False, "free some space"))


def test_master_and_sizes_of_spark_submit_stay():
    ours = {"spark.master": "local[*]", "spark.driver.memory": "3g", "spark.executor.cores": "4", "spark.sql.shuffle.partitions": "4"}
    submitted = {"spark.master": "spark://host:7077", "spark.driver.memory": "8g", "spark.sql.shuffle.partitions": "200"}
    assert _beside_submitted(ours, submitted) == {"spark.executor.cores": "4", "spark.sql.shuffle.partitions": "4"}


def test_processes_on_executors_find_what_was_submitted():
    submitted = {"spark.submit.pyFiles": "/here/dist/recspark.zip,s3://there/ours.zip"}
    assert _beside_submitted({}, submitted) == {"spark.executorEnv.PYTHONPATH": "recspark.zip:ours.zip"}
