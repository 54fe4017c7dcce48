"""recspark's side: the jobs' own functions in a local session with the settings that the repository ships, from Parquet to a sink."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recspark.candidates.als import fit_als
from recspark.candidates.by_vectors import score_als_candidates
from recspark.candidates.item_knn import build_item_knn
from recspark.candidates.user_knn import fit_user_knn
from recspark.handover.arrays import Published
from recspark.runtime.config import conf_folder, load_layers
from recspark.runtime.session import n_slots, start_session
from tests.bench.data import EVENT_TYPE
from tests.bench.sides import EventLog

WEIGHTS = {EVENT_TYPE: 1.0}
UNCAPPED = 1 << 30  # the peers read whole histories
_logs: dict[str, EventLog] = {}


def start(scratch: str, own: dict[str, str]) -> float:
    """Starts the session with the local settings that the repository ships and `own`; returns the seconds that it took."""
    # A cluster's driver, too, listens to nothing beyond this machine, and logs errors only.
    os.environ.update(SPARK_LOCAL_IP="127.0.0.1", SPARK_CONF_DIR=str(conf_folder()))
    log = Path(scratch, "events")
    log.mkdir(parents=True, exist_ok=True)
    settings = {
        **{key: str(value) for key, value in load_layers(None, "local", [])["spark"].items()},
        "spark.local.dir": f"{scratch}/local",
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": log.as_uri(),
        "spark.eventLog.compress": "false",
        "spark.eventLog.rolling.enabled": "false",
        **own,
    }
    began = time.perf_counter()
    spark = start_session(settings, name="recspark-bench")
    seconds = time.perf_counter() - began
    _logs["log"] = EventLog(next(log.glob(f"{spark.sparkContext.applicationId}*")))
    return seconds


def stop() -> None:
    session().stop()


def session() -> SparkSession:
    active = SparkSession.getActiveSession()
    assert active is not None
    return active


def _spark_bytes() -> dict[str, int]:
    """Of the tasks since the last call: the log is complete once Spark's listeners have had every event."""
    session().sparkContext._jsc.sc().listenerBus().waitUntilEmpty()
    return _logs["log"].since_last()


def timed(work: Callable[[], object]) -> tuple[float, dict[str, Any]]:
    _spark_bytes()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began, {"spark": _spark_bytes()}


def materialise(frame: DataFrame, to: str | None = None) -> None:
    """Every row is computed; and written as Parquet where `to` names a folder."""
    if to is None:
        frame.write.format("noop").mode("overwrite").save()
    else:
        frame.write.mode("overwrite").parquet(to)


def als(folder: str, *, iterations: int, alpha: float, to: str | None = None, **settings: Any) -> tuple[float, dict[str, Any]]:
    """Seconds of one full iteration (users and items, and the loss): the median that the fit tells. As the peer's: unobserved pairs weigh 1,
    observed ones 1 + alpha, the regularisation is every row's same.

    In the result: `whole`, the seconds from Parquet to the vectors in a sink, and the bytes that tasks sent to each other in an iteration.
    """
    told: dict[str, Any] = {}
    knobs = {"alpha": alpha, "alpha0": 1.0, "unobserved": "missing_pairs", "nu": 0.0, "value_as": "ignore", **settings}

    def fit(state: str) -> None:
        given = {"folder": state, "n_slots": n_slots(session()), "earlier": lambda: None, "tell": told.__setitem__}
        interactions = session().read.parquet(folder)
        nobody = interactions.filter(F.lit(False))
        materialise(fit_als(interactions, nobody, weights=WEIGHTS, engine="blocked", max_iter=iterations, **given, **knobs), to)

    # A folder of its own: a fit goes on where an earlier one in its folder stopped.
    with tempfile.TemporaryDirectory(dir=Path(folder).parent) as state:
        whole, result = timed(lambda: fit(state))
    sent = sum(block["bytes_sent"] for block in told["fit"]["blocks"]) // iterations
    result["spark"]["sent_task_to_task_an_iteration"] = sent
    return statistics.median(told["fit"]["seconds"]), {**result, "whole": whole}


def cosine(folder: str, *, n_neighbours: int, min_support: int, users: bool = False, to: str | None = None) -> tuple[float, dict[str, Any]]:
    """The most similar items of each item, or users of each user; exact, of whole histories, without shrinkage."""
    knobs: dict[str, Any] = {"n_neighbours": n_neighbours, "min_support": min_support, "shrinkage": 0.0, "value_as": "ignore"}
    knobs["n_slots"] = n_slots(session())

    def work() -> None:
        interactions = session().read.parquet(folder)
        if users:
            exactly: dict[str, Any] = {"max_exact_users": UNCAPPED, "max_users_per_item": None, "tell": lambda name, value: None}
            found = fit_user_knn(interactions, weights=WEIGHTS, **exactly, **knobs)
        else:
            found = build_item_knn(interactions, weights=WEIGHTS, max_items_per_user=UNCAPPED, **knobs)
        materialise(found, to)

    return timed(work)


def topk(folder: str, arrays: dict[str, Published], *, k: int, to: str | None = None) -> tuple[float, dict[str, Any]]:
    """Masked top-k of every user by score_als_candidates, from the tables that `write_factors` wrote."""
    vectors, requests, seen = (session().read.parquet(f"{folder}/{name}") for name in ("vectors", "requests", "seen"))
    return timed(lambda: materialise(score_als_candidates(vectors, requests, seen, n_candidates=k, **arrays), to))
