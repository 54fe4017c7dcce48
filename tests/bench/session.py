"""What all benches share: a scratch folder, two sides, rounds in which the sides take turns, and what is shown meanwhile."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.bench import ours
from tests.bench.data import Size, write_world
from tests.bench.rows import Measured, Row, compare, details
from tests.bench.sides import Side


@dataclass
class Bench:
    """A bench in progress; `memory` is of the JVM of the local session."""

    folder: Path
    cores: int
    runs: int
    memory: str
    peer: Side
    progress: Progress
    sides: ExitStack
    rows: list[Row] = field(default_factory=list)

    @cached_property
    def ours(self) -> Side:
        """The side with a local session, which is started when it is first asked for."""
        self.now("Spark is starting")
        settings = {"spark.master": f"local[{self.cores}]", "spark.driver.memory": self.memory}
        side, seconds = self.sides.enter_context(spark_side(self.folder, settings))
        self.say(f"Spark's start-up, in no figure: {seconds:.1f} s")
        return side

    def say(self, text: str) -> None:
        """A line that stays."""
        self.progress.console.print(escape(text), highlight=False, soft_wrap=True)

    def now(self, text: str) -> None:
        """What is being done."""
        if self.progress.console.is_terminal:
            self.progress.update(self.progress.task_ids[0], description=escape(text))
        else:
            self.say(text)

    def world(self, size: Size) -> str:
        """Its Parquet files, made once, outside of any figure."""
        self.now(f"world: {size}")
        return self.peer.call(write_world, size, self.folder)

    def rounds(
        self, label: str, own: Callable[[], Measured], other: Callable[[], Measured] | None = None, n: int | None = None
    ) -> tuple[list[Measured], list[Measured]]:
        """Each side in turn, `n` times (default: the bench's runs): what slows the machine meets both."""
        measured: tuple[list[Measured], list[Measured]] = ([], [])
        n = n or self.runs
        for run in range(n):
            for who, call, into in (("recspark", own, measured[0]), ("the peer", other, measured[1])):
                if call is not None:
                    self.now(f"{label}: {who}, run {run + 1} of {n}")
                    into.append(call())
        return measured

    def add(self, row: Row) -> None:
        self.rows.append(row)
        against = f", {row.peer_name} {row.peer:.4g} {row.unit}, ratio {row.ratio:.3g}" if row.ratio is not None else ""
        self.say(f"{row.name}: {row.ours:.4g} {row.unit}{against}")
        if said := details(row):
            self.say(f"  {said}")

    def add_pair(
        self, name: str, whole: str, peer_name: str, measured: tuple[list[Measured], list[Measured]], data: Size, **more: Any
    ) -> None:
        """Two rows: the strict one, the peer from arrays in memory; and the fair one, `whole`, both sides from the same Parquet files."""
        own, other = measured
        seconds = [run.seconds for run in own], [run.seconds for run in other]
        self.add(compare(name, *seconds, peer_name, data=str(data), ours_measured=own, peer_measured=other, **more))
        fair = [run.result.get("whole", run.seconds) for run in own], [run.result["whole"] for run in other]
        self.add(compare(f"{whole}, both from Parquet", *fair, peer_name, data=str(data), check=more.get("check")))


@contextmanager
def spark_side(scratch: Path, settings: dict[str, str]) -> Iterator[tuple[Side, float]]:
    """A side with a Spark session, and the seconds that the session took to start; it writes below `scratch`."""
    side = Side()
    try:
        yield side, side.call(ours.start, str(scratch), settings)
        side.call(ours.stop)
    finally:
        side.close()


@contextmanager
def open_bench(cores: int, runs: int, memory: str, console: Console) -> Iterator[Bench]:
    """All that is written is in a temporary folder, and gone at the end, as all processes are."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with tempfile.TemporaryDirectory(prefix="recspark-bench-") as scratch, Progress(*columns, console=console, transient=True) as progress:
        progress.add_task("starting", total=None)
        with ExitStack() as sides:
            yield Bench(Path(scratch), cores, runs, memory, sides.enter_context(closing(Side())), progress, sides)
