"""Runs an iterator in a thread of its own, a bounded way ahead of who consumes it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
THREAD = "recspark-read-ahead"


def read_ahead(source: Iterator[T], n: int) -> Generator[T, None, None]:
    """`source`, run by a thread of its own, at most `n` items ahead.

    Its exception is raised here, in its place. The thread ends, and `source` is closed, when the consumer closes this iterator.
    """
    items: queue.Queue[tuple[str, Any]] = queue.Queue(n)
    closed = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not closed.is_set():
            try:
                items.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for value in source:
                if not put("item", value):
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)
        finally:
            # What it reads from may have a thread too.
            if hasattr(source, "close"):
                source.close()

    thread = threading.Thread(target=work, name=THREAD, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = items.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        closed.set()
        thread.join()
