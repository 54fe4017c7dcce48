"""What the session has for a task and the driver, and rates that are measured once."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from recspark.preflight.work import Rates
from recspark.runtime import calibration
from recspark.runtime.calibration import rates_of
from recspark.runtime.job import find_jobs
from recspark.runtime.preflight import Preflight, is_published, limits_of

GB = float(1 << 30)
NONE: dict[str, Any] = dict.fromkeys(("seconds", "shuffle_bytes", "task_bytes", "driver_bytes"))


@pytest.mark.parametrize(
    ("settings", "task", "driver", "origins"),
    [
        # 16 GB, less the driver's heap of 4, for two slots; results may be 1 GB unless said otherwise
        ({"spark.master": "local[2]", "spark.driver.memory": "4g"}, 6, 1, ("this machine's memory", "what spark.driver.maxResultSize")),
        ({"spark.master": "local[2]", "spark.driver.maxResultSize": "3g"}, 7.5, 1, ("this machine's memory", "what spark.driver.memory")),
        ({"spark.master": "local[2]", "spark.driver.memory": "2048m", "spark.driver.maxResultSize": "0"}, 7, 2, ("this machine's", "what spark.driver.m")),
        # Of a cluster's executors what lies beside the heap: the overhead, and what is given to Python.
        (
            {"spark.master": "spark://h:7077", "spark.executor.memory": "8g", "spark.executor.memoryOverhead": "1024", "spark.executor.cores": "4"},
            0.25,
            1,
            ("spark.executor.memoryOverhead", "what spark.driver.maxResultSize"),
        ),
        # a tenth of 20 GB, and 6 GB, for the two tasks that 4 cores run
        (
            {"spark.master": "yarn", "spark.executor.memory": "20g", "spark.executor.pyspark.memory": "6g", "spark.executor.cores": "4", "spark.task.cpus": "2"},
            4,
            1,
            ("spark.executor.memoryOverhead", "what spark.driver.maxResultSize"),
        ),
        # 40 % of 10 GB
        (
            {"spark.master": "k8s://h", "spark.executor.memory": "10g", "spark.executor.memoryOverheadFactor": "0.4"},
            4,
            1,
            ("spark.executor.memoryOverhead", "what spark.driver.maxResultSize"),
        ),
        # 384 MiB at least
        ({"spark.master": "yarn", "spark.executor.memory": "1g"}, 0.375, 1, ("spark.executor.memoryOverhead", "what spark.driver.maxResultSize")),
    ],
)  # fmt: skip
def test_limits_that_the_session_sets(settings: dict[str, str], task: float, driver: float, origins: tuple[str, str]):
    limits = limits_of(settings, NONE, 2, 16 * GB)
    assert (limits.task_bytes, limits.driver_bytes, limits.seconds, limits.shuffle_bytes) == (task * GB, 3 * driver * GB, None, None)
    assert [limits.origins[name].startswith(origin) for name, origin in zip(("task_bytes", "driver_bytes"), origins, strict=True)] == [
        True,
        True,
    ]


def test_limits_of_conf_win():
    limits = limits_of({}, {**NONE, "seconds": 60.0, "task_bytes": 5.0}, 2, 16 * GB)
    assert (limits.seconds, limits.task_bytes, limits.driver_bytes) == (60.0, 5.0, 3 * GB)
    assert set(limits.origins) == {"driver_bytes"}


def test_who_is_given_neighbours_as_arrays():
    """The source that proposes from them is; a list of similar items reads rows."""
    jobs = find_jobs()
    knn = jobs["neighbours_item_knn"]
    assert is_published(knn, jobs)
    assert is_published(knn, {name: jobs[name] for name in ("neighbours_item_knn", "source_candidates_item_knn")})
    assert not is_published(knn, {name: jobs[name] for name in ("neighbours_item_knn", "similar_items", "source_candidates_ease")})
    assert is_published(jobs["source_candidates_item_knn"], {})


def test_a_job_starts_no_faster_than_any_has_in_the_warehouse(monkeypatch):
    """Of 7 and 5 s; what the river does itself, in 1 s, is no job. Without any job it is as measured."""
    measured = Rates(*[1.0] * 7, start=2.0, stage=1.0)
    monkeypatch.setattr("recspark.runtime.preflight.rates_of", lambda spark, warehouse: measured)
    seconds = {("intake", "1"): 7.0, ("user_index", "1"): 5.0, ("deliveries", "1"): 1.0}

    def start_of(entries: dict[tuple[str, str], float]) -> float:
        ledger = SimpleNamespace(entries={key: SimpleNamespace(seconds=took) for key, took in entries.items()})
        inputs: Any = SimpleNamespace(store=SimpleNamespace(spark=None, warehouse=""), ledger=ledger, jobs=find_jobs())
        return Preflight(None, inputs).rates.start  # type: ignore[arg-type]

    assert (start_of(seconds), start_of({}), start_of({("intake", "1"): 0.5})) == (5.0, 2.0, 2.0)


def test_rates_are_measured_once_and_again_where_they_cannot_be_read(spark, monkeypatch, tmp_path):
    warehouse = str(tmp_path)
    first = rates_of(spark, warehouse)
    assert min(first) > 0
    place = calibration._place()
    assert rates_of(spark, warehouse) == first
    assert list(tmp_path.rglob("*.parquet")) == []
    # A job is committed, and its row of `runs`; a horizon is not.
    assert first.start > first.stage
    kept = json.loads(place.read_text())
    key = calibration._key(spark)
    place.write_text(json.dumps({**kept, key: {**kept[key], "start": 123.0}}))
    assert rates_of(spark, warehouse).start == 123.0
    place.write_text("{")
    # Under dynamic allocation each slot measures by itself.
    monkeypatch.setattr(calibration, "_has_barriers", lambda session: False)
    alone = rates_of(spark, warehouse)
    assert alone.start < 123.0
    assert min(alone) > 0
    assert set(json.loads(place.read_text())[key]) == set(first._fields)
