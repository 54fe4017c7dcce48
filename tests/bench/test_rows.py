"""The arithmetic of the rows: medians, ratios, what is met, slopes, and the tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.bench.rows import MIB, Check, Measured, Row, compare, details, markdown_table, read_json, screen_table, slope, write_json

AGREED, DIFFERENT = Check(True, "equal"), Check(False, "list 3 differs")


def measured(seconds: float, **peak: int) -> Measured:
    return Measured(seconds, 2 * seconds, {part: size * MIB for part, size in peak.items()}, {"shuffle_written": int(seconds * 10) * MIB})


def test_medians_and_their_ratio():
    row = compare("ALS", [7.0, 3.0, 5.0], [2.0, 100.0, 10.0], "implicit", target=0.5, check=AGREED)
    assert (row.ours, row.peer, row.ratio, row.runs, row.met, row.agrees) == (5.0, 10.0, 0.5, 3, True, True)
    assert (row.ours_runs, row.peer_runs, row.peer_name) == ([7.0, 3.0, 5.0], [2.0, 100.0, 10.0], "implicit")


@pytest.mark.parametrize(
    ("ours", "peer", "target", "check", "met"),
    [
        (6.0, 10.0, 0.5, AGREED, False),
        (5.0, 10.0, 0.5, DIFFERENT, False),
        (5.0, 10.0, 0.5, None, True),
        (5.0, 10.0, None, AGREED, None),
        (1.1, None, 1.1, None, True),
        (1.2, None, 1.1, None, False),
    ],
)
def test_met_only_below_the_target_and_in_agreement(ours: float, peer: float | None, target: float | None, check: Check | None, met: bool):
    assert compare("work", [ours], [] if peer is None else [peer], "peer", target=target, check=check).met is met


def test_no_time_is_no_time():
    with pytest.raises(ValueError, match="longer than no time"):
        compare("ALS", [1.0], [-0.5], "MLlib", target=0.1)
    assert compare("growth", [-0.1], unit="", target=1.1).met


def test_memory_is_the_highest_and_sparks_bytes_the_median_of_the_runs():
    own = [measured(1, driver_python=100, driver_jvm=900, workers=50), measured(2, driver_python=120, driver_jvm=800), measured(4)]
    row = compare("work", [1, 2, 4], [1], "peer", ours_measured=own, peer_measured=[measured(1, driver_python=30, workers=12)])
    assert row.peak_mib == {"driver_python": 120, "driver_jvm": 900, "workers": 50, "peer": 42}
    assert row.spark_mib == {"shuffle_written": 20}
    assert (row.ours_cpu_s, row.peer_cpu_s) == (4, 2)
    said = details(compare("work", [1], [1], "peer", check=DIFFERENT, limits={"GFlop/s": (20.0, 80.0)}))
    assert said == "list 3 differs; 20 of 80 GFlop/s (25%)"


def test_slope():
    sizes = [10.0, 100.0, 1000.0]
    assert slope(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert slope(sizes, [7.0, 7.0, 7.0]) == pytest.approx(0)
    # Three points that lie on no line: numpy's least squares.
    assert slope(sizes, [1.0, 5.0, 120.0]) == pytest.approx(np.polyfit(np.log(sizes), np.log([1.0, 5.0, 120.0]), 1)[0])
    with pytest.raises(ValueError, match="two different sizes"):
        slope([10, 10], [1, 2])


@pytest.fixture
def rows() -> list[Row]:
    return [
        compare("ALS", [1.23456], [2.0], "implicit", target=0.7, check=AGREED, data="138 k x 26.7 k", limits={"GB/s": (1.0, 4.0)}),
        compare("slope", [1.2], target=1.1, unit=""),
    ]


def test_json_and_back(rows: list[Row], tmp_path: Path):
    write_json(rows, tmp_path / "new" / "rows.json")
    assert read_json(tmp_path / "new" / "rows.json") == rows


def test_tables(rows: list[Row]):
    assert markdown_table(rows).splitlines()[:4] == [
        "| work | data | recspark | peer | ratio | target | met |",
        "|---|---|---|---|---|---|---|",
        "| ALS | 138 k x 26.7 k | 1.23 s | 2 s (implicit) | 0.617 | <= 0.7 | yes |",
        "| slope |  | 1.2 |  |  | <= 1.1 | no |",
    ]
    assert markdown_table(rows).endswith(f"{rows[0].machine}; {rows[0].date}; medians of 1 run.")
    console = Console(width=160, record=True, quiet=True)
    console.print(screen_table(rows))
