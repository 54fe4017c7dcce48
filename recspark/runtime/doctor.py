"""What this machine has and what recspark wants of it: one row a thing, with the cure where they differ."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from rich.console import Console
from rich.markup import escape
from rich.table import Table

# Package -> (first version that fits, first that no longer does, why).
_PACKAGES: dict[str, tuple[str, str, str]] = {
    "pyspark": ("4.0", "4.1", "4.1 wants a pyarrow that petastorm cannot read with"),
    "delta-spark": ("4.0", "5", "the Delta of Spark 4"),
    "pyarrow": ("11", "15", "petastorm breaks from 15 on"),
    "petastorm": ("0.13", "0.14", "the reader of the hand-over"),
    "numpy": ("1.24", "2", "pyarrow 14 and petastorm are built for numpy 1"),
    "torch": ("2.1", "2.13", "2.13 wants a setuptools that petastorm does not bear"),
}
_MODULES = {"delta-spark": "delta.tables"}
_EXTRAS = {"pyspark": "spark", "delta-spark": "spark", "pyarrow": "spark", "petastorm": "torch", "torch": "torch", "numpy": "spark"}
_SETUP = "run scripts/setup"
_JAVA_CURE = "install a Java 17 (Debian: apt-get install openjdk-17-jre-headless) and set JAVA_HOME to it, or run scripts/setup"
_FREE_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `cure` is empty where `ok`."""

    name: str
    found: str
    wanted: str
    ok: bool
    cure: str = ""


def _check_python() -> Check:
    found = sys.version_info[:2]
    ok = (3, 11) <= found <= (3, 12)
    cure = "" if ok else "install Python 3.11 or 3.12, remove .venv and run scripts/setup"
    return Check("Python", f"{'.'.join(map(str, sys.version_info[:3]))} ({sys.executable})", "3.11 or 3.12", ok, cure)


def recorded_java_home() -> str | None:
    """The Java that scripts/setup found and recorded beside this environment's packages; None where it recorded none."""
    record = Path(sys.prefix, "recspark-env")
    found = re.search(r"^export JAVA_HOME=(.+)$", record.read_text(), flags=re.M) if record.is_file() else None
    return "".join(shlex.split(found[1])) if found else None


def check_java() -> Check:
    """The Java that Spark would start: that of JAVA_HOME where it is set, else what was recorded, else the first on the PATH."""
    wanted = "17 or 21"
    home = os.environ.get("JAVA_HOME") or recorded_java_home()
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None:
        return Check("Java", "none: JAVA_HOME is not set, no java on the PATH", wanted, False, _JAVA_CURE)
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("Java", f"{java} does not start ({type(error).__name__})", wanted, False, _JAVA_CURE)
    version = re.search(r'version "(\d+)(?:\.(\d+))?[^"]*"', answer.stderr + answer.stdout)
    if version is None:
        return Check("Java", f"{java} does not tell its version", wanted, False, _JAVA_CURE)
    # Java 8 calls itself 1.8. From 23 on, what Hadoop's login calls (Subject.getSubject) raises.
    major = int(version[2]) if version[1] == "1" else int(version[1])
    ok = 17 <= major <= 22
    return Check("Java", f"{version[0].split(chr(34))[1]} ({java})", wanted, ok, "" if ok else _JAVA_CURE)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def _import(package: str) -> ModuleType:
    """The package itself: that it is installed does not say that it can be loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(_MODULES.get(package, package))


def _check_package(package: str) -> Check:
    first, beyond, why = _PACKAGES[package]
    wanted = f">= {first}, < {beyond}: {why}"
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        cure = f"{_SETUP}, or pip install -c conf/constraints.txt 'recspark[{_EXTRAS[package]}]'"
        return Check(package, "not installed", wanted, False, cure)
    if not _numbers(first) <= _numbers(version) < _numbers(beyond):
        return Check(package, version, wanted, False, f"pip install -c conf/constraints.txt {package}, or {_SETUP}")
    try:
        _import(package)
    except Exception as error:  # whatever a broken package raises while it loads is what there is to report
        return Check(package, f"{version}, which does not load: {error}"[:200], wanted, False, f"remove .venv and {_SETUP}")
    return Check(package, version, wanted, True)


def _check_delta_jar() -> Check:
    wanted = "beside Spark's jars, so that no session fetches it"
    try:
        spark = os.environ.get("SPARK_HOME") or str(Path(str(_import("pyspark").__file__)).parent)
    except Exception:  # reported under pyspark
        return Check("Delta jar", "no Spark to look in", wanted, False, _SETUP)
    jars = sorted(Path(spark, "jars").glob("*delta-spark_*.jar"))
    if not jars:
        return Check("Delta jar", f"none in {Path(spark, 'jars')}", wanted, False, f"{_SETUP}, which fetches it once")
    return Check("Delta jar", ", ".join(jar.name for jar in jars), wanted, True)


def _check_gpu() -> Check:
    wanted = "none is fine: training then uses the CPU"
    try:
        torch = _import("torch")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        found = ", ".join(torch.cuda.get_device_name(i) for i in range(count)) or "none"
    except Exception:  # a torch that is missing or broken is reported under torch
        found = "unknown: torch does not load"
    return Check("GPU", found, wanted, True)


def _nearest_folder(path: Path) -> Path:
    return next(parent for parent in [path, *path.parents] if parent.exists())


def check_warehouse(warehouse: str) -> Iterator[Check]:
    """Whether a local warehouse can be written, and then whether its disk has room; of a URL nothing is known."""
    if re.match(r"^(?!file:)\w[\w+.-]*:", warehouse):
        yield Check("Warehouse", warehouse, "a folder to write in", True)
        return
    path = Path(re.sub(r"^file:/{0,2}(?=/)", "", warehouse)).absolute()
    nearest = _nearest_folder(path)
    wanted = "a folder to write in"
    cure = f"give yourself write access to {nearest}, or set warehouse to another folder"
    try:
        with tempfile.TemporaryFile(dir=nearest):
            yield Check("Warehouse", f"{path}{'' if path.exists() else ' (will be made)'}", wanted, True)
    except OSError as error:
        yield Check("Warehouse", f"{nearest}: {error.strerror or error}", wanted, False, cure)
    free = shutil.disk_usage(nearest).free
    ok = free >= _FREE_BYTES
    cure = "" if ok else f"free some space below {nearest}, or set warehouse to another disk"
    yield Check("Disk", f"{free / 1024**3:.1f} GiB free", f"{_FREE_BYTES / 1024**3:.0f} GiB free", ok, cure)


def examine(warehouse: str | os.PathLike[str] = "warehouse") -> list[Check]:
    """Look at everything that recspark needs of this machine. Missing and broken packages are rows, never errors."""
    return [
        _check_python(),
        check_java(),
        *(_check_package(package) for package in _PACKAGES),
        _check_delta_jar(),
        _check_gpu(),
        *check_warehouse(os.fspath(warehouse)),
    ]


def print_doctor(checks: Sequence[Check], console: Console) -> bool:
    """Print what `examine` found, a cure below each row that fails. True when nothing fails."""
    table = Table(title="What this machine has", title_justify="left")
    for heading in ("", "What", "Found", "Wanted"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        mark = "[green]ok[/]" if check.ok else "[bold red]no[/]"
        table.add_row(mark, check.name, escape(check.found), escape(check.wanted))
        if not check.ok:
            table.add_row("", "", f"[yellow]cure: {escape(check.cure)}[/]", "")
    console.print(table)
    failing = [check.name for check in checks if not check.ok]
    console.print(f"[bold red]{len(failing)} of {len(checks)} need care: {', '.join(failing)}[/]" if failing else "[green]All is well.[/]")
    return not failing
