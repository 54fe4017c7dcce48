"""What the river is doing: a bar and a line a job on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar


class Progress(Protocol):
    """What the river tells a person while it runs."""

    def start(self, job: str, slices: list[str]) -> None: ...
    def done(self, job: str, wrote: str, seconds: float) -> None: ...
    def skip(self, job: str) -> None: ...
    def note(self, text: str) -> None: ...


class RiverProgress:
    """Shows the jobs of a run as they start and end.

    `console` defaults to standard error, so that standard output stays the run's result. Jobs may end in several threads.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._expected: set[str] = set()
        self._ended: set[str] = set()
        self._lock = threading.Lock()
        self._bar: Bar | None = None
        if self.console.is_terminal:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            self._bar = Bar(*columns, console=self.console, transient=True)
            self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> RiverProgress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def expect(self, jobs: Iterable[str]) -> None:
        """These jobs will run, or be found up to date, beside those that have ended: what was expected before does not count any more."""
        self._expected = self._ended | set(jobs)
        if self._bar:
            self._bar.update(self._task, total=len(self._expected))

    def start(self, job: str, horizons: Sequence[str] = ()) -> None:
        """`job` begins, for these horizons (or deliveries)."""
        at = f" at {', '.join(horizons)}" if horizons else ""
        if self._bar:
            self._bar.update(self._task, description=escape(f"{job}{at}"))

    def done(self, job: str, wrote: str, seconds: float) -> None:
        """`job` has written something: how many rows, in words, or nothing where they were not counted."""
        self._end("[green]done[/]", job, f"{wrote:>18}  {seconds:7.1f} s")

    def skip(self, job: str) -> None:
        """`job` is up to date."""
        self._end("[dim]kept[/]", job, f"{'up to date':>18}")

    def note(self, text: str) -> None:
        """Something worth a line: an epoch, a decision, a warning."""
        self.console.print(f"      {escape(text)}", highlight=False)

    def _end(self, mark: str, job: str, said: str) -> None:
        with self._lock:
            self._ended.add(job)
            total = len(self._expected)
            place = f"{len(self._ended):>{len(str(total))}}/{total}"
            self.console.print(f"{mark}  {place}  {escape(job):<28}{said}", highlight=False)
            if self._bar:
                self._bar.update(self._task, completed=len(self._ended), description="")
