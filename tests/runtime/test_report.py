"""The report and the printed summary: self-contained, honest figures, and other people's texts kept as texts."""

from __future__ import annotations

import copy
import io
import re
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from rich.console import Console

from recspark.runtime import charts
from recspark.runtime.printout import best_models, main_cut, metric_table, print_summary
from recspark.runtime.report import render_report

HOSTILE = "<script>alert('x')</script> & [bold]Co[/bold]"


def metric(
    model: str, name: str, value: float | None, k: int = 10, baseline: str = "", slice_name: str = "all", half: float | None = 0.01
) -> dict[str, Any]:
    low, high = (None, None) if half is None or value is None else (value - half, value + half)
    return {
        "model": model,
        "baseline": baseline,
        "metric": name,
        "k": k,
        "slice": slice_name,
        "n": 600,
        "value": value,
        "low": low,
        "high": high,
    }


EMPTY: dict[str, Any] = {
    "warehouse": "warehouse",
    "parts": {},
    "seconds": 1.0,
    "runs": [],
    "refused": "",
    "ran": {},
    "counts": {"users": 0, "items": 0, "events": 0},
    "intake": {},
    "quarantine": [],
    "flagged": [],
    "events_over_time": [],
    "event_types": [],
    "long_tail": {"n_items": 0, "n_events": 0, "points": [], "n_items_with_half": 0},
    "metrics": {"part": "", "horizon": "", "rows": []},
    "champion": {},
    "gates": [],
    "published": {},
    "shortfalls": [],
    "training": {},
    "users": [],
}
FULL: dict[str, Any] = {
    **EMPTY,
    "warehouse": "lake/recs",
    "parts": {"tune": "last_5/tune", "test": "last_5/test", "serve": "serve"},
    "seconds": 212.44,
    "runs": [{"job": "histories", "slices": ["tune", "serve"], "n_rows": 671, "seconds": 1.25, "status": "done"}],
    "refused": HOSTILE,
    "ran": {"histories": 1.25},
    "counts": {"users": 671, "items": 9066, "events": 100_004},
    "intake": {"rows_in": 30, "kept": 20, "quarantined": 6, "duplicates": 4, "deliveries": 1},
    "quarantine": [{"reason": HOSTILE, "n": 6}],
    "flagged": [{"reason": HOSTILE, "n": 2}],
    "events_over_time": [
        {"from": "2020-01-01T00:00:00", "to": "2020-01-02T00:00:00", "n": 3},
        {"from": "2020-01-02T00:00:00", "to": "2020-01-03T00:00:00", "n": 5},
    ],
    "event_types": [{"event_type": HOSTILE, "n": 100_004}],
    "long_tail": {"n_items": 4, "n_events": 8, "points": [{"rank": 1, "n_events": 4}, {"rank": 4, "n_events": 1}], "n_items_with_half": 1},
    "metrics": {
        "part": "test",
        "horizon": "last_5/test",
        "rows": [
            metric("ranker", "ndcg", 0.2),
            metric("als", "ndcg", 0.1),
            metric("als", "ndcg", None, slice_name="cold"),
            metric("ranker", "ndcg", 0.25, k=20),
            metric("ranker", "rmse", 0.95, k=0),
            metric("als", "rmse", 0.9, k=0),
            metric("ranker", "coverage", 0.3, half=None),
            metric("ranker", "ndcg", 0.1, baseline="als"),
            metric("ranker", "rmse", 0.05, k=0, baseline="als"),
        ],
    },
    "champion": {
        "model": "ranker",
        "metric": "ndcg@10",
        "ranker_value": 0.2,
        "best_source": "als",
        "best_source_value": 0.1,
        "reason": HOSTILE,
    },
    "gates": [
        {"gate": "coverage", "value": 1.0, "limit": 0.99, "passed": True, "message": "all 671 users"},
        {"gate": "churn", "value": None, "limit": 0.7, "passed": False, "message": HOSTILE},
    ],
    "published": {
        "n_users": 671,
        "n_recommendations": 6710,
        "n_items": 1730,
        "n_catalogue": 9066,
        "coverage": 0.19,
        "bands": [
            {"band": "most used 1 %", "items": 1, "events": 5, "recommendations": 9},
            {"band": "without events", "items": 3, "events": 0, "recommendations": 1},
        ],
        "sources": [{"source": HOSTILE, "n": 10}],
        "rungs": [{"rung": "ranker", "n": 10}],
    },
    "shortfalls": [{"shortfall": HOSTILE, "n": 2}],
    "training": {
        "model": {"name": HOSTILE},
        "best_epoch": 2,
        "curve": [
            {"epoch": 0, "train_loss": 0.0, "tune_loss": 1.0, "tune_ndcg": 0.05},
            {"epoch": 1, "train_loss": 0.9, "tune_loss": 0.95, "tune_ndcg": 0.1},
            {"epoch": 2, "train_loss": 0.7, "tune_loss": 0.93, "tune_ndcg": 0.2},
            {"epoch": 3, "train_loss": 0.6, "tune_loss": 0.96, "tune_ndcg": 0.25},
        ],
    },
    "users": [
        {
            "user_id": HOSTILE,
            "n_history": 12,
            "history": [HOSTILE, "Alien"],
            "recommendations": [
                {
                    "rank": 1,
                    "item_id": "7",
                    "title": HOSTILE,
                    "score": 1.0,
                    "source": "als",
                    "rung": "ranker",
                    "because": [HOSTILE, "Alien"],
                }
            ],
        },
        {"user_id": "new", "n_history": 0, "history": [], "recommendations": []},
    ],
}


class Page(HTMLParser):
    """Collects a page's tags, and checks that each is closed in its order."""

    VOID = frozenset({"meta", "br", "line", "rect", "circle", "polyline", "polygon"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("summary", [EMPTY, FULL])
def test_the_page_needs_nothing_beside_itself(summary: dict[str, Any]) -> None:
    page = Page(render_report(summary))
    assert {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"} == set()
    names = {name for _, attributes in page.tags for name in attributes}
    assert names & {"src", "srcset", "onload", "onclick", "onerror"} == set()
    assert all(str(attributes.get("href", "#")).startswith("#") for _, attributes in page.tags)
    assert "url(" not in render_report(summary)


def test_every_picture_says_in_words_what_it_shows() -> None:
    pictures = [attributes for tag, attributes in Page(render_report(FULL)).tags if tag == "svg"]
    # ndcg, rmse; their differences; over time, tail, intake, quarantine, types; bands, sources, rungs; loss, ndcg by epoch.
    assert len(pictures) == 2 + 2 + 5 + 3 + 2
    assert all(picture["role"] == "img" and picture["aria-label"] for picture in pictures)


def test_before_the_first_step_there_is_no_training_loss() -> None:
    html = render_report(FULL)
    assert "training, epoch 1: 0.9" in html
    assert "training, epoch 0" not in html
    assert "tune, epoch 0: 1" in html


def test_texts_of_others_stay_texts() -> None:
    html = render_report(FULL)
    assert "<script" not in html
    # The warning of the gate, the champion's reason, the title, the reason, the user, the history: all there, as text.
    assert Page(html).text.count(HOSTILE) >= 8


def test_the_figures_are_there() -> None:
    text = re.sub(r"\s+", " ", Page(render_report(FULL)).text)
    for figure in (
        "100,004",
        "0.2000",
        "0.190 – 0.210",
        "30 rows read = 20 kept + 6 quarantined + 4 duplicates",
        "1,730 of 9,066 items",
        "3.5 min",
        "1 of 2",
    ):
        assert figure in text
    assert "Kept are the weights of epoch 2 (nDCG 0.2000 at tune)" in text
    assert "last_5/test" in text
    assert "and 10 more" in text


def test_an_empty_run_has_a_page_without_empty_sections() -> None:
    page = Page(render_report(EMPTY))
    assert [attributes["id"] for tag, attributes in page.tags if tag == "section" and "id" in attributes] == ["data", "run"]
    # A link leads nowhere but to a section that is there.
    assert [attributes["href"] for tag, attributes in page.tags if tag == "a"] == ["#data", "#run"]


def test_the_best_is_the_lowest_error_and_nobody_in_coverage() -> None:
    names, models = metric_table(FULL["metrics"]["rows"], 10)
    assert names == ["ndcg", "rmse", "coverage"]
    assert [best_models(name, models) for name in names] == [{"ranker"}, {"als"}, set()]


def test_the_main_cut_is_10_else_the_smallest() -> None:
    assert main_cut([metric("als", "ndcg", 0.1, k=k) for k in (0, 5, 10, 20)]) == 10
    assert main_cut([metric("als", "ndcg", 0.1, k=k) for k in (20, 5)]) == 5
    assert main_cut([metric("als", "rmse", 0.1, k=0)]) == 0


def test_a_difference_is_coloured_by_what_is_better() -> None:
    def colors(value: float, lower_is_better: bool) -> set[str]:
        row = {"name": "a − b", "value": value, "low": value - 0.01, "high": value + 0.01}
        return set(re.findall(r"fill-([abc])", str(charts.whiskers([row], "x", zero=True, lower_is_better=lower_is_better))))

    assert [colors(0.05, False), colors(-0.05, False), colors(0.005, False)] == [{"a"}, {"b"}, {"c"}]
    assert [colors(0.05, True), colors(-0.05, True), colors(-0.005, True)] == [{"b"}, {"a"}, {"c"}]


@pytest.mark.parametrize(
    ("low", "high", "n", "expected"),
    [(0, 10, 5, [0, 2, 4, 6, 8, 10]), (0, 0.17, 4, [0, 0.05, 0.1, 0.15]), (-0.3, 0.3, 3, [-0.2, 0, 0.2]), (3, 3, 4, [3])],
)
def test_ticks_are_round(low: float, high: float, n: int, expected: list[float]) -> None:
    assert charts.ticks(low, high, n) == pytest.approx(expected)


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (950, "950"), (1200, "1.2k"), (2_500_000, "2.5M"), (3e9, "3G"), (0.25, "0.25")])
def test_axes_are_compact(value: float, text: str) -> None:
    assert charts.compact(value) == text


@pytest.mark.parametrize("hours", [0.5, 40, 24 * 10, 24 * 200, 24 * 8000])
def test_a_time_axis_of_any_length_has_moments_on_it(hours: float) -> None:
    first, last = datetime(2020, 3, 1), datetime(2020, 3, 1) + timedelta(hours=hours)
    _, moments = charts._moments(first, last)
    assert 2 <= len(moments) <= 9
    assert all(first <= moment <= last for moment in moments)


def printed(summary: dict[str, Any]) -> str:
    said = io.StringIO()
    print_summary(summary, Console(file=said, width=200))
    return said.getvalue()


def test_the_printed_summary() -> None:
    said = printed(FULL)
    for text in (
        "30 rows in = 20 kept + 6 quarantined + 4 duplicates",
        "Quality at test, 600 requests",
        "0.2000 0.190–0.210",
        "passed  coverage",
    ):
        assert text in said
    assert said.count(HOSTILE) >= 6
    assert "Data" in printed(EMPTY)


def test_figures_without_a_value_or_interval() -> None:
    summary = copy.deepcopy(FULL)
    summary["metrics"]["rows"] = [metric("als", "ndcg", None), metric("als", "recall", 0.5, half=None)]
    assert "0.5000" in render_report(summary)
    assert "recall@10" in printed(summary)
