"""House rules that a file can be read for: length, empty package files, configurations that say what they are for, no Spark internals."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from recspark.runtime.cli import app

ROOT = Path(__file__).parents[2]
MAX_LINES = 320
COMMANDS = "|".join(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
COMMAND = re.compile(rf'\brecspark ({COMMANDS})\b.*|spark-submit .*|scripts/\w+.*|"run", "--config".*')
SPARK_ROOMS = ("interactions", "features", "candidates", "examples", "recommendations", "evaluation")
# Spark Connect and shared clusters refuse them.
REFUSED = frozenset({"rdd", "_jvm", "_jdf", "_jsc", "sparkContext", "SparkContext", "SparkFiles", "broadcast_variable"})


def python_files(root: Path) -> Iterator[Path]:
    for folder in ("recspark", "jobs", "tests"):
        yield from sorted((root / folder).rglob("*.py"))


def long_files(root: Path) -> list[str]:
    lengths = {path: len(path.read_text().splitlines()) for path in python_files(root)}
    return [f"{path.relative_to(root)}: {n} lines" for path, n in lengths.items() if n > MAX_LINES]


def full_package_files(root: Path) -> list[str]:
    """Package files that hold something; recspark/tables, which lists the tables, may."""
    files = [path for path in python_files(root) if path.name == "__init__.py" and path.parent != root / "recspark" / "tables"]
    return [str(path.relative_to(root)) for path in files if path.read_text().strip()]


def silent_configurations(root: Path) -> list[str]:
    """YAML files that do not begin with a comment that holds the command that uses the file, and some words beside it."""
    silent = []
    for path in sorted((root / "conf").rglob("*.yaml")):
        lines = path.read_text().splitlines()
        head = [line.lstrip("# ") for line in lines[: next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))]]
        words = [word for line in head for word in COMMAND.sub("", line).split()]
        if len(words) < 3 or not any(COMMAND.search(line) for line in head):
            silent.append(str(path.relative_to(root)))
    return silent


def spark_internals(root: Path) -> list[str]:
    """Where a Spark room reaches for something that Spark Connect does not have."""
    found = []
    for room in SPARK_ROOMS:
        for path in sorted((root / "recspark" / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                name = node.attr if isinstance(node, ast.Attribute) else node.name if isinstance(node, ast.alias) else ""
                if name in REFUSED:
                    found.append(f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)} {name}")
    return found


@pytest.mark.parametrize("find", [long_files, full_package_files, silent_configurations, spark_internals])
def test_the_house_rules_hold_here(find: Callable[[Path], list[str]]) -> None:
    assert find(ROOT) == []


@pytest.mark.parametrize(
    ("find", "path", "content", "found"),
    [
        (long_files, "recspark/features/long.py", "x = 1\n" * 321, "recspark/features/long.py: 321 lines"),
        (full_package_files, "recspark/features/__init__.py", "from os import path\n", "recspark/features/__init__.py"),
        (full_package_files, "jobs/__init__.py", "x = 1\n", "jobs/__init__.py"),
        (silent_configurations, "conf/mine.yaml", "warehouse: here\n# recspark run --config conf/mine.yaml\n", "conf/mine.yaml"),
        (silent_configurations, "conf/env/mine.yaml", "# For my machine.\n# Used with great care.\nspark: {}\n", "conf/env/mine.yaml"),
        (silent_configurations, "conf/bare.yaml", "# recspark run --config conf/bare.yaml\nwarehouse: here\n", "conf/bare.yaml"),
        (silent_configurations, "conf/old.yaml", "# For nights gone by.\n#   recspark replay RUN\nwarehouse: here\n", "conf/old.yaml"),
        (spark_internals, "recspark/features/wide.py", "def f(frame):\n    return frame.rdd.map(len)\n", "recspark/features/wide.py:2 rdd"),
        (
            spark_internals,
            "recspark/candidates/deep.py",
            "from pyspark import SparkContext\n",
            "recspark/candidates/deep.py:1 SparkContext",
        ),
    ],
)
def test_a_broken_house_rule_is_found(tmp_path: Path, find: Callable[[Path], list[str]], path: str, content: str, found: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(content)
    assert find(tmp_path) == [found]


def test_what_the_house_rules_allow_is_not_found(tmp_path: Path) -> None:
    for path, content in {
        "recspark/features/__init__.py": "\n",
        "recspark/tables/__init__.py": "from recspark.tables.contract import Table\n",
        "recspark/features/fine.py": "x = 1\n" * 320,
        "recspark/runtime/session.py": "def f(session):\n    session.sparkContext.setLogLevel('ERROR')\n",
        "conf/mine.yaml": "# My shop's events.\n#   recspark run --config conf/mine.yaml\nwarehouse: here\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    assert [find(tmp_path) for find in (long_files, full_package_files, silent_configurations, spark_internals)] == [[], [], [], []]
