"""Each side runs in a process of its own, so that memory and CPU time are its own; the parent watches the process and all below it."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.bench.rows import Measured

INTERVAL = 0.1  # seconds between two looks at the memory
# The task metrics of Spark's event log that are summed, by the names that rows give them.
METRICS = {
    "shuffle_written": ("Shuffle Write Metrics", "Shuffle Bytes Written"),
    "shuffle_read": ("Shuffle Read Metrics", "Local Bytes Read"),
    "shuffle_read_remote": ("Shuffle Read Metrics", "Remote Bytes Read"),
    "spilled": ("Disk Bytes Spilled",),
}


class EventLog:
    """Spark's event log (uncompressed, one file) as it grows."""

    def __init__(self, path: Path) -> None:
        self.path, self._offset = path, 0

    def since_last(self) -> dict[str, int]:
        """Bytes by the names of METRICS, over the tasks that ended since the last call."""
        totals: Counter[str] = Counter(dict.fromkeys(METRICS, 0))
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):  # still being written
                    break
                self._offset += len(line)
                if b'"SparkListenerTaskEnd"' in line:
                    totals.update(_task_bytes(json.loads(line).get("Task Metrics") or {}))
        return dict(totals)


def _task_bytes(metrics: dict[str, Any]) -> dict[str, int]:
    found = {}
    for name, path in METRICS.items():
        value: Any = metrics
        for key in path:
            value = value.get(key, {})
        found[name] = value or 0
    return found


def _part(process: psutil.Process, root: int) -> str:
    return "driver_python" if process.pid == root else "driver_jvm" if process.name() == "java" else "workers"


def _tree(root: psutil.Process) -> Iterator[psutil.Process]:
    yield root
    with suppress(psutil.NoSuchProcess):
        yield from root.children(recursive=True)


def _resident(root: psutil.Process) -> dict[str, int]:
    """Resident bytes by part; pages that forked workers share count in each."""
    sizes: Counter[str] = Counter()
    for process in _tree(root):
        with suppress(psutil.NoSuchProcess):
            sizes[_part(process, root.pid)] += process.memory_info().rss
    return dict(sizes)


def _cpu_seconds(root: psutil.Process) -> float:
    """User and system time of the living, each with that of the children it has buried."""
    total = 0.0
    for process in _tree(root):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


@contextmanager
def watched(pid: int) -> Iterator[dict[str, int]]:
    """Yields the peaks of resident bytes by part, which a thread keeps up to date until the end of the block."""
    root, peak, over = psutil.Process(pid), {}, threading.Event()

    def look() -> None:
        for part, size in _resident(root).items():
            peak[part] = max(peak.get(part, 0), size)

    def watch() -> None:
        while not over.wait(INTERVAL):
            look()

    look()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
        look()


def _in_words(function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """What fails in a side's process is told as text: errors of the JVM cannot be sent as they are."""
    try:
        return function(*arguments, **named)
    except Exception:
        raise RuntimeError(traceback.format_exc()) from None


class Side:
    """One process that keeps what it has loaded between calls. Functions must be importable; they run one at a time."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        self._pid: int = self._pool.submit(os.getpid).result()

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return self._pool.submit(_in_words, function, arguments, named).result()

    def measure(self, function: Callable[..., tuple[float, Any]], *arguments: Any, **named: Any) -> Measured:
        """`function` returns its own seconds, so that nothing of the way there and back is counted, and a result.

        A result that is a dict with the key `spark` brings Spark's bytes.
        """
        root = psutil.Process(self._pid)
        before = _cpu_seconds(root)
        with watched(self._pid) as peak:
            seconds, result = self.call(function, *arguments, **named)
        spark = result.pop("spark", {}) if isinstance(result, dict) else {}
        return Measured(seconds, _cpu_seconds(root) - before, dict(peak), spark, result)

    def close(self) -> None:
        self._pool.shutdown()
