"""The Spark session: each setting with its reason."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from recspark.errors import MachineError
from recspark.runtime.config import conf_folder
from recspark.runtime.doctor import Check, check_java, recorded_java_home

# What recspark needs of any session, wherever it runs.
REQUIRED: dict[str, str] = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # All times are UTC: a session in another zone would shift cuts.
    "spark.sql.session.timeZone": "UTC",
    # Item-sized frames come to the driver, and kernels get their batches, as Arrow.
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # Any smaller bound has the bytes of a batch counted again at every row on its way to Python, which takes longer than the way
    # (4.6 s instead of 1.0 s for 16.4 M rows of two numbers). Batches are bounded by rows: rows for Python are kept small.
    "spark.sql.execution.arrow.maxBytesPerBatch": str((1 << 31) - 1),
    "spark.sql.execution.arrow.maxRecordsPerBatch": "8192",
    # A value that does not parse is null and goes to quarantine; it must not fail the whole job.
    "spark.sql.ansi.enabled": "false",
    # A folder item=007 is the item 007, not the number 7.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    # pandas writes times in nanoseconds, which Spark refuses; as numbers they can be read, and become times again.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # Python would tell the JVM, four calls more a column, which line asked for it. (A seventh of a small river's time.)
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    # Replace only the slices that a write names; never every partition that it happens to touch.
    "spark.sql.sources.partitionOverwriteMode": "static",
}


# What Java says of a module that Spark itself asks for, each time that it starts; no setting keeps it silent.
NOISE = b"WARNING: Using incubator modules: "

# What spark-submit is told of these is where and how large the session is, and wins over conf: `spark`.
SUBMITTED = ("spark.master", "spark.driver.", "spark.executor.", "spark.cores.")


def start_session(settings: Mapping[str, str], name: str = "recspark") -> SparkSession:
    """The active session, or a new one, with `settings` (conf: `spark`) and what recspark requires.

    Under spark-submit its master and sizes stay, and training processes on executors find what --py-files brought.

    Raises:
        MachineError: a new session is wanted, and there is no Java to start it with.
    """
    # The interpreter that runs the driver, not whichever `python3` is first on the path.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        SparkContext._ensure_initialized()  # to the JVM that spark-submit started: without it its settings are not known yet
        settings = _beside_submitted(settings, dict(SparkConf().getAll()))
    elif SparkSession.getActiveSession() is None:
        _prepare_machine(settings)
    whole = {**settings, **REQUIRED}
    _start_jvm(whole)
    builder = SparkSession.builder.appName(name)
    for key, value in whole.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def _start_jvm(settings: Mapping[str, str]) -> None:
    """Where this process has none yet: what it says goes to standard error, but for NOISE."""
    if SparkContext._gateway is not None or "PYSPARK_GATEWAY_PORT" in os.environ:
        return
    reading, writing = os.pipe()
    threading.Thread(target=pass_on, args=(reading, os.dup(2)), name="recspark-jvm-errors", daemon=True).start()
    try:
        conf = SparkConf(loadDefaults=False).setAll(list(settings.items()))
        SparkContext._ensure_initialized(gateway=launch_gateway(conf, {"stderr": writing}))  # type: ignore[no-untyped-call]
    finally:
        os.close(writing)


def pass_on(reading: int, to: int) -> None:
    """Every line that comes from one file descriptor to the other, until the first ends; but for NOISE. Closes both."""
    with os.fdopen(reading, "rb") as lines, os.fdopen(to, "wb", buffering=0) as out:
        for line in lines:
            if not line.startswith(NOISE):
                out.write(line)


def _beside_submitted(settings: Mapping[str, str], submitted: Mapping[str, str]) -> dict[str, str]:
    """What is left to set where spark-submit has set `submitted`."""
    left = {key: value for key, value in settings.items() if not (key in submitted and key.startswith(SUBMITTED))}
    # Executors get these files into their working folder; the processes that a barrier task starts look only at PYTHONPATH.
    files = [place.rsplit("/", 1)[-1] for place in submitted.get("spark.submit.pyFiles", "").split(",") if place]
    return {**left, "spark.executorEnv.PYTHONPATH": ":".join(files)} if files else left


def _prepare_machine(settings: Mapping[str, str]) -> None:
    java = recorded_java_home()
    if java is not None:
        os.environ.setdefault("JAVA_HOME", java)
    require(check_java())
    if settings.get("spark.master", "").startswith("local"):
        # Spark would guess an address from the host's name, and warn that it guessed.
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        # Warnings of Spark's own start-up are noise above the run's lines: conf/log4j2.properties keeps errors only.
        folder = conf_folder()
        if isinstance(folder, Path):
            os.environ.setdefault("SPARK_CONF_DIR", str(folder))


def n_slots(session: SparkSession) -> int:
    """How many tasks run at once: what a stage whose tasks wait for each other may have at most."""
    scheduler = session.sparkContext._jsc.sc()
    profile = scheduler.resourceProfileManager().defaultResourceProfile()
    if not scheduler.maxNumConcurrentTasks(profile):
        session.range(1).count()  # no executor has come yet: a job waits for one
    return int(scheduler.maxNumConcurrentTasks(profile))


def require(check: Check) -> None:
    """Raises:
    MachineError: the check failed; says what was found, what is wanted, and the cure.
    """
    if not check.ok:
        raise MachineError(f"{check.name}: {check.found}; wanted: {check.wanted}. Cure: {check.cure}")
