from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from recspark.handover.files import PROGRESS, write_whole
from recspark.runtime import watching
from recspark.runtime.watching import call_watched


def test_each_note_is_told_once_and_while_the_function_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_EVERY", 0.01)
    lines: list[str] = []
    heard = threading.Event()

    def say(state: dict[str, Any]) -> None:
        write_whole(f"{tmp_path}/{PROGRESS}", json.dumps(state).encode())

    def on_line(line: str) -> None:
        lines.append(line)
        heard.set()

    def work(n: int) -> int:
        say({"note": "one"})
        assert heard.wait(10)
        # Another file with the same note; and what is said last is told too.
        say({"note": "one", **training})
        say({"note": "two"})
        return n

    training = {"epoch": 1, "epochs": 2, "step": 3, "n_steps": 4, "loss": 0.5, "rows_per_second": 6.0, "waiting_share": 0.02}
    training |= {"remaining_seconds": 7}
    say({"note": "of the run before"})
    assert call_watched(work, {"n": 5}, str(tmp_path), on_line) == 5
    assert (lines[0], lines[-1]) == ("one", "two")
    assert lines.count("one") == 1
    # Nobody listens: nobody looks.
    heard.set()
    assert call_watched(work, {"n": 6}, str(tmp_path), None) == 6
    assert lines[-1] == "two"
