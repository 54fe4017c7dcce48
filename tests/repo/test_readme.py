"""The README's picture is the jobs', its commands exist, its map names every room."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
import yaml

from recspark.runtime.cli import app
from recspark.runtime.graph import draw_graph
from recspark.runtime.job import find_jobs

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(text: str) -> list[list[str]]:
    """The words of every `recspark ...` command in code, comments cut off."""
    found = re.findall(r"(?:^    |`)(?:\.venv/bin/)?(recspark [a-z][^`#\n]*)", text, flags=re.M)
    return [one.split() for one in found]


def problems_of(words: list[str]) -> str:
    """What is wrong with a command: its name or one of its options does not exist."""
    click = typer.main.get_command(app)
    command = click.commands.get(words[1])  # type: ignore[attr-defined]
    if command is None:
        return f"no command {words[1]}"
    known = {option for parameter in command.params for option in parameter.opts}
    strange = [word for word in words[2:] if word.startswith("--") and word not in known]
    return f"{words[1]} has no {strange[0]}" if strange else ""


def test_the_picture_is_drawn_from_the_jobs():
    drawn = f"<!-- graph: begin -->\n```mermaid\n{draw_graph(find_jobs().values())}\n```\n<!-- graph: end -->"
    assert drawn in README, "run: recspark graph, and put its output between the graph comments of README.md"


def test_every_command_and_option_exists():
    assert len(commands(README)) >= 8
    assert [problem for words in commands(README) if (problem := problems_of(words))] == []


def test_a_wrong_command_or_option_is_seen():
    assert problems_of(["recspark", "rum"]) == "no command rum"
    assert problems_of(["recspark", "run", "--confg", "x"]) == "run has no --confg"


def test_every_script_and_file_that_is_named_exists():
    named = set(re.findall(r"`((?:scripts|conf|recspark|jobs|tests)/[\w./]*\w)`", README)) | set(
        re.findall(r"^    (scripts/\w+)", README, flags=re.M)
    )
    assert len(named) > 12
    assert [name for name in sorted(named) if "NAME" not in name and not (ROOT / name).exists()] == []


def test_every_room_is_on_the_map():
    rooms = {path.name for path in (ROOT / "recspark").iterdir() if (path / "__init__.py").exists()}
    assert rooms == set(re.findall(r"^\| `recspark/(\w+)` ", README, flags=re.M))


def test_the_short_configuration_fits():
    from recspark.runtime import config

    block = README.split("In short:")[1].split("A log without times")[0]
    raw = {**config.load_layers(None, "local", []), **yaml.safe_load(block)}
    assert config.check(raw, find_jobs()).settings.splits.kind == "production"


@pytest.mark.parametrize("path", sorted((ROOT / "conf").rglob("*.yaml")), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_configuration_fits(path: Path):
    from recspark.runtime import config

    jobs = find_jobs()
    if path.name == "base.yaml" or path.parent.name in ("env", *config.FAMILIES):
        env = path.stem if path.parent.name == "env" else "local"
        minimal = {"events": {"path": "x.csv", "columns": {"user_id": "u", "item_id": "i", "event_at": "t"}, "types": {"view": 1}}}
        layers = config.load_layers(None, env, [f"{path.parent.name}={path.stem}"] if path.parent.name in config.FAMILIES else [])
        assert config.check({**layers, **minimal}, jobs)
    else:
        assert config.check(config.load_layers(str(path), "local", []), jobs)
