"""What a job amounts to, in counted things, and how long and how large that is on a machine whose rates are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from recspark.preflight.activity import Activity

# What the driver collects Spark holds once in its heap, and Python twice beside it: as it came, and as arrays.
DRIVER_COPIES = 3
# Bytes of a row of three or four columns in Spark's own shuffle.
SHUFFLED_ROW = 40


def size(n_bytes: float) -> str:
    """Bytes as a person says them."""
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.3g} {unit}"
    return f"{n_bytes / 1e3:.3g} KB"


class Rates(NamedTuple):
    """What one task slot does a second while all others are as busy."""

    least_squares: float  # floating point operations of conjugate gradients over observed pairs
    additions: float  # pairs added up
    products: float  # floating point operations of scores, selection and all
    inverse: float  # multiplications of a dense inverse in double precision
    rows: float  # rows through a shuffle of Spark and into a kernel
    moved: float  # entries of lists through a shuffle, and into a kernel
    sent: float  # bytes from task to task
    # And not of a slot, but seconds:
    start: float  # that a job takes, at however many horizons: its code is generated, and it and its row of `runs` are committed
    stage: float  # that it takes at each horizon, of a single row


@dataclass(frozen=True)
class Place:
    """Where a job runs: tasks at once, and the threads that a task may use."""

    n_slots: int
    n_threads: int = 1


class Step(NamedTuple):
    """Part of a job's work: so many of what a rate counts, spread evenly over so many slots."""

    rate: str
    amount: float
    n_slots: float


@dataclass(frozen=True)
class Work:
    """A job's work. Peaks are of Python's memory beside Spark's own; `shuffle_bytes` are before compression."""

    pairs: float  # what the work grows with: `unit` says which pairs
    unit: str
    flops: float
    steps: tuple[Step, ...]
    shuffle_bytes: float  # through Spark and from task to task, in all
    task_bytes: float  # peak of the busiest task
    driver_bytes: float  # peak of what passes through the driver
    iterations: int = 1
    sent_bytes: float = 0  # of shuffle_bytes: from task to task, in all iterations
    published_rows: float = 0.0  # rows of neighbours that pass through the driver as arrays, where a job reads them so
    refused: str = ""  # why the job itself will not do it, whatever the limits
    chosen: Mapping[str, Any] = field(default_factory=dict)  # knobs that were left to the forecast

    def seconds(self, rates: Rates) -> float:
        return rates.start + rates.stage + sum(step.amount / step.n_slots / getattr(rates, step.rate) for step in self.steps)


# The activity, the job's knobs and those it is told of other jobs, the place -> the work.
Forecaster = Callable[[Activity, Mapping[str, Any], Place], Work]
