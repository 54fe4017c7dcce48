"""A next-item model as a source of the river: trained at fit alone, told at every horizon, explained like any other."""

from __future__ import annotations

from pyspark.sql import functions as F

from recspark.runtime.store import Store
from tests.flow.conftest import committed

ASSIGNMENTS = [
    "sources=[next_item,popular]",
    "next_item=debug",
    "rankers=null",
    "next_item_models.length=8",
    "source_candidates_next_item.n_candidates=8",
    "staged_recommendations.sources=[next_item,popular]",
]


def test_proposals_of_a_model_that_was_trained_once(copied, run_river, spark):
    run_river(copied / "config.yaml", "staged_recommendations", assignments=ASSIGNMENTS)
    ledger = committed(spark, copied / "warehouse")
    slices = {(entry.job, entry.slice) for entry in ledger.entries.values()}
    assert sorted(one for job, one in slices if job == "next_item_models") == ["last_2/fit"]
    # What is published is chosen at tune and served; without a ranker nobody asks for proposals at fit.
    assert sorted(one for job, one in slices if job == "vectors_next_item") == ["last_2/tune", "serve"]

    def rows(table):
        return Store(spark, str(copied / "warehouse")).read(table, ledger.versions[table])

    proposed = rows("source_candidates").where("source = 'next_item' and horizon = 'serve'")
    lengths = rows("histories").where("horizon = 'serve'").select("request_idx", "length")
    known = proposed.select("request_idx").join(lengths, "request_idx").agg(F.min("length"), F.count("*")).collect()[0]
    assert known[0] > 0
    assert known[1] == lengths.where("length > 0").count()
    seen = rows("seen").where("horizon = 'serve'").select("request_idx", F.col("items").alias("seen"))
    assert proposed.join(seen, "request_idx").where(F.arrays_overlap("items", "seen")).isEmpty()
    staged = rows("staged_recommendations").select(F.explode("items").alias("item")).where("item.source = 'next_item'")
    assert not staged.where(F.size("item.because") > 0).isEmpty()
