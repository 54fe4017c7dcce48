import pytest

from recspark.recommendations.gates import build_gates
from recspark.tables import CHAMPION, GATES, RECOMMENDATIONS, REQUESTS, SEEN, STAGED
from recspark.tables.contract import Table, check_rows, conform

RETURNED = Table(GATES.name, GATES.doc, GATES.columns[1:], ("gate",))


def published(items):
    return [(f"item-{item}", place + 1, 0.0, "als", [], "source") for place, item in enumerate(items)]


def staged_row(request_idx, items, k=2, shortfall=""):
    return {
        "request_idx": request_idx,
        "user_id": f"user-{request_idx}",
        "k": k,
        "item_idxs": items,
        "items": published(items),
        "shortfall": shortfall,
    }


ROWS = [staged_row(1, [1, 2]), staged_row(2, [3, 4]), staged_row(3, [5], shortfall="1 of 2: of 1 available items 0 are seen"), staged_row(4, [1, 4])]
CHAMPION_ROW = {"model": "ranker", "metric": "ndcg@10", "ranker_value": 0.3, "best_source": "als", "best_source_value": 0.25}


def gates(table, rows=ROWS, seen=(), live=None, champion=CHAMPION_ROW, n_requests=4, **knobs):
    frame = build_gates(
        table(STAGED, rows),
        table(REQUESTS, [{"request_idx": r, "user_idx": r, "k": 2} for r in range(1, n_requests + 1)]),
        table(SEEN, [{"request_idx": r, "items": items} for r, items in seen]),
        table(CHAMPION, [champion] if champion else []),
        None if live is None else table(RECOMMENDATIONS, [{"user_id": f"user-{r}", "items": published(items)} for r, items in live]),
        **knobs,
    )
    frame = conform(frame, RETURNED, "build_gates")
    check_rows(frame, RETURNED)
    return {row.gate: row for row in frame.collect()}


def test_all_pass(table):
    found = gates(table, seen=[(1, [3, 4]), (9, [1])])
    assert {name: (row.value, row.limit, row.passed) for name, row in found.items()} == {
        "coverage": (1.0, 1.0, True),
        "empty": (0.0, 0.1, True),
        "duplicates": (0.0, 0.0, True),
        "seen_leaks": (0.0, 0.0, True),
        "churn": (None, 1.0, True),
        "quality": (0.3, 0.25, True),
    }
    assert found["coverage"].message == "4 of 4 requests have k items or a stated shortfall: the share is 1.0000, and must be at least 1.0"
    assert found["churn"].message == "no user is in a live version yet"
    assert found["quality"].message == "ranker has ndcg@10 0.3000 on tune; it must have 0.2500: 1.0 of the best single source's, and at least 0.0"


def failed(found):
    return [name for name, row in found.items() if not row.passed]


def test_coverage_fails_for_requests_not_staged_or_short_without_a_word(table):
    found = gates(table, rows=[ROWS[0], ROWS[1], staged_row(3, [5])], min_coverage=0.75, max_empty=1.0)
    assert (failed(found), found["coverage"].value) == (["coverage"], 2 / 4)
    assert gates(table, rows=ROWS[:3], min_coverage=0.75, max_empty=0.25)["coverage"].passed


def test_empty_fails_however_well_it_is_explained(table):
    found = gates(table, rows=[*ROWS[:3], staged_row(4, [], shortfall="0 of 2: every available item is seen")])
    assert (failed(found), found["empty"].value) == (["empty"], 1 / 4)
    assert found["empty"].message == "1 of 4 requests have no item at all: the share is 0.2500, and must be at most 0.1"


def test_no_requests_do_not_pass(table):
    found = gates(table, rows=[], n_requests=0)
    assert (failed(found), found["coverage"].message) == (["coverage", "empty"], "there are no requests")


def test_duplicates_fail(table):
    found = gates(table, rows=[*ROWS[:3], staged_row(4, [7, 7])])
    assert (failed(found), found["duplicates"].value, found["duplicates"].message) == (
        ["duplicates"],
        1,
        "1 recommended items stand twice in their list; at most 0 may",
    )
    assert gates(table, rows=[*ROWS[:3], staged_row(4, [7, 7])], max_duplicates=1)["duplicates"].passed


def test_seen_leaks_fail(table):
    seen = [(1, [1, 2]), (2, [4]), (3, [1])]
    found = gates(table, seen=seen)
    assert (failed(found), found["seen_leaks"].value) == (["seen_leaks"], 3)
    assert gates(table, seen=seen, max_seen_leaks=3)["seen_leaks"].passed


def test_churn_over_users_in_both(table):
    # Overlaps: user 1 whole, user 2 one of three, user 3 none; user 9 has left.
    live = [(1, [2, 1]), (2, [3, 9]), (3, [8]), (9, [1])]
    found = gates(table, live=live, max_churn=0.5)
    assert (failed(found), found["churn"].value) == (["churn"], pytest.approx(1 - (1 + 1 / 3 + 0) / 3))
    assert "of 3 users in both versions the lists changed by 0.5556 on average" in found["churn"].message
    assert gates(table, live=live, max_churn=0.56)["churn"].passed
    assert gates(table, live=[(9, [1])], max_churn=0.0)["churn"].passed


def test_two_empty_lists_have_not_changed(table):
    assert gates(table, rows=[staged_row(1, [], shortfall="0 of 2")], live=[(1, [])])["churn"].value == 0


@pytest.mark.parametrize(
    ("champion", "knobs", "value", "limit", "passed"),
    [
        ({"ranker_value": 0.2}, {}, 0.2, 0.25, False),
        ({"ranker_value": 0.2}, {"min_quality_ratio": 0.8}, 0.2, 0.2, True),
        ({"model": "als"}, {}, 0.25, 0.25, True),
        ({"model": "als"}, {"min_quality": 0.26}, 0.25, 0.26, False),
        ({"model": "popular", "ranker_value": None, "best_source_value": None}, {}, None, 0, True),
        ({"model": "popular", "ranker_value": None, "best_source_value": None}, {"min_quality": 0.1}, None, 0.1, False),
        ({"best_source_value": None}, {"min_quality": 0.1}, 0.3, 0.1, True),
    ],
)
def test_quality(table, champion, knobs, value, limit, passed):
    row = gates(table, champion=CHAMPION_ROW | champion, **knobs)["quality"]
    assert (row.value, row.limit, row.passed) == (value, pytest.approx(limit), passed)


def test_no_champion_does_not_pass(table):
    found = gates(table, champion=None)
    assert (failed(found), found["quality"].message) == (["quality"], "there is no champion")
