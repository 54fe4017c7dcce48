"""What a run says while it runs, on a terminal and in a log file."""

from __future__ import annotations

import io

from rich.console import Console

from recspark.runtime.progress import RiverProgress


def say(terminal: bool) -> str:
    said = io.StringIO()
    with RiverProgress(Console(file=said, width=100, force_terminal=terminal)) as progress:
        progress.expect(["clean_events", "histories", "champion", "splits"])
        progress.skip("clean_events")
        progress.expect(["histories", "champion"])  # no splits, as turns out
        progress.start("histories", ["fit", "serve"])
        progress.note("epoch 1 [loss 0.5]")
        progress.done("histories", "1,342 rows", 2.25)
        progress.done("champion", "", 0.5)
    return said.getvalue()


def test_a_log_gets_plain_lines() -> None:
    lines = [line.rstrip() for line in say(terminal=False).splitlines()]
    assert lines == [
        "kept  1/4  clean_events                        up to date",
        "      epoch 1 [loss 0.5]",
        "done  2/3  histories                           1,342 rows      2.2 s",
        "done  3/3  champion                                            0.5 s",
    ]


def test_a_terminal_sees_what_runs() -> None:
    said = say(terminal=True)
    assert "\x1b[" in said
    assert "1,342 rows" in said
