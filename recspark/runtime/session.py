"""The Spark session: each setting with its reason."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from pyspark.sql import SparkSession

from recspark.runtime.config import conf_folder

# What recspark needs of any session, wherever it runs.
REQUIRED: dict[str, str] = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # All times are UTC: a session in another zone would shift cuts.
    "spark.sql.session.timeZone": "UTC",
    # Item-sized frames come to the driver, and kernels get their batches, as Arrow.
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # A value that does not parse is null and goes to quarantine; it must not fail the whole job.
    "spark.sql.ansi.enabled": "false",
    # Replace only the slices that a write names; never every partition that it happens to touch.
    "spark.sql.sources.partitionOverwriteMode": "static",
}


def start_session(settings: Mapping[str, str], name: str = "recspark") -> SparkSession:
    """The active session, or a new one, with `settings` (conf: `spark`) and what recspark requires.

    A session that spark-submit started keeps its master and sizes; settings of SQL are ours.
    """
    # The interpreter that runs the driver, not whichever `python3` is first on the path.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if settings.get("spark.master", "").startswith("local"):
        # Spark would guess an address from the host's name, and warn that it guessed.
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        # Warnings of Spark's own start-up are noise above the run's lines: conf/log4j2.properties keeps errors only.
        os.environ.setdefault("SPARK_CONF_DIR", str(conf_folder()))
    builder = SparkSession.builder.appName(name)
    for key, value in {**settings, **REQUIRED}.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session
