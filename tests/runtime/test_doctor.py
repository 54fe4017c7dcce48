"""Each row of the doctor is seen to fail, on scratch folders and scratch paths; a missing thing is never an error."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from recspark.runtime import doctor
from recspark.runtime.doctor import Check, examine, print_doctor


def row(name: str, warehouse: Path) -> Check:
    return next(check for check in examine(warehouse) if check.name == name)


def fake_java(folder: Path, says: str) -> Path:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    program.chmod(0o755)
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """No packages to load: the rows under test are others."""
    monkeypatch.setattr(doctor, "_PACKAGES", {})


@pytest.mark.parametrize(
    ("says", "found", "ok"),
    [
        ('openjdk version "17.0.15" 2025-04-15', "17.0.15", True),
        ('java version "21.0.2" 2024-01-16 LTS', "21.0.2", True),
        ('openjdk version "21" 2023-09-19', "21", True),
        ('openjdk version "11.0.2" 2019-01-15', "11.0.2", False),
        ('java version "1.8.0_392"', "1.8.0_392", False),
        ('openjdk version "25.0.3" 2026-04-21', "25.0.3", False),
        ("this is something else", "does not tell its version", False),
    ],
)
def test_java_is_that_of_java_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None, says: str, found: str, ok: bool) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "jdk", says)))
    java = row("Java", tmp_path)
    assert (java.ok, found in java.found, bool(java.cure)) == (ok, True, not ok)


def test_java_home_without_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    java = row("Java", tmp_path)
    assert not java.ok
    assert java.found == f"{tmp_path}/bin/java does not start (FileNotFoundError)"


def test_no_java_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))  # where scripts/setup records a Java
    monkeypatch.setenv("PATH", str(tmp_path))
    java = row("Java", tmp_path)
    assert not java.ok
    assert java.found == "none: JAVA_HOME is not set, no java on the PATH"
    assert "openjdk-17-jre-headless" in java.cure


def test_python_of_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 13, 0, "final", 0))
    python = row("Python", tmp_path)
    assert not python.ok
    assert python.found.startswith("3.13.0 ")


def test_a_package_of_a_wrong_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "numpy-2.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 2.1.0\n")
    monkeypatch.setattr(doctor, "_PACKAGES", {"numpy": doctor._PACKAGES["numpy"]})
    monkeypatch.syspath_prepend(str(tmp_path))
    numpy = row("numpy", tmp_path)
    assert (numpy.ok, numpy.found) == (False, "2.1.0")
    assert "-c conf/constraints.txt numpy" in numpy.cure


def test_a_package_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PACKAGES", {"torch": doctor._PACKAGES["torch"]})
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    torch = row("torch", tmp_path)
    assert (torch.ok, torch.found) == (False, "not installed")
    assert "recspark[torch]" in torch.cure


def test_a_package_that_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "petastorm-0.13.9.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: petastorm\nVersion: 0.13.9\n")
    (tmp_path / "petastorm.py").write_text("raise OSError('libsomething.so: no such file')\n")
    monkeypatch.setattr(doctor, "_PACKAGES", {"petastorm": doctor._PACKAGES["petastorm"]})
    monkeypatch.delitem(sys.modules, "petastorm", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    petastorm = row("petastorm", tmp_path)
    assert (petastorm.ok, petastorm.found) == (False, "0.13.9, which does not load: libsomething.so: no such file")


def test_spark_without_delta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "spark-core_2.13-4.0.5.jar").touch()
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    jar = row("Delta jar", tmp_path)
    assert (jar.ok, jar.found) == (False, f"none in {tmp_path}/jars")
    (tmp_path / "jars" / "io.delta_delta-spark_4.0_2.13-4.4.0.jar").touch()
    assert row("Delta jar", tmp_path).ok


def test_no_torch_is_no_gpu_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    gpu = row("GPU", tmp_path)
    assert (gpu.ok, gpu.found) == (True, "unknown: torch does not load")


def test_a_warehouse_that_cannot_be_made(tmp_path: Path, small: None) -> None:
    (tmp_path / "taken").write_text("a file")
    warehouse = row("Warehouse", tmp_path / "taken" / "warehouse")
    assert not warehouse.ok
    assert warehouse.found == f"{tmp_path}/taken: Not a directory"
    assert str(tmp_path / "taken") in warehouse.cure


def test_a_warehouse_that_will_be_made_is_left_to_the_run(tmp_path: Path, small: None) -> None:
    assert row("Warehouse", tmp_path / "a" / "b").ok
    assert list(tmp_path.iterdir()) == []


def test_a_warehouse_elsewhere_is_not_looked_for_here(small: None) -> None:
    checks = {check.name: check for check in examine("s3://lake/recs")}
    assert checks["Warehouse"].found == "s3://lake/recs"
    assert "Disk" not in checks


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    monkeypatch.setattr(doctor, "_FREE_BYTES", 2**70)
    assert not row("Disk", tmp_path).ok


def test_the_table_shows_the_cure_below_what_fails() -> None:
    said = io.StringIO()
    checks = [Check("Java", "17", "17 or 21", True), Check("torch", "not installed", "any", False, "pip install 'recspark[torch]'")]
    assert not print_doctor(checks, Console(file=said, width=120))
    assert "cure: pip install 'recspark[torch]'" in said.getvalue()
    assert "1 of 2 need care: torch" in said.getvalue()
    assert print_doctor(checks[:1], Console(file=io.StringIO()))
