from __future__ import annotations

from pyspark.sql import functions as F

from recspark.candidates.similar import build_similar_items
from recspark.tables import ITEM_FEATURES, ITEM_INDEX, NEIGHBOURS, SIMILAR_ITEMS
from recspark.tables.contract import conform


def test_ids_ranks_and_only_available_items(table) -> None:  # type: ignore[no-untyped-def]
    index = table(ITEM_INDEX, [{"item_id": name, "item_idx": place} for place, name in enumerate("abcde")])
    features = table(ITEM_FEATURES, [{"item_idx": place, "available": place != 2} for place in range(5)])
    lists = {0: [(2, 0.9), (1, 0.8), (4, 0.7), (3, 0.6)], 1: [(2, 0.5)]}
    rows = [
        {"source": "item_knn", "kind": "item", "idx": idx, "neighbour_idx": other, "score": score, "support": 7, "position": place}
        for idx, others in lists.items()
        for place, (other, score) in enumerate(others)
    ]
    rows += [{**rows[0], "source": "other", "idx": 3, "neighbour_idx": 4}, {**rows[0], "kind": "user", "idx": 3, "neighbour_idx": 4}]
    told: dict[str, int] = {}
    frame = build_similar_items(table(NEIGHBOURS, rows).repartition(3), index, features, k=2, tell=told.__setitem__)
    conform(frame.withColumn("run_id", F.lit("r")), SIMILAR_ITEMS, "the function")
    # c is not available: a keeps b and e; b is left with nothing.
    found = {row.item_id: [(i.item_id, i.rank, round(i.score, 4), i.support) for i in row["items"]] for row in frame.collect()}
    assert found == {"a": [("b", 1, 0.8, 7), ("e", 2, 0.7, 7)]}
    assert told == {"short_lists": 1}  # b's; d's are of another source or of users
