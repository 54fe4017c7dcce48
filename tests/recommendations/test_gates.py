from functools import partial

import numpy as np
import pytest

from recspark.handover.arrays import publish
from recspark.recommendations.gates import build_gates, quality_gate
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


ROWS = [
    staged_row(1, [1, 2]),
    staged_row(2, [3, 4]),
    staged_row(3, [5], shortfall="too few"),
    staged_row(4, [1, 4]),
]
CHAMPION_ROW = {"model": "ranker", "metric": "ndcg@10", "ranker_value": 0.3, "best_source": "als", "best_source_value": 0.25}


# Request 3 has seen all but 5 of the items 0 to 9.
SEEN_BY_3 = (3, [0, 1, 2, 3, 4, 6, 7, 8, 9])


def features(tmp_path_factory, quota_categories, quota):
    arrays = {"item_idx": np.arange(12), "available": np.arange(12) < 10}
    return publish({**arrays, "quota_categories": quota_categories, "quota": np.full(12, quota)}, str(tmp_path_factory.mktemp("arrays")))


@pytest.fixture(scope="module")
def item_features(tmp_path_factory):
    """Items 0 to 11, 10 and 11 not available; no quotas."""
    return features(tmp_path_factory, np.full((12, 1), -1), 0)


@pytest.fixture
def gates(table, item_features):
    return partial(found_gates, table, item_features)


def found_gates(table, item_features, rows=ROWS, seen=(SEEN_BY_3,), live=None, champion=CHAMPION_ROW, n_requests=4, k=2, **knobs):
    frame = build_gates(
        table(STAGED, rows),
        table(REQUESTS, [{"request_idx": r, "user_idx": r, "k": k} for r in range(1, n_requests + 1)]),
        table(SEEN, [dict(zip(("request_idx", "items", "allowed"), row, strict=False)) for row in seen]),
        table(CHAMPION, [champion] if champion else []),
        item_features,
        None if live is None else table(RECOMMENDATIONS, [{"user_id": f"user-{r}", "items": published(items)} for r, items in live]),
        **knobs,
    )
    frame = conform(frame, RETURNED, "build_gates").cache()
    check_rows(frame, RETURNED)
    return {row.gate: row for row in frame.collect()}


def test_all_pass(gates):
    found = gates(seen=[(1, [3, 4]), SEEN_BY_3, (4, [], [1, 4, 6]), (9, [1], [])])
    assert {name: (row.value, row.limit, row.passed) for name, row in found.items()} == {
        "coverage": (1.0, 1.0, True),
        "empty": (0.0, 0.1, True),
        "duplicates": (0.0, 0.0, True),
        "seen_leaks": (0.0, 0.0, True),
        "not_allowed": (0.0, 0.0, True),
        "unavailable": (0.0, 0.0, True),
        "over_quota": (0.0, 0.0, True),
        "churn": (None, 1.0, True),
        "quality": (0.3, 0.25, True),
    }
    assert (
        found["coverage"].message
        == "4 of 4 requests have k items, or all that are left to them and a stated shortfall: the share is 1.0000, and must be at least 1.0 (gates.min_coverage)"
    )
    assert found["churn"].message == "no user is in a live version yet"
    assert (
        found["quality"].message
        == "ranker has ndcg@10 0.3000 on tune (the best source, als, 0.2500): it must have 1 times the best source's (gates.min_quality_ratio), and at least 0 (gates.min_quality)"
    )


def test_what_is_beyond_a_quota_is_counted_and_a_list_that_quotas_shorten_is_whole(table, tmp_path_factory):
    # Items 0 to 4 are of category 0, the others of 1; two of each.
    of_two = features(tmp_path_factory, (np.arange(12) > 4).astype(int)[:, None], 2)
    rows = [
        staged_row(1, [0, 1, 2], k=3),  # one too many
        staged_row(2, [0, 1, 5], k=3),
        staged_row(3, [0, 1], k=3, shortfall="too few"),  # all it may get are of category 0
        staged_row(4, [0, 5], k=3, shortfall="too few"),  # 1 and 6 were left
    ]
    found = found_gates(table, of_two, rows, seen=[(3, [], [0, 1, 2, 3])], k=3)
    assert (found["over_quota"].value, found["coverage"].value) == (1, 3 / 4)


BAD = {
    # Of 6 requests 1 is fine, 2 repeats an item, 3 is short and 4 empty though more is eligible, 5 and 6 are not staged.
    "rows": [
        staged_row(1, [1, 2]),
        staged_row(2, [7, 7]),
        staged_row(3, [11], shortfall="too few"),
        staged_row(4, [], shortfall="nothing"),
    ],
    "n_requests": 6,
    # Leaks: two, then the repeated item (one item), then none of theirs.
    "seen": [(1, [1, 2], [1, 2]), (2, [7, 8], [8]), (3, [1], [2, 4, 11]), (4, [], [3])],
    # Overlaps: user 1 one of three, user 3 none, user 4 has two empty lists; user 9 has left.
    "live": [(1, [2, 9]), (3, [8]), (4, []), (9, [1])],
    "champion": CHAMPION_ROW | {"ranker_value": 0.2},
}


def test_every_gate_fails_with_its_figure(gates):
    found = gates(**BAD, max_churn=0.5)
    assert {name: (row.value, row.passed) for name, row in found.items()} == {
        "coverage": (2 / 6, False),
        "empty": (3 / 6, False),
        "duplicates": (1, False),
        "seen_leaks": (3, False),
        "not_allowed": (1, False),
        "unavailable": (1, False),
        "over_quota": (0, True),
        "churn": (pytest.approx(1 - (1 / 3 + 0 + 1) / 3), False),
        "quality": (0.2, False),
    }
    assert {name: row.message for name, row in found.items()} == {
        "coverage": "2 of 6 requests have k items, or all that are left to them and a stated shortfall: the share is 0.3333, "
        "and must be at least 1.0 (gates.min_coverage)",
        "empty": "3 of 6 requests have no item at all: the share is 0.5000, and must be at most 0.1 (gates.max_empty)",
        "duplicates": "1 recommended items stand twice in their list; at most 0 may (gates.max_duplicates)",
        "seen_leaks": "3 recommended items had been seen or blocked; at most 0 may (gates.max_seen_leaks)",
        "not_allowed": "1 recommended items are not in their request's allow list; at most 0 may (gates.max_not_allowed)",
        "unavailable": "1 recommended items are not available; at most 0 may (gates.max_unavailable)",
        "over_quota": "0 recommended items are beyond the quota of a category; at most 0 may (gates.max_over_quota)",
        "churn": "the lists of 3 users in both versions changed by 0.5556 on average; at most 0.5 may (gates.max_churn)",
        "quality": "ranker has ndcg@10 0.2000 on tune (the best source, als, 0.2500): it must have 1 times the best source's (gates.min_quality_ratio), and at least 0 (gates.min_quality)",
    }


def test_every_limit_is_a_knob(gates):
    limits = {
        "min_coverage": 0.33,
        "max_empty": 0.5,
        "max_duplicates": 1,
        "max_seen_leaks": 3,
        "max_not_allowed": 1,
        "max_unavailable": 1,
        "max_churn": 0.56,
    }
    found = gates(**BAD, **limits, min_quality_ratio=0.8)
    assert all(row.passed for row in found.values())
    assert [row.limit for row in found.values()] == pytest.approx([0.33, 0.5, 1, 3, 1, 1, 0, 0.56, 0.2])


@pytest.mark.parametrize(
    ("items", "shortfall", "seen", "covered"),
    [
        ([], "nothing", range(10), True),  # all that is available is seen; 10 and 11 are not available
        ([9], "too few", range(9), True),
        ([9], "", range(9), False),  # short without a word
        ([8], "too few", range(8), False),  # 9 is eligible too
        ([], "nothing", [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11], False),  # what is not available takes nothing away
        ([8, 9], "", range(8), True),
    ],
)
def test_what_is_eligible_is_counted_anew(gates, items, shortfall, seen, covered):
    found = gates(rows=[staged_row(1, items, shortfall=shortfall)], seen=[(1, list(seen))], n_requests=1)
    assert found["coverage"].value == float(covered)


def test_what_is_missing_does_not_pass(gates):
    found = gates(rows=[], n_requests=0, champion=None)
    assert [name for name, row in found.items() if not row.passed] == ["coverage", "empty", "quality"]
    assert found["coverage"].message == found["empty"].message == "there are no requests"
    assert found["quality"].message == "there is no champion"


def test_quality_of_any_champion(table):
    nothing = {"model": "popular", "ranker_value": None, "best_source_value": None}
    rows = [CHAMPION_ROW | change for change in ({"model": "als"}, nothing, {"best_source_value": None})]
    champions = table(CHAMPION, rows).coalesce(1)
    by_ratio, by_floor = (champions.select(quality_gate(1.0, floor).alias("one")).select("one.*").collect() for floor in (0.0, 0.26))
    assert [(row.value, row.limit, row.passed) for row in by_ratio] == [(0.25, 0.25, True), (None, 0, True), (0.3, 0, True)]
    assert [(row.value, row.limit, row.passed) for row in by_floor] == [(0.25, 0.26, False), (None, 0.26, False), (0.3, 0.26, True)]
    assert (
        by_floor[1].message
        == "popular has no figure on tune: it must have 1 times the best source's (gates.min_quality_ratio), and at least 0.26 (gates.min_quality)"
    )
