import pytest

from recspark.recommendations.flat import build_export
from recspark.recommendations.publish import build_recommendations
from recspark.tables import GATES, RECOMMENDATIONS, STAGED
from recspark.tables.contract import STAMPED, Table, conform

RETURNED = Table(RECOMMENDATIONS.name, RECOMMENDATIONS.doc, tuple(c for c in RECOMMENDATIONS.columns if c.name not in STAMPED), ())
ITEMS = [("a", 1, 0.5, "als", ["x", 'y "quoted"'], "ranker"), ("b", 2, 0.25, "popular", [], "popularity")]
STAGED_ROWS = [
    {"request_idx": 1, "user_id": "u1", "k": 2, "item_idxs": [0, 1], "items": ITEMS, "shortfall": ""},
    {"request_idx": 2, "user_id": "u2", "k": 2, "item_idxs": [], "items": [], "shortfall": "0 of 2"},
]


@pytest.mark.parametrize(("passed", "users"), [([True, True], ["u1", "u2"]), ([True, False], []), ([], [])])
def test_nothing_is_published_unless_every_gate_passed(table, passed, users):
    gates = table(GATES, [{"gate": str(i), "passed": one} for i, one in enumerate(passed)])
    rows = conform(build_recommendations(table(STAGED, STAGED_ROWS), gates), RETURNED, "build_recommendations").collect()
    assert sorted(row.user_id for row in rows) == users


def test_export_is_one_plain_row_an_item(table):
    frame = build_export(table(RECOMMENDATIONS, [{"user_id": row["user_id"], "items": row["items"]} for row in STAGED_ROWS]))
    assert frame.columns == ["user_id", "rank", "item_id", "score", "source", "rung", "because"]
    assert [tuple(row) for row in frame.orderBy("rank").collect()] == [
        ("u1", 1, "a", 0.5, "als", "ranker", '["x","y \\"quoted\\""]'),
        ("u1", 2, "b", 0.25, "popular", "popularity", "[]"),
    ]
