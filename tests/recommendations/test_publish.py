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


def published(table, verdicts, staged=STAGED_ROWS):
    """User ids of what is published, where gates 0, 1, ... passed or not."""
    gates = table(GATES, [{"gate": f"gate {i}", "passed": one, "message": "0.5"} for i, one in enumerate(verdicts)])
    frame = conform(build_recommendations(table(STAGED, staged), gates), RETURNED, "build_recommendations")
    return sorted(row.user_id for row in frame.collect())


def test_every_staged_row_is_published_when_every_gate_passed(table):
    assert published(table, [True, True]) == ["u1", "u2"]


@pytest.mark.parametrize(
    ("verdicts", "staged", "words"),
    [
        ([True, False, None], STAGED_ROWS, "failed gates: gate 1: 0.5; gate 2: 0.5"),
        ([False], [], "failed gates: gate 0"),
        ([], STAGED_ROWS, "no gate was checked"),
        ([True], [], "nothing is staged"),
    ],
)
def test_the_live_rows_never_make_way_for_none(table, verdicts, staged, words):
    with pytest.raises(Exception, match=f"the live ones stay: {words}"):
        published(table, verdicts, staged)


def test_export_is_one_plain_row_an_item(table):
    frame = build_export(table(RECOMMENDATIONS, [{"user_id": row["user_id"], "items": row["items"]} for row in STAGED_ROWS]))
    assert frame.columns == ["user_id", "rank", "item_id", "score", "source", "rung", "because"]
    assert [tuple(row) for row in frame.orderBy("rank").collect()] == [
        ("u1", 1, "a", 0.5, "als", "ranker", '["x","y \\"quoted\\""]'),
        ("u1", 2, "b", 0.25, "popular", "popularity", "[]"),
    ]
