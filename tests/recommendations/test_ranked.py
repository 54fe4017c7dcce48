from recspark.recommendations.rank import build_ranked
from recspark.tables import RANKED, SCORES
from recspark.tables.contract import Table, conform

RETURNED = Table(RANKED.name, RANKED.doc, RANKED.columns[1:], ())
NAN, INF = float("nan"), float("inf")


def test_best_first_ties_by_item_and_what_is_no_number_left_out(table):
    rows = {
        1: ([9, 4, 7, 2], [0.5, 1.5, 0.5, -2.0]),
        2: ([5, 3, 4, 1, 2], [NAN, 0.0, -0.0, INF, -INF]),
        3: ([8, 6], [NAN, None]),
        4: ([], []),
    }
    scores = table(SCORES, [{"request_idx": r, "items": items, "scores": values} for r, (items, values) in rows.items()])
    for n in (1, 2, 7):
        ranked = conform(build_ranked(scores.repartition(n)), RETURNED, "build_ranked")
        assert {row.request_idx: (row["items"], row.scores) for row in ranked.collect()} == {
            1: ([4, 7, 9, 2], [1.5, 0.5, 0.5, -2.0]),
            2: ([1, 3, 4, 2], [INF, 0.0, 0.0, -INF]),
            3: ([], []),
            4: ([], []),
        }
