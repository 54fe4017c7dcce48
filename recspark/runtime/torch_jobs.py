"""Jobs of the torch room: started as processes, their results taken back as rows of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from recspark.handover.plan import Plan
from recspark.handover.results import written_files
from recspark.runtime.config import Torch
from recspark.runtime.distribute import call_each, run_torch
from recspark.runtime.job import Job
from recspark.runtime.progress import RiverProgress
from recspark.runtime.rows import as_frame
from recspark.tables import STAMPED


class TorchRunner:
    """Runs a torch job's function in `torch.n_processes` processes and makes a frame of what it returned."""

    def __init__(self, spark: SparkSession, torch: Torch, progress: RiverProgress) -> None:
        self._spark, self._torch, self._progress = spark, torch, progress

    def run(self, job: Job, calls: Sequence[Mapping[str, Any]], folders: Sequence[str]) -> list[DataFrame]:
        """For each call the rows for `job.writes`: the trained model's card, or what the processes left in the call's folder.

        No rows where all processes returned None: there was nothing to train on, or nothing to score with.
        """
        by_process = run_torch(
            self._spark,
            call_each,
            {"module": job.function.__module__, "name": job.function.__qualname__, "calls": [dict(call) for call in calls]},
            folder=folders[0],
            n_processes=self._torch.n_processes,
            local=self._torch.local,
            use_gpu=self._torch.use_gpu,
            on_line=self._progress.note,
        )
        by_call = list(zip(*by_process, strict=True))
        return [self._rows(job, call, results, folder) for call, results, folder in zip(calls, by_call, folders, strict=True)]

    def _rows(self, job: Job, call: Mapping[str, Any], results: Sequence[Any], folder: str) -> DataFrame:
        stamped = {*STAMPED, *job.slice}
        columns = [column for column in job.writes.columns if column.name not in stamped]
        schema = ", ".join(f"{column.name} {column.type}" for column in columns)
        if all(result is None for result in results):
            return as_frame(self._spark, [], schema)
        if job.writes.artefact:
            return as_frame(self._spark, [(folder, results[0]["digest"], json.dumps(results[0]))], schema)
        plan = next(value for value in call.values() if isinstance(value, Plan))
        files = written_files(results, folder, plan)
        return self._spark.read.schema(schema).parquet(*files) if files else as_frame(self._spark, [], schema)
