"""Nothing at a horizon knows what comes after it: without its label and hidden rows, every table before the labels is the same."""

from __future__ import annotations

import pytest
from pyspark.sql import functions as F
from rich.console import Console

from recspark.handover.files import remove
from recspark.interactions.roles import keep_rows
from recspark.runtime.compare import difference
from recspark.runtime.config import check, load_layers
from recspark.runtime.deliveries import Intake
from recspark.runtime.inputs import Inputs, Scope
from recspark.runtime.job import Job, find_jobs, in_flow_order, tables_read
from recspark.runtime.parts import give_parts
from recspark.runtime.progress import RiverProgress
from recspark.runtime.river import River
from recspark.runtime.store import Store
from recspark.tables.lineage import Rows
from tests.flow.conftest import committed


def with_labels_among_ancestors(jobs: list[Job]) -> set[str]:
    """Jobs that read `labels`, or something that does; for them the property does not hold, and need not."""
    tainted = {"labels"}
    for job in in_flow_order(jobs):
        if set(tables_read(job)) & tainted:
            tainted.add(job.writes.name)
    return tainted


def opened(spark, folder):
    """The finished warehouse with what a run would hold: river and inputs, nothing run."""
    from datetime import datetime

    jobs = find_jobs()
    config = check(load_layers(str(folder / "config.yaml"), "local", []), jobs)
    on = {name: job for name, job in jobs.items() if name in config.jobs}
    store, ledger = Store(spark, str(folder / "warehouse")), committed(spark, folder / "warehouse")
    intake = Intake(store, ledger, config.settings)
    intake.delivery = 1
    inputs = Inputs(store, ledger, on, intake, repeats=config.settings.repeats, published_rows=1_000_000)
    inputs.parts = give_parts(config.settings.splits, inputs, ledger, now=datetime(2025, 1, 1), note=print)
    progress = RiverProgress(Console(quiet=True))
    river = River(config, on, store, ledger, inputs, progress, now=datetime(2025, 1, 1), run_torch=lambda *_: None)  # type: ignore[arg-type,return-value]
    return river, inputs


def computed_again(river, job, scope):
    """What the job returns at `scope`, in a working folder of its own, which is gone afterwards."""
    name = f"again-{scope.slice.replace('/', '-')}"
    try:
        verdicts = river._preflight.check(job, [scope])
        [frame] = river._frames(job, [scope], {scope.slice: name}, {scope.slice: {}}, verdicts)
        return frame.localCheckpoint()
    finally:
        remove(river._folder(job, name))


@pytest.mark.parametrize("part", ["fit", "test"])
def test_label_and_hidden_rows_change_nothing_before_the_labels(spark, finished, part):
    """Every job that reads interactions is run again without those rows, its other inputs as they are; so, by induction, are all."""
    river, inputs = opened(spark, finished[0])
    horizon = inputs.parts[part]
    scope = Scope("horizon", horizon.delivery, horizon)
    everything = inputs.table("interactions")
    splits = inputs.slice("splits", scope)
    future = keep_rows(everything, splits, None, horizon=horizon, roles=("label", "hidden"), repeats="all")
    assert future.count() == {"fit": 240, "test": 80}[part]
    past = everything.join(future.select("user_idx", "event_key"), ["user_idx", "event_key"], "left_anti").select(*everything.columns)
    name, version = "interactions", inputs.ledger.versions["interactions"]
    inputs._frames[name, version] = past.localCheckpoint()
    tainted = with_labels_among_ancestors(list(river.jobs))
    compared = []
    for job in river.jobs:
        reads_roles = any(isinstance(one.marker, Rows) and "hidden" not in one.marker.roles for one in job.inputs)
        stored_here = inputs.ledger.entry(job.name, horizon.name) is not None
        if job.scope != "horizon" or not reads_roles or job.writes.name in tainted or not stored_here:
            continue
        again = computed_again(river, job, scope)
        stored = inputs.table(job.writes.name).where(F.col("horizon") == horizon.name)
        for column, value in job.slice.items():
            stored = stored.where(F.col(column) == value)
        assert difference(again, stored.select(*again.columns)) == "", job.name
        compared.append(job.name)
    assert {"histories", "popularity", "requests", "seen", "vectors_als", "neighbours_item_knn"} <= set(compared)
    assert ("feature_stats_item" in compared) == (part == "fit")  # fitted once, for every horizon


def test_a_leak_would_be_seen(spark, finished):
    """The same comparison, with a horizon that sees one event too many."""
    river, inputs = opened(spark, finished[0])
    job = next(job for job in river.jobs if job.name == "popularity")
    fit = inputs.parts["fit"]
    stored = inputs.table("popularity").where(F.col("horizon") == fit.name)
    later = inputs.parts["tune"]
    again = computed_again(river, job, Scope("horizon", later.delivery, later))
    assert again.agg(F.sum("n_events")).first()[0] != stored.agg(F.sum("n_events")).first()[0]
