"""Which training process reads which rows, decided once. Plain data and arithmetic: no engine, no files opened.

Training. The order of an epoch is fixed by the seed alone, never by the number of processes: files are shuffled, the
rows of each file are shuffled, and the result is one sequence of rows. The sequence is cut into windows; within a
window of `t` steps, slot `s` of the global batch owns rows `s * t ... s * t + t - 1`, one a step. So every batch mixes
rows from all over the window, while a process, which owns neighbouring slots, reads one contiguous piece of it.
A window should hold at least a file per process, else two processes read the same file.
Sample number `p` of an epoch is slot `p % global_batch_size` of step `p // global_batch_size`: a place from which any
number of processes can go on.

Scoring. The files in order, cut into contiguous shares; nothing is padded.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from recspark.errors import HandoverError


@dataclass(frozen=True)
class PlannedColumn:
    """A column as the contract types it (`bigint`, `float`, `array<int>`); `length` is that of every list, 0 for scalars."""

    name: str
    type: str
    length: int


@dataclass(frozen=True)
class PlannedFile:
    """A Parquet file: its URL as fsspec reads it (nothing is percent-encoded), and its rows."""

    url: str
    n_rows: int


@dataclass(frozen=True)
class RowRange:
    """Rows `start` to `stop` of file number `file`; with `order`, of that file shuffled by this seed."""

    file: int
    start: int
    stop: int
    order: int | None = None

    @property
    def n_rows(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Window:
    """A process's part of a window: `n_slots` slots of `n_steps` rows each, slot by slot.

    `ranges` hold the rows that exist; the rest, at the end, is padding. Steps before `first_step` are already done.
    """

    n_slots: int
    n_steps: int
    first_step: int
    ranges: tuple[RowRange, ...]

    @property
    def n_rows(self) -> int:
        return sum(piece.n_rows for piece in self.ranges)


@dataclass(frozen=True)
class Plan:
    """The files of a hand-over table at one pinned version and horizon, in a fixed order."""

    table: str
    version: int
    horizon: str
    columns: tuple[PlannedColumn, ...]
    files: tuple[PlannedFile, ...]

    @property
    def n_rows(self) -> int:
        return sum(file.n_rows for file in self.files)

    def column(self, name: str) -> PlannedColumn:
        """The column called `name`.

        Raises:
            HandoverError: the plan has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise HandoverError(f"the plan of table {self.table!r} has no column {name!r}; it has {', '.join(c.name for c in self.columns)}")

    def select(self, names: Sequence[str]) -> Plan:
        """The same plan, reading only these columns."""
        return replace(self, columns=tuple(self.column(name) for name in names))

    def digest(self) -> str:
        """A hash of what is read: equal digests, equal rows in equal order.

        Not the table's version, which another horizon's write raises, nor where the table lies: a file's name is its own.
        """
        columns = [[column.name, column.type, column.length] for column in self.columns]
        files = [[file.url.rsplit("/", 1)[-1], file.n_rows] for file in self.files]
        return hashlib.sha256(json.dumps([self.table, self.horizon, columns, files]).encode()).hexdigest()[:24]

    def summary(self) -> dict[str, str | int]:
        """What was read, for a model's card."""
        return {"table": self.table, "version": self.version, "horizon": self.horizon, "n_rows": self.n_rows, "digest": self.digest()}

    def n_steps(self, global_batch_size: int, window_rows: int) -> int:
        """Steps of an epoch: the same for every process and for any number of them."""
        return sum(window.n_steps for window in _windows(self.n_rows, global_batch_size, window_rows))

    def training_share(
        self,
        process_rank: int,
        world_size: int,
        *,
        seed: int,
        epoch: int,
        global_batch_size: int,
        window_rows: int,
        first_sample: int = 0,
    ) -> tuple[Window, ...]:
        """What one process reads in `epoch`, from sample number `first_sample` (a multiple of `global_batch_size`) on.

        Every row stands in exactly one window of one process; steps are equal for all processes. Process r owns slots
        `r * G // w` to `(r + 1) * G // w` of the global batch of G.

        Raises:
            HandoverError: more processes than samples in a global batch, or a first sample within a batch.
        """
        _check_process(process_rank, world_size)
        if world_size > global_batch_size:
            raise HandoverError(
                f"global_batch_size {global_batch_size} is smaller than {world_size} processes: a process would have nothing to do; "
                "raise global_batch_size or lower n_processes"
            )
        if first_sample % global_batch_size:
            raise HandoverError(
                f"sample {first_sample} is not the first of a batch of {global_batch_size}: go on with the global_batch_size begun with"
            )
        order = _Sequence(self._shuffled(seed, epoch))
        first_slot, stop_slot = _cut(global_batch_size, process_rank, world_size)
        steps_done = first_sample // global_batch_size
        windows = []
        for window in _windows(self.n_rows, global_batch_size, window_rows):
            if steps_done < window.n_steps:
                start = min(window.start + first_slot * window.n_steps, window.stop)
                stop = min(window.start + stop_slot * window.n_steps, window.stop)
                ranges = tuple(order.between(start, stop))
                windows.append(Window(stop_slot - first_slot, window.n_steps, steps_done, ranges))
            steps_done = max(0, steps_done - window.n_steps)
        return tuple(windows)

    def scoring_share(self, process_rank: int, world_size: int) -> tuple[RowRange, ...]:
        """What one process scores: contiguous rows in file order; all shares together are each row once."""
        _check_process(process_rank, world_size)
        order = _Sequence([RowRange(i, 0, file.n_rows) for i, file in enumerate(self.files)])
        return tuple(order.between(*_cut(self.n_rows, process_rank, world_size)))

    def sample_share(self, n_rows: int, *, seed: int) -> tuple[RowRange, ...]:
        """The first `n_rows` of a shuffled order, from few files: the same for every process."""
        return tuple(_Sequence(self._shuffled(seed, 0)).between(0, min(n_rows, self.n_rows)))

    def _shuffled(self, seed: int, epoch: int) -> list[RowRange]:
        """The epoch's order. A hash of file number, seed and epoch sorts the files: stable across machines and versions."""
        keyed = sorted((_hash(seed, epoch, i), i) for i in range(len(self.files)))
        return [RowRange(i, 0, self.files[i].n_rows, order=key) for key, i in keyed]


@dataclass(frozen=True)
class _Span:
    start: int
    stop: int
    n_steps: int


def _windows(n_rows: int, global_batch_size: int, window_rows: int) -> Iterator[_Span]:
    """Windows of whole steps; the last may be shorter, and its last slots partly padding."""
    rows = max(1, window_rows // global_batch_size) * global_batch_size
    for start in range(0, n_rows, rows):
        stop = min(start + rows, n_rows)
        yield _Span(start, stop, -(-(stop - start) // global_batch_size))


class _Sequence:
    """Whole files one after the other; none is empty."""

    def __init__(self, files: Sequence[RowRange]) -> None:
        self._files = files
        self._starts = [0, *accumulate(file.n_rows for file in files)]

    def between(self, start: int, stop: int) -> Iterator[RowRange]:
        """The parts of the files that hold rows `start` to `stop` of the whole."""
        place = bisect_right(self._starts, start) - 1
        while start < stop:
            begin, file = self._starts[place], self._files[place]
            end = min(stop, begin + file.n_rows)
            yield replace(file, start=start - begin, stop=end - begin)
            start, place = end, place + 1


def _cut(n: int, process_rank: int, world_size: int) -> tuple[int, int]:
    return process_rank * n // world_size, (process_rank + 1) * n // world_size


def _check_process(process_rank: int, world_size: int) -> None:
    if not 0 <= process_rank < world_size:
        raise HandoverError(f"process_rank {process_rank} of {world_size} processes does not exist; ranks are 0 to {world_size - 1}")


def _hash(*numbers: int) -> int:
    text = ",".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def make_plan(
    table: str, version: int, horizon: str, columns: Sequence[PlannedColumn], file_rows: Mapping[str, int] | Sequence[tuple[str, int]]
) -> Plan:
    """A plan over files given as URL -> rows. Files are put in the order of their URLs; files without rows are left out.

    Raises:
        HandoverError: the same file twice.
    """
    pairs = sorted(file_rows.items() if isinstance(file_rows, Mapping) else file_rows)
    if len({url for url, _ in pairs}) < len(pairs):
        raise HandoverError(f"table {table!r} at version {version} lists a file twice: its rows would be read twice")
    files = tuple(PlannedFile(url, n_rows) for url, n_rows in pairs if n_rows)
    return Plan(table, version, horizon, tuple(columns), files)
