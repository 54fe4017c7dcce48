"""The whole river on the tiny world: the answer, the accounts, and that a second run has nothing to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import functions as F

from recspark.runtime.store import Store
from recspark.tables import TABLES
from recspark.tables.contract import row_problems
from tests.flow.conftest import committed, forget


def live(spark, folder: Path, name: str):
    ledger = committed(spark, folder / "warehouse")
    return Store(spark, str(folder / "warehouse")).read(name, ledger.versions[name])


def test_what_is_recommended_is_of_the_users_taste(spark, finished):
    """Users of even number like items of even number: at least nine in ten recommendations must say so (chance: one in two)."""
    rows = live(spark, finished[0], "recommendations").select("user_id", F.explode("items").alias("one")).collect()
    parity = [int(row.user_id[1:]) % 2 == int(row.one.item_id[1:]) % 2 for row in rows]
    own_left = dict.fromkeys(range(40), 20)
    for row in live(spark, finished[0], "clean_events").collect():
        user, item = int(row.user_id[1:]), int(row.item_id[1:])
        own_left[user] -= user % 2 == item % 2
    reachable = sum(min(4, left) for left in own_left.values())
    assert sum(parity) >= 0.9 * min(reachable, len(rows))


def test_every_user_gets_k_distinct_unseen_items_with_reasons(spark, finished):
    rows = live(spark, finished[0], "recommendations").collect()
    seen: dict[str, set[str]] = {}
    for event in live(spark, finished[0], "clean_events").collect():
        seen.setdefault(event.user_id, set()).add(event.item_id)
    assert len(rows) == 40
    for row in rows:
        items = [one.item_id for one in row["items"]]
        assert len(items) == len(set(items)) == 4
        assert [one.rank for one in row["items"]] == [1, 2, 3, 4]
        assert not set(items) & seen[row.user_id]
        for one in row["items"]:
            assert one.rung in ("ranker", "source", "popularity")
            assert set(one.because) <= seen[row.user_id]
            assert not (one.because and one.source in ("popular", "ranker"))
    assert any(one.because for row in rows for one in row["items"])


def test_every_row_of_every_table_obeys_its_contract(spark, finished):
    ledger = committed(spark, finished[0] / "warehouse")
    store = Store(spark, str(finished[0] / "warehouse"))
    written = [table for table in TABLES if table.name in ledger.versions]
    assert len(written) >= 32
    assert {
        table.name: problems for table in written if (problems := row_problems(store.read(table.name, ledger.versions[table.name]), table))
    } == {}


def test_the_summary_holds_what_a_person_wants_to_see(finished):
    folder, summary = finished
    assert summary["intake"]["rows_in"] == summary["intake"]["kept"] == 480
    models = {row["model"] for row in summary["metrics"]["rows"]}
    assert {"als", "item_knn", "popular"} <= models
    assert summary["champion"]["reason"]
    assert all(gate["passed"] for gate in summary["gates"])
    assert len(summary["users"]) == 3
    page = (folder / "warehouse" / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_second_run_has_nothing_to_do(spark, copied, run_river):
    before = committed(spark, copied / "warehouse").sequence
    summary = run_river(copied / "config.yaml")
    assert summary["ran"] == {}
    assert committed(spark, copied / "warehouse").sequence == before


def test_a_parameter_makes_only_what_depends_on_it_stale(copied, run_river):
    summary = run_river(copied / "config.yaml", table="similar_items", assignments=["similar_items.k=3"])
    assert list(summary["ran"]) == ["similar_items"]


@pytest.mark.parametrize(("table", "needs"), [("popularity", {"popularity"}), ("seen", {"seen"})])
def test_one_table_can_be_brought_up_to_date_alone(spark, copied, run_river, table, needs):
    forget(spark, copied / "warehouse", {table})
    assert set(run_river(copied / "config.yaml", table=table)["ran"]) == needs


def test_every_source_has_its_slice_at_every_horizon(spark, finished):
    """The sources' jobs write one table, two at a time: neither may drop what the other wrote."""
    rows = live(spark, finished[0], "source_candidates").groupBy("source", "horizon").count().collect()
    assert {(row.source, row.horizon) for row in rows} == {
        (source, horizon) for source in ("als", "item_knn", "popular") for horizon in ("last_2/fit", "last_2/tune", "last_2/test", "serve")
    }
