"""Runs a function in several training processes at once, through Spark's TorchDistributor: on this machine, or as barrier tasks.

Results, errors and progress come back as small files in the job's working folder, whichever way the processes run.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import TextIOBase
from typing import Any

import fsspec
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

import recspark.errors
from recspark.errors import ConfigError, RecsparkError, TrainingError
from recspark.handover.files import read_whole, write_whole
from recspark.runtime.watching import OnLine, watched

# Seconds between two looks of a training process at who started it.
ORPHAN_EVERY = 0.2
# Lines of a dead process's output that its error shows.
TAIL = 25
TAIL_CHARACTERS = 20_000
# How launchers and Spark say that a process was killed.
KILLED = re.compile(r"SIGKILL|exit ?code *:? *(-9|137)\b")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def end_with_parent(driver: int | None) -> None:
    """From now on this process dies as soon as the one that started it, or `driver` (of this machine), is gone.

    The launcher gives its processes sessions of their own: a kill of the driver, or of all its group, passes them by.
    """
    parent = os.getppid()

    def look() -> None:
        # Who is orphaned before this looks is a child of process 1.
        while os.getppid() == parent != 1 and (driver is None or _is_alive(driver)):
            time.sleep(ORPHAN_EVERY)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=look, name="recspark-parent", daemon=True).start()


def _run_in_process(module: str, name: str, arguments: Mapping[str, Any], attempt: str, n_threads: int, driver: int | None) -> None:
    """In each training process: call the function, leave its result or its error behind."""
    end_with_parent(driver)
    import torch

    torch.set_num_threads(n_threads)
    process_rank = os.environ.get("RANK", "0")
    try:
        result = getattr(importlib.import_module(module), name)(**arguments)
    except BaseException as error:
        said = {"class": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
        write_whole(f"{attempt}/error-{process_rank}.json", json.dumps(said).encode())
        raise
    write_whole(f"{attempt}/result-{process_rank}.json", json.dumps(result).encode())


def call_each(module: str, name: str, calls: Sequence[Mapping[str, Any]]) -> list[Any]:
    """In each training process: one call after the other, so that several horizons cost one start."""
    function = getattr(importlib.import_module(module), name)
    return [function(**arguments) for arguments in calls]


def _name_of(function: Callable[..., Any]) -> tuple[str, str]:
    module, name = function.__module__, function.__qualname__
    found = None if module == "__main__" else getattr(importlib.import_module(module), name, None)
    if found is not function:
        raise ConfigError(f"{module}.{name} cannot be run in training processes: it must be a function of a module that they can import")
    return module, name


def _n_threads(spark: SparkSession, n_processes: int, local: bool) -> int:
    return max(1, (os.cpu_count() or 1) // n_processes) if local else int(spark.conf.get("spark.task.cpus", "1") or 1)


def refuse_dynamic_allocation(enabled: str) -> None:
    """Say why barrier tasks cannot run, before Spark waits for them, where `spark.dynamicAllocation.enabled` is true.

    Raises:
        ConfigError: it is.
    """
    if enabled.lower() == "true":
        raise ConfigError(
            "training processes on executors are Spark barrier tasks, which dynamic allocation excludes: set "
            "spark.dynamicAllocation.enabled=false with enough executors for torch.n_processes, or torch.local=true"
        )


class _Tail(TextIOBase):
    """Keeps the end of what TorchDistributor repeats of the processes' output: standard output belongs to the run's result."""

    def __init__(self) -> None:
        self._text = ""

    def write(self, text: str) -> int:
        self._text = (self._text + text)[-TAIL_CHARACTERS:]
        return len(text)

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._text.splitlines() if line.strip()][-TAIL:]


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


@contextmanager
def _environment(local: bool, use_gpu: bool, n_threads: int, output: TextIOBase) -> Iterator[None]:
    """What local processes inherit: where to import from, and how many threads are theirs. What they say goes to `output`."""
    wanted = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": str(n_threads)}
    if not use_gpu:
        wanted["CUDA_VISIBLE_DEVICES"] = ""
    before = {key: os.environ.get(key) for key in wanted}
    logger = logging.getLogger("TorchDistributor")
    logger.addFilter(_is_error)
    try:
        if local:
            os.environ.update(wanted)
        with redirect_stdout(output):
            yield
    finally:
        logger.removeFilter(_is_error)
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _read_json(url: str) -> Any:
    data = read_whole(url)
    return None if data is None else json.loads(data)


def _without_result(attempt: str, n_processes: int) -> list[int]:
    return [rank for rank in range(n_processes) if read_whole(f"{attempt}/result-{rank}.json") is None]


def _explain(attempt: str, n_processes: int, output: list[str]) -> RecsparkError:
    """The first cause: an error of ours, else a process that died without a word, else whatever was raised."""
    said = {rank: _read_json(f"{attempt}/error-{rank}.json") for rank in range(n_processes)}
    again = "run again to resume from the checkpoint"
    for rank, one in said.items():
        kind = getattr(recspark.errors, one["class"], None) if one else None
        if isinstance(kind, type) and issubclass(kind, RecsparkError):
            return kind(f"{one['message']} (training process {rank} of {n_processes})")
    # Where one process dies, the others fail for want of it: theirs are no causes.
    silent = [rank for rank in _without_result(attempt, n_processes) if said[rank] is None]
    if silent:
        ranks = ", ".join(map(str, silent))
        lines = "\n  ".join(output)
        # What a machine that runs out of memory does, or somebody's kill.
        killed = f" by SIGKILL: if memory ran out, lower n_processes, global_batch_size or embedding_size; {again}"
        how = killed if KILLED.search(lines) else f"; {again}"
        return TrainingError(f"training process {ranks} of {n_processes} died{how}. The last lines of its output:\n  {lines}")
    rank, one = next((rank, one) for rank, one in said.items() if one)
    lines = "\n  ".join(one["traceback"].strip().splitlines()[-TAIL:])
    return TrainingError(f"training process {rank} of {n_processes} failed; {again}. It said:\n  {lines}")


def run_torch(
    spark: SparkSession,
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    folder: str,
    n_processes: int,
    local: bool = True,
    use_gpu: bool = False,
    on_line: OnLine | None = None,
) -> list[Any]:
    """Call `function(**arguments)` in `n_processes` processes at once; return what each returned (JSON), by process rank.

    `function` is one of a module, imported by name in each process; RANK and WORLD_SIZE tell it who it is. `local`: on
    this machine; else one Spark barrier task a process. `folder` (a URL that all can reach) is the working folder:
    running again with the same folder resumes. `on_line` hears of progress, from a thread of its own.

    Raises:
        ConfigError: the function cannot be imported by name, or barrier tasks under dynamic allocation.
        TrainingError: a process died or failed; errors of ours come back as they were raised.
    """
    module, name = _name_of(function)
    if not local:
        refuse_dynamic_allocation(spark.conf.get("spark.dynamicAllocation.enabled", "false") or "false")
    attempt = f"{folder.rstrip('/')}/attempt-{uuid.uuid4().hex[:12]}"
    n_threads = _n_threads(spark, n_processes, local)
    fs, path = fsspec.core.url_to_fs(attempt)
    output = _Tail()
    try:
        failure: Exception | None = None
        try:
            with watched(folder.rstrip("/"), on_line), _environment(local, use_gpu, n_threads, output):
                distributor = TorchDistributor(num_processes=n_processes, local_mode=local, use_gpu=use_gpu)
                distributor.run(_run_in_process, module, name, dict(arguments), attempt, n_threads, os.getpid() if local else None)
        except (RuntimeError, PySparkException, Py4JJavaError) as error:
            failure = error
        # The results decide: TorchDistributor is content when any process has finished, and stumbles when two do at once.
        if _without_result(attempt, n_processes):
            raise _explain(attempt, n_processes, output.lines() or str(failure).splitlines()[-TAIL:]) from failure
        return [_read_json(f"{attempt}/result-{rank}.json") for rank in range(n_processes)]
    finally:
        if fs.exists(path):
            fs.rm(path, recursive=True)
