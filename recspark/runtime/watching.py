"""What a job's processes say of how far they are, by a file in its working folder (`PROGRESS`), passed on as lines for people."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from recspark.handover.files import PROGRESS, read_whole

# Seconds between two looks at the progress file.
LOOK_EVERY = 0.5

OnLine = Callable[[str], None]


def _progress_line(state: Mapping[str, Any]) -> str:
    """One line of a training's progress."""
    tuned = state.get(f"tune_{state.get('stop_on')}")
    tune = f"  tune {state['stop_on']} {tuned:.4f}, best epoch {state['best_epoch']}" if tuned is not None else ""
    return (
        f"epoch {state['epoch']}/{state['epochs']}  step {state['step']}/{state['n_steps']}  loss {state['loss']:.4f}{tune}  "
        f"{state['rows_per_second']:,.0f} rows/s, {state['waiting_share']:.1%} waiting  at most {state['remaining_seconds']:,} s left"
    )


@contextmanager
def watched(folder: str, on_line: OnLine | None) -> Iterator[None]:
    """Give `on_line` a line whenever the progress file in `folder` changes, and each note in it once; from a thread of its own."""
    if on_line is None:
        yield
        return
    ended = threading.Event()
    last = read_whole(f"{folder}/{PROGRESS}")
    told: set[str] = set()

    def tell(state: dict[str, Any]) -> None:
        note = state.pop("note", None)
        if note is not None and note not in told:
            told.add(note)
            on_line(note)
        if state:
            on_line(_progress_line(state))

    def look() -> None:
        nonlocal last
        while True:
            finished = ended.wait(LOOK_EVERY)
            data = read_whole(f"{folder}/{PROGRESS}")
            if data is not None and data != last:
                tell(json.loads(data))
            last = data
            if finished:
                return

    watcher = threading.Thread(target=look, name="recspark-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def call_watched(function: Callable[..., Any], arguments: Mapping[str, Any], folder: str, on_line: OnLine | None) -> Any:
    """`function(**arguments)`, `watched`."""
    with watched(folder, on_line):
        return function(**arguments)
