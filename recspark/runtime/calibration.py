"""What this machine, or this cluster, does a second: measured once, by all task slots at the same time, and kept."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
from pyspark import BarrierTaskContext
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from recspark.handover.files import read_whole, remove, write_whole
from recspark.handover.peers import Peers, cannot_meet, meet
from recspark.preflight.rates import measure_slot
from recspark.preflight.work import Rates
from recspark.runtime.inputs import digest
from recspark.runtime.job import room_hash
from recspark.runtime.session import n_slots

# Rows, and the same number of entries in lists of this length.
_N_ROWS, _LENGTH = 1 << 20, 64


def _place() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recspark" / "rates.json"


def _processor() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _key(spark: SparkSession) -> str:
    """Other processors, another number of slots or other kernels are measured anew."""
    master = spark.conf.get("spark.master", "")
    return digest([master, n_slots(spark), _processor(), os.cpu_count(), room_hash("preflight")])


def _kept() -> dict[str, Mapping[str, float]]:
    try:
        kept: dict[str, Mapping[str, float]] = json.loads(read_whole(str(_place())) or b"{}")
    except (OSError, ValueError):
        return {}  # what cannot be read is measured again
    return kept


def rates_of(spark: SparkSession, warehouse: str, *, anew: bool = False) -> Rates:
    """The rates of this session's slots, as kept in the user's cache folder, or measured now (some seconds; `anew`: in any case).

    Some rows are committed below the warehouse to see how long that takes, and removed again.
    """
    key, kept = _key(spark), _kept()
    if anew or set(kept.get(key, ())) != set(Rates._fields):
        kept[key] = _measure(spark, f"{warehouse}/_work/calibration-{uuid.uuid4().hex}", _has_barriers(spark))._asdict()
        try:
            _place().parent.mkdir(parents=True, exist_ok=True)
            write_whole(str(_place()), json.dumps(kept, indent=1).encode())
        except OSError:
            pass  # nowhere to keep them: the next run measures again
    return Rates(**kept[key])


def _has_barriers(spark: SparkSession) -> bool:
    """Whether tasks may wait for each other."""
    return not cannot_meet(*(str(spark.conf.get(name, "")) for name in ("spark.dynamicAllocation.enabled", "spark.master")))


def _met() -> Peers:
    context = BarrierTaskContext.get()
    rank = context.partitionId()
    return meet(rank, context.getTaskInfos()[rank].address.rsplit(":", 1)[0], context.allGather)


def _measure(spark: SparkSession, folder: str, together: bool) -> Rates:
    """`together`: all slots at once; else each by itself, where `sent` is what it copies. `folder` is used, and is gone afterwards."""
    n = n_slots(spark)

    def slot(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            pass
        with _met() if together else Peers(0, [None]) as peers:
            found = json.dumps(measure_slot(peers))
        yield pa.RecordBatch.from_arrays([pa.array([found])], names=["found"])

    def n_entries(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_arrays([pa.array([sum(batch.num_rows for batch in batches)], pa.int64())], names=["n"])

    def through_a_shuffle(n_rows: int, n_listed: int = 0) -> float:
        began = time.perf_counter()
        columns = [(F.col("id") % 1009).cast("int").alias("item"), F.rand(1).alias("weight")]
        columns += [F.sequence(F.lit(1), F.lit(n_listed)).alias("items")] if n_listed else []
        rows = spark.range(0, n_rows, 1, n).select("id", *columns)
        rows.repartition(n, "item").mapInArrow(n_entries, "n bigint").collect()
        return time.perf_counter() - began

    found = [json.loads(row.found) for row in spark.range(0, n, 1, n).mapInArrow(slot, "found string", barrier=together).collect()]
    began = through_a_shuffle(1)
    start = began + 2 * _seconds_to_commit(spark, folder)
    stage, rows, lists = through_a_shuffle(1), through_a_shuffle(_N_ROWS), through_a_shuffle(_N_ROWS // _LENGTH, _LENGTH)
    rates = {name: statistics.median(one[name] for one in found) for name in found[0]}
    a_slot = _N_ROWS / n
    return Rates(**rates, rows=a_slot / max(rows - stage, 0.01), moved=a_slot / max(lists - stage, 0.01), start=start, stage=stage)


def _seconds_to_commit(spark: SparkSession, folder: str) -> float:
    """Of one row, to a table that is there."""
    try:
        for _ in range(2):
            began = time.perf_counter()
            spark.range(1).write.format("delta").mode("append").save(folder)
        return time.perf_counter() - began
    finally:
        remove(folder)
