"""The figures of a summary, redone by hand on tables of a few rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from recspark.runtime.report import render_report
from recspark.runtime.summary import build_summary
from recspark.tables import (
    CHAMPION,
    CLEAN_ITEMS,
    FLAGGED_USERS,
    GATES,
    HISTORIES,
    INTAKE,
    INTERACTIONS,
    ITEM_INDEX,
    METRICS,
    QUARANTINE,
    RANKERS,
    RECOMMENDATIONS,
    REQUESTS,
    STAGED,
    USER_INDEX,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

PARTS = {"fit": "last_5/fit", "tune": "last_5/tune", "test": "last_5/test", "serve": "serve"}
RUNS = [
    {
        "job": "histories",
        "slice": "serve",
        "n_rows": 3,
        "seconds": 1.5,
        "status": "done",
        "fingerprint": "f",
        "started_at": datetime(2020, 1, 1),
    }
]


def event(user: int, item: int, second: int, event_type: str = "rate") -> dict[str, Any]:
    at = datetime(2020, 1, 1, 0, second // 60, second % 60)
    return {
        "user_idx": user,
        "item_idx": item,
        "event_type": event_type,
        "value": 1.0,
        "event_at": at,
        "event_order": second,
        "event_key": second,
    }


def offer(item_id: str, rank: int, source: str, because: list[str], rung: str = "ranker") -> tuple[Any, ...]:
    return (item_id, rank, 0.5, source, because, rung)


# Item 0 has 4 events, item 1 has 2, items 2 and 3 have 1 each, item 4 has none; the first is at second 0, the last at 119.
EVENTS = [
    event(0, 0, 0),
    event(0, 1, 1),
    event(0, 2, 60),
    event(1, 0, 2),
    event(1, 1, 3),
    event(1, 3, 119, "view"),
    event(2, 0, 4),
    event(2, 0, 5),
]
METRIC = {
    "model": "ranker",
    "baseline": "",
    "metric": "ndcg",
    "k": 10,
    "slice": "all",
    "n": 3,
    "value": 0.5,
    "low": float("nan"),
    "high": 0.6,
}


@pytest.fixture
def summary(table: Callable[..., DataFrame]) -> dict[str, Any]:
    """Requests 0, 1, 2 have histories of 3, 3 and 1 events, request 3 has none. Users are u0 to u3, items i0 to i4; i4 has no title."""
    cumulative = {
        "intake": table(
            INTAKE,
            [{"rows_in": 10, "kept": 6, "quarantined": 3, "duplicates": 1}, {"rows_in": 5, "kept": 2, "quarantined": 3, "duplicates": 0}],
        ),
        "quarantine": table(QUARANTINE, [{"reason": reason, "row": "{}"} for reason in ["no user", "no user", "bad time", "no item"]]),
        "interactions": table(INTERACTIONS, EVENTS),
        "user_index": table(USER_INDEX, [{"user_id": f"u{i}", "user_idx": i} for i in range(4)]),
        "item_index": table(ITEM_INDEX, [{"item_id": f"i{i}", "item_idx": i} for i in range(5)]),
        "clean_items": table(
            CLEAN_ITEMS, [{"item_id": f"i{i}", "title": f"Film {i}" if i < 4 else None, "categories": []} for i in range(5)]
        ),
        "recommendations": table(
            RECOMMENDATIONS,
            [
                {"user_id": "u0", "items": [offer("i3", 1, "als", ["i0", "i2"]), offer("i4", 2, "popular", [])]},
                {"user_id": "u1", "items": [offer("i2", 2, "als", []), offer("i4", 1, "als", ["i1"])]},
                {"user_id": "u3", "items": [offer("i0", 1, "popular", [], "popularity")]},
            ],
        ),
    }
    histories = {0: [0, 1, 2], 1: [0, 1, 3], 2: [0], 3: []}
    at_parts = {
        ("requests", "serve"): table(REQUESTS, [{"request_idx": i, "user_idx": i, "k": 2} for i in range(4)]),
        ("histories", "serve"): table(
            HISTORIES,
            [{"request_idx": i, "items": items + [-1] * (3 - len(items)), "length": len(items)} for i, items in histories.items()],
        ),
        ("flagged_users", "serve"): table(FLAGGED_USERS, [{"user_idx": i, "n_events": 9, "reason": "more than 8"} for i in (4, 7)]),
        ("metrics", "tune"): table(METRICS, [METRIC]),
        ("champion", "tune"): table(CHAMPION, [{"model": "ranker", "metric": "ndcg@10", "best_source": "als", "reason": "better"}]),
        ("gates", "serve"): table(GATES, [{"gate": "churn", "value": None, "limit": 0.5, "passed": True, "message": "nothing was live"}]),
        ("rankers", "fit"): table(
            RANKERS, [{"card": json.dumps({"best_epoch": 0, "curve": [{"epoch": 0, "train_loss": float("nan")}], "more": 1})}]
        ),
        ("staged_recommendations", "serve"): table(
            STAGED, [{"request_idx": i, "shortfall": text} for i, text in enumerate(["", "few items", "few items", "no items"])]
        ),
    }

    def read(name: str, part: str | None = None) -> DataFrame | None:
        return cumulative.get(name) if part is None else at_parts.get((name, part))

    return build_summary(read, PARTS, RUNS, 12.5, "lake/recs")


def check_popularity(published: dict[str, Any]) -> None:
    assert (published["n_users"], published["n_recommendations"], published["n_items"], published["n_catalogue"]) == (3, 5, 4, 5)
    assert published["coverage"] == 0.8
    # Four items with events, most used first. Middles of the groups: item 0 at 1/8, item 1 at 3/8, items 2 and 3 at 6/8.
    bands = {band["band"]: (band["items"], band["events"], band["recommendations"]) for band in published["bands"]}
    assert bands == {
        "most used 1 %": (0, 0, 0),
        "next 9 %": (0, 0, 0),
        "next 40 %": (2, 6, 1),
        "least used half": (2, 2, 2),
        "without events": (1, 0, 2),
    }
    assert published["sources"] == [{"source": "als", "n": 3}, {"source": "popular", "n": 2}]
    assert published["rungs"] == [{"rung": "ranker", "n": 4}, {"rung": "popularity", "n": 1}]


def check_users(shown: list[dict[str, Any]]) -> None:
    """Two of middling history, the median being 3, and the cold one last."""
    users = {user["user_id"]: user for user in shown}
    assert set(users) == {"u0", "u1", "u3"}
    assert shown[2]["user_id"] == "u3"
    # Newest first.
    assert (users["u0"]["history"], users["u0"]["n_history"]) == (["Film 2", "Film 1", "Film 0"], 3)
    assert (users["u3"]["history"], users["u3"]["n_history"]) == ([], 0)
    # Best first; an item without title is called by its id.
    assert [item["title"] for item in users["u1"]["recommendations"]] == ["i4", "Film 2"]
    assert users["u0"]["recommendations"][0] == {
        "rank": 1,
        "item_id": "i3",
        "title": "Film 3",
        "score": 0.5,
        "source": "als",
        "rung": "ranker",
        "because": ["Film 0", "Film 2"],
    }


def test_every_figure(summary: dict[str, Any]) -> None:
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert (summary["warehouse"], summary["parts"], summary["seconds"]) == ("lake/recs", PARTS, 12.5)
    assert summary["runs"] == [{"job": "histories", "slices": ["serve"], "n_rows": 3, "seconds": 1.5, "status": "done"}]
    assert summary["counts"] == {"users": 4, "items": 5, "events": 8}
    assert summary["intake"] == {"rows_in": 15, "kept": 8, "quarantined": 6, "duplicates": 1, "deliveries": 2}
    assert summary["quarantine"] == [{"reason": "no user", "n": 2}, {"reason": "bad time", "n": 1}, {"reason": "no item", "n": 1}]
    assert summary["flagged"] == [{"reason": "more than 8", "n": 2}]
    assert summary["event_types"] == [{"event_type": "rate", "n": 7}, {"event_type": "view", "n": 1}]
    # 120 seconds in 60 bins of two seconds: 0 and 1; 2 and 3; 4 and 5; 60; 119.
    assert len(summary["events_over_time"]) == 60
    assert {i: one["n"] for i, one in enumerate(summary["events_over_time"]) if one["n"]} == {0: 2, 1: 2, 2: 2, 30: 1, 59: 1}
    assert summary["events_over_time"][30] == {"from": "2020-01-01T00:01:00", "to": "2020-01-01T00:01:02", "n": 1}
    # Half of 8 events is what the first item has.
    points = [{"rank": 1, "n_events": 4}, {"rank": 2, "n_events": 2}, {"rank": 4, "n_events": 1}]
    assert summary["long_tail"] == {"n_items": 4, "n_events": 8, "points": points, "n_items_with_half": 1}
    assert summary["metrics"] == {"part": "tune", "horizon": "last_5/tune", "rows": [{**METRIC, "low": None}]}
    assert (summary["champion"]["model"], summary["champion"]["ranker_value"], summary["champion"]["reason"]) == ("ranker", None, "better")
    assert summary["gates"] == [{"gate": "churn", "value": None, "limit": 0.5, "passed": True, "message": "nothing was live"}]
    assert summary["training"] == {"best_epoch": 0, "curve": [{"epoch": 0, "train_loss": None}]}
    assert summary["shortfalls"] == [{"shortfall": "few items", "n": 2}, {"shortfall": "no items", "n": 1}]
    check_popularity(summary["published"])
    check_users(summary["users"])
    assert "Film 3" in render_report(summary)


@pytest.mark.parametrize("parts", [{}, PARTS])
def test_a_run_that_made_no_table(parts: dict[str, str]) -> None:
    summary = build_summary(lambda name, part=None: None, parts, [], 0.1, "here")
    assert (summary["counts"], summary["users"], summary["published"]) == ({"users": 0, "items": 0, "events": 0}, [], {})
    assert render_report(summary)
    assert json.dumps(summary, allow_nan=False)


def test_sources_without_times_and_a_live_table_without_rows(table: Callable[..., DataFrame]) -> None:
    tables = {
        "interactions": table(INTERACTIONS, [{**event(0, 0, 0), "event_at": None}]),
        "item_index": table(ITEM_INDEX, [{"item_id": "i0", "item_idx": 0}]),
        "recommendations": table(RECOMMENDATIONS, []),
    }
    summary = build_summary(lambda name, part=None: None if part else tables.get(name), PARTS, [], 0.1, "here")
    assert summary["events_over_time"] == []
    assert (summary["published"]["n_users"], summary["published"]["coverage"]) == (0, 0.0)
    assert render_report(summary)
