"""Jobs of the torch room: started as processes, their results taken back as rows of a table."""

from __future__ import annotations

import json
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from recspark.handover.plan import Plan
from recspark.handover.scores import scored_files
from recspark.runtime.config import Torch
from recspark.runtime.distribute import run_torch
from recspark.runtime.job import Job
from recspark.runtime.progress import RiverProgress
from recspark.runtime.store import Store
from recspark.tables import RANKERS, STAMPED


class TorchRunner:
    """Runs a torch job's function in `torch.n_processes` processes and makes a frame of what it returned."""

    def __init__(self, spark: SparkSession, store: Store, torch: Torch, progress: RiverProgress) -> None:
        self._spark, self._store, self._torch, self._progress = spark, store, torch, progress

    def run(self, job: Job, values: dict[str, Any], folder: str) -> DataFrame:
        """The rows for `job.writes`: the ranker's card, or the scores that the processes left in `folder`."""
        results = run_torch(
            self._spark,
            job.function,
            values,
            folder=folder,
            n_processes=self._torch.n_processes,
            local=self._torch.local,
            use_gpu=self._torch.use_gpu,
            on_line=self._progress.note,
        )
        if job.writes is RANKERS:
            return self._ranker(results[0], folder)
        plan = next(value for value in values.values() if isinstance(value, Plan))
        return self._scores(job, scored_files(results, folder, plan))

    def _ranker(self, card: dict[str, Any], folder: str) -> DataFrame:
        row = (folder, str(card["digest"]), json.dumps(card))
        return self._spark.createDataFrame([row], "folder string, digest string, card string")

    def _scores(self, job: Job, files: list[str]) -> DataFrame:
        columns = [column for column in job.writes.columns if column.name not in STAMPED]
        if not files:
            return self._spark.createDataFrame([], ", ".join(f"{column.name} {column.type}" for column in columns))
        return self._spark.read.parquet(*files).select(*(column.name for column in columns))
