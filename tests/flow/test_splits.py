"""Every kind of split through the river, down to what each part must predict; and tables that have names instead of paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pyspark.sql import functions as F

from recspark.runtime.store import Store
from tests.flow.conftest import committed
from tests.worlds import checkerboard, write_events


def with_sections(folder: Path, **sections: Any) -> Path:
    config = yaml.safe_load((folder / "config.yaml").read_text()) | sections
    (folder / "other.yaml").write_text(yaml.safe_dump(config))
    return folder / "other.yaml"


def rows(spark, folder: Path, name: str):
    return Store(spark, str(folder / "warehouse")).read(name, committed(spark, folder / "warehouse").versions[name])


def labelled(spark, folder: Path):
    """horizon, user, item of every label."""
    labels = rows(spark, folder, "labels").select("horizon", "request_idx", F.explode("items").alias("item_idx"))
    return labels.join(rows(spark, folder, "requests").select("horizon", "request_idx", "user_idx"), ["horizon", "request_idx"])


def test_cuts_in_time(spark, copied, run_river):
    """A user's items are all distinct, so each event between two cuts is a label: those of the days 74 to 84, and from 84 on."""
    config = with_sections(copied, splits={"kind": "time", "fit": "2024-03-01", "tune": "2024-03-15", "test": "2024-03-25"})
    run_river(config, table="labels")
    counts = {row.horizon: row["count"] for row in labelled(spark, copied).groupBy("horizon").count().collect()}
    days = checkerboard().days
    assert counts["2024-03-15"] == ((days >= 74) & (days < 84)).sum()
    assert counts["2024-03-25"] == (days >= 84).sum()


def test_a_random_share(spark, copied, run_river):
    """A tenth of 480 events is held out at each part; no event is held out twice."""
    config = with_sections(copied, splits={"kind": "random", "share_fit": 0.1, "share_tune": 0.1, "share_test": 0.1, "seed": 3})
    run_river(config, table="labels")
    held_out = labelled(spark, copied).where("horizon LIKE 'random%'")
    counts = {row.horizon: row["count"] for row in held_out.groupBy("horizon").count().collect()}
    assert len(counts) == 2
    assert all(25 <= n <= 75 for n in counts.values())  # 48 expected, 6.6 the standard deviation
    assert held_out.select("user_idx", "item_idx").distinct().count() == sum(counts.values())


def test_what_comes_as_train_and_test(spark, copied, run_river):
    """A fifth of the world's 480 events in a file of its own: they are the labels of test, and nothing learns from them."""
    world = checkerboard()
    for name, part in (("train", np.arange(480) % 5 > 0), ("test", np.arange(480) % 5 == 0)):
        write_events(world, copied / "split" / f"{name}.csv", rows=np.flatnonzero(part))
    config = yaml.safe_load((copied / "config.yaml").read_text())
    events = config["events"] | {"path": str(copied / "split"), "parts": {"test": "test.csv"}}
    splits = {"kind": "stored", "share_fit": 0, "share_tune": 0.25}
    sections = {"events": events, "splits": splits, "rankers": None, "scores": None}
    run_river(with_sections(copied, **sections, warehouse=str(copied / "other")), table="labels")
    run_river(with_sections(copied, **sections, warehouse=str(copied / "other")), table="popularity")
    tables = Store(spark, str(copied / "other"))
    versions = committed(spark, copied / "other").versions
    labels = tables.read("labels", versions["labels"]).select("horizon", F.size("items").alias("n"))
    n = {row.horizon: row.n for row in labels.groupBy("horizon").agg(F.sum("n").alias("n")).collect()}
    learnt = tables.read("popularity", versions["popularity"]).groupBy("horizon").agg(F.sum("n_events").alias("n"))
    assert n["stored/test"] == 96
    assert 60 < n["stored/tune"] < 132  # a quarter of 384; the standard deviation is 8.5
    assert {row.horizon: row.n for row in learnt.collect()} == {
        "stored/tune": 384 - n["stored/tune"],
        "stored/test": 384,
        "serve": 480,
    }


@pytest.mark.slow
def test_sources_and_tables_by_catalog_name(spark, finished, copied, run_river):
    spark.sql("CREATE SCHEMA IF NOT EXISTS logs")
    spark.sql("CREATE SCHEMA IF NOT EXISTS river")
    try:
        spark.read.option("header", "true").csv(str(finished[0] / "events")).write.format("delta").saveAsTable("logs.ratings")
        events = {
            "table": "logs.ratings",
            "columns": {"user_id": "user", "item_id": "item", "value": "rating", "event_at": "time"},
            "types": {"rating": 1.0},
            "time": {"format": "seconds"},
        }
        config = with_sections(copied, events=events, catalog="river", warehouse=str(copied / "other"))
        run_river(config, table="popularity")
        counted = spark.table("river.popularity").where("horizon = 'serve'").agg(F.sum("n_events")).collect()[0][0]
        assert counted == 480
    finally:
        spark.sql("DROP SCHEMA river CASCADE")
        spark.sql("DROP SCHEMA logs CASCADE")
