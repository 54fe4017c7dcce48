"""What a bench says: one row a comparison; medians, ratios, slopes; as JSON, on the screen, and as the README's table."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.table import Table

MIB = 1024**2


@dataclass(frozen=True)
class Check:
    """Whether both sides' outputs agree, and what was looked at."""

    ok: bool
    said: str


@dataclass(frozen=True)
class Measured:
    """One timed call on one side: seconds, and what its processes took meanwhile."""

    seconds: float
    cpu_seconds: float
    peak: dict[str, int]  # bytes by process: driver_python, driver_jvm, workers
    spark: dict[str, int] = field(default_factory=dict)  # bytes by metric, of the Spark tasks that ran
    result: Any = None


@dataclass(frozen=True)
class Row:
    """`ours` against `peer`, medians over `runs`; met where ratio (or `ours`, without a peer) <= target and the outputs agree."""

    name: str
    unit: str
    ours: float
    peer: float | None
    peer_name: str | None
    ratio: float | None
    target: float | None
    met: bool | None
    runs: int
    ours_runs: list[float]
    peer_runs: list[float]
    agrees: bool | None = None
    agreement: str = ""
    ours_cpu_s: float | None = None
    peer_cpu_s: float | None = None
    peak_mib: dict[str, float] = field(default_factory=dict)
    spark_mib: dict[str, float] = field(default_factory=dict)
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)  # unit -> what ours reached, what the machine can
    data: str = ""
    machine: str = ""
    date: str = ""


def machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        model = next((line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")), model)
    return f"{model}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total / 1024**3:.0f} GiB"


def compare(
    name: str,
    ours: Sequence[float],
    peer: Sequence[float] = (),
    peer_name: str | None = None,
    *,
    target: float | None = None,
    check: Check | None = None,
    unit: str = "s",
    data: str = "",
    ours_measured: Sequence[Measured] = (),
    peer_measured: Sequence[Measured] = (),
    limits: dict[str, tuple[float, float]] | None = None,
) -> Row:
    """The row of the medians of `ours` and `peer`; memory is the highest of all runs, CPU time and Spark's bytes medians.

    Raises:
        ValueError: seconds that are not above 0.
    """
    if unit == "s" and min([*ours, *peer]) <= 0:
        raise ValueError(f"{name}: {list(ours)} and {list(peer)} seconds: what was timed takes longer than no time")
    own, other = statistics.median(ours), statistics.median(peer) if peer else None
    ratio = own / other if other is not None else None
    agrees = check.ok if check else None
    met = None if target is None else (own if ratio is None else ratio) <= target and agrees is not False
    peaks: dict[str, float] = {}
    for run in ours_measured:
        for part, size in run.peak.items():
            peaks[part] = max(peaks.get(part, 0), round(size / MIB, 1))
    for run in peer_measured:
        peaks["peer"] = max(peaks.get("peer", 0), round(sum(run.peak.values()) / MIB, 1))
    metrics = {metric for run in ours_measured for metric in run.spark}
    spark = {metric: round(statistics.median(run.spark[metric] for run in ours_measured) / MIB, 1) for metric in sorted(metrics)}
    cpu = [statistics.median(run.cpu_seconds for run in runs) if runs else None for runs in (ours_measured, peer_measured)]
    return Row(
        name=name,
        unit=unit,
        ours=own,
        peer=other,
        peer_name=peer_name,
        ratio=ratio,
        target=target,
        met=met,
        runs=len(ours),
        ours_runs=list(ours),
        peer_runs=list(peer),
        agrees=agrees,
        agreement=check.said if check else "",
        ours_cpu_s=cpu[0],
        peer_cpu_s=cpu[1],
        peak_mib=peaks,
        spark_mib=spark,
        limits=limits or {},
        data=data,
        machine=machine(),
        date=datetime.now(UTC).date().isoformat(),
    )


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Of log seconds against log size, by least squares: 1 is proportional growth, 2 quadratic."""
    if len(set(sizes)) < 2:
        raise ValueError(f"sizes {list(sizes)}: a slope needs two different sizes")
    x, y = np.log(sizes), np.log(seconds)
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def write_json(rows: Iterable[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> list[Row]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Row(**{**row, "limits": {unit: tuple(both) for unit, both in row["limits"].items()}}) for row in rows]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _cells(row: Row) -> list[str]:
    def amount(value: float | None) -> str:
        return "" if value is None else f"{_number(value)} {row.unit}".strip()

    target = "" if row.target is None else f"<= {row.target:g}"
    met = {True: "yes", False: "no", None: ""}[row.met]
    peer = "" if row.peer is None else f"{amount(row.peer)} ({row.peer_name})"
    return [row.name, row.data, amount(row.ours), peer, _number(row.ratio), target, met]


_HEADS = ("work", "data", "recspark", "peer", "ratio", "target", "met")


def screen_table(rows: Iterable[Row]) -> Table:
    table = Table(title="medians; ratio = recspark / peer; met only where the outputs agree", title_justify="left")
    for head in _HEADS:
        table.add_column(head, justify="right" if head in ("recspark", "ratio", "target") else "left")
    for row in rows:
        table.add_row(*_cells(row), style="red" if row.met is False or row.agrees is False else "")
    return table


def details(row: Row) -> str:
    """What does not fit the table: agreement, CPU seconds, memory, Spark's bytes, how far from the machine's limit."""
    parts = [row.agreement] if row.agreement else []
    if row.ours_cpu_s is not None:
        against = f" against {row.peer_cpu_s:.1f}" if row.peer_cpu_s is not None else ""
        parts.append(f"CPU of the whole call {row.ours_cpu_s:.1f} s{against}")
    parts += [f"peak {part.replace('_', ' ')} {size:,.0f} MiB" for part, size in row.peak_mib.items()]
    parts += [f"{metric.replace('_', ' ')} {size:,.1f} MiB" for metric, size in row.spark_mib.items()]
    parts += [f"{reached:.3g} of {most:.3g} {unit} ({reached / most:.0%})" for unit, (reached, most) in row.limits.items()]
    return "; ".join(parts)


def markdown_table(rows: Sequence[Row]) -> str:
    lines = [f"| {' | '.join(_HEADS)} |", f"|{'---|' * len(_HEADS)}", *(f"| {' | '.join(_cells(row))} |" for row in rows)]
    where = sorted({(row.machine, row.date, row.runs) for row in rows})
    return "\n".join([*lines, "", *(f"{machine}; {date}; medians of {runs} run{'s' * (runs > 1)}." for machine, date, runs in where)])
