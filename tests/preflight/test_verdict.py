"""What is over a limit is refused with the figure and the setting that would do; what changes no result is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from recspark.preflight.activity import Activity, activity_of
from recspark.preflight.models import MODELS, Model
from recspark.preflight.verdict import Limits, count, duration, in_words, judge, refusal_of
from recspark.preflight.work import Place, Rates, Step, Work, size
from tests.preflight.counted import WORLDS, activity
from tests.preflight.test_als_forecasts import ALS
from tests.preflight.test_forecasts import KNN

RATES = Rates(least_squares=1e9, additions=1e6, products=1e9, inverse=1e9, rows=1e6, moved=1e7, sent=1e8, start=0.75, stage=0.25)
PLACE = Place(2)
NOTHING = activity_of([])


def _work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
    """1,000 additions and 10 bytes an item of a history; a task holds what its blocks leave."""
    cap, blocks = knobs["cap"], knobs["n_blocks"]
    return Work(cap, "pairs", cap, (Step("additions", 1000 * cap, 2),), 10 * cap, 8_000_000 / blocks + 1000, 50 * cap)


MODEL = Model(_work, levers=("cap",), blocks="n_blocks")


def _judge(**limits: Any) -> Any:
    return judge("neighbours", MODEL, NOTHING, {"cap": 4000, "n_blocks": 4}, PLACE, RATES, Limits(**limits))


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        # 1 + 1,000 cap / 2 / 1e6 seconds: 3 for 4,000, 2 for 2,000
        ({"seconds": 2.0}, "takes about 3 s, and limits.seconds is 2 s: set neighbours.cap to 2000 (now 4000), or raise limits.seconds"),
        ({"shuffle_bytes": 999.0}, "shuffles 40 KB, and limits.shuffle_bytes is 0.999 KB: set neighbours.cap to 99 (now 4000), or raise"),
        ({"driver_bytes": 10_000.0}, "brings 200 KB through the driver, and limits.driver_bytes is 10 KB: set neighbours.cap to 200 (now"),
        ({"task_bytes": 1000.0}, "needs 2 MB in a task, and limits.task_bytes is 1 KB: raise limits.task_bytes where there is more"),
        (
            {"seconds": 0.5},
            "takes about 3 s, and limits.seconds is 0.5 s: raise limits.seconds where there is more",
        ),  # no cap starts faster
    ],
)
def test_refusals(limits: dict[str, float], said: str):
    verdict = _judge(**limits)
    assert verdict.refusal.startswith(said)
    assert verdict.chosen == {}
    assert _judge(**dict.fromkeys(limits, 1000000000000.0)).refusal == ""


def test_the_worst_figure_is_told_and_a_change_that_keeps_all_limits():
    """3 s are 1.5 times the limit, 200 KB 20 times; 10 KB are 50 bytes for each of 200."""
    refusal = _judge(seconds=2.0, driver_bytes=10_000.0, origins={"driver_bytes": "spark.driver.memory"}).refusal
    assert refusal == (
        "brings 200 KB through the driver, and limits.driver_bytes is 10 KB (spark.driver.memory); it is over limits.seconds too: "
        "set neighbours.cap to 200 (now 4000), or raise limits.seconds and limits.driver_bytes where there is more"
    )


def test_of_levers_the_one_is_told_that_changes_least():
    """cap alone: 4,000 to 2,000; rows alone: 30 to 20."""

    def work(activity: Activity, knobs: Mapping[str, Any], place: Place) -> Work:
        return Work(1, "pairs", 1, (), knobs["cap"] * max(knobs["rows"] - 10, 0), 0, 0)

    knobs = {"cap": 4000, "rows": 30}
    verdict = judge("job", Model(work, levers=("cap", "rows")), NOTHING, knobs, PLACE, RATES, Limits(shuffle_bytes=40_000.0))
    assert verdict.refusal.endswith("is 40 KB: set job.rows to 20 (now 30), or raise limits.shuffle_bytes where there is more")


def test_of_horizons_the_worst_is_told():
    fits, over, most = (_judge(seconds=limit) for limit in (3.0, 2.0, 1.5))
    assert refusal_of({"fit": fits}) == ""
    assert refusal_of({"fit": over, "tune": fits}) == f"at fit it {over.refusal}"
    assert refusal_of({"fit": over, "tune": most, "test": fits, "serve": over}) == f"at tune (and 2 more) it {most.refusal}"


def test_more_blocks_where_a_task_cannot_hold_its_own():
    """8 MB / blocks + 1 KB: four are 2 MB, sixteen 0.501 MB."""
    verdict = _judge(task_bytes=600_000.0)
    assert (verdict.chosen, verdict.refusal, verdict.work.task_bytes) == ({"n_blocks": 16}, "", 501_000)
    assert _judge(task_bytes=2_001_000.0).chosen == {}


def test_a_history_cap_for_real():
    """The largest cap that keeps item neighbours in time; it and a cap one larger, judged again."""
    model, found = MODELS["neighbours_item_knn"], activity(WORLDS["few users"])

    def of(cap: int) -> Any:
        return judge("neighbours_item_knn", model, found, {**KNN, "max_items_per_user": cap}, PLACE, RATES, Limits(seconds=1.6))

    refusal = of(500).refusal
    cap = int(refusal.split("neighbours_item_knn.max_items_per_user to ")[1].split(" ")[0])
    assert 1 < cap < 500
    assert of(cap).refusal == ""
    assert of(cap + 1).refusal


def test_a_lever_that_names_no_number_stands_for_all_items():
    """n_neighbours null: lists of all items; the refusal names the largest number that fits."""
    model, found = MODELS["source_candidates_ease"], activity(WORLDS["few users"])
    knobs = {"n_neighbours": None, "n_candidates": 10}

    def of(n: int | None, limit: float) -> Any:
        return judge("source_candidates_ease", model, found, {**knobs, "n_neighbours": n}, PLACE, RATES, Limits(driver_bytes=limit))

    limit = of(7, 1e12).work.driver_bytes
    refusal = of(None, limit).refusal
    assert "set neighbours_ease.n_neighbours to 7 (now all), or raise limits.driver_bytes" in refusal
    assert (of(7, limit).refusal, bool(of(8, limit).refusal)) == ("", True)


def test_lists_that_cannot_be_published_are_refused_before_they_are_computed():
    """3,000 items of 20 neighbours: the job that computes them and the one that reads them say the same number, which fits."""
    found = activity(WORLDS["few users"])
    knobs = {**KNN, "n_candidates": 10, "lists_of": "history", "max_history": 50, "max_length": 50}

    def of(job: str, n: int) -> Any:
        return judge(job, MODELS[job], found, {**knobs, "n_neighbours": n}, PLACE, RATES, Limits(published_rows=20_000.0))

    for job in ("neighbours_item_knn", "source_candidates_item_knn"):
        refusal = of(job, 20).refusal
        assert refusal.startswith("has lists of 53,"), refusal
        assert "limits.published_rows is 20,000: " in refusal
        n = int(refusal.split("set neighbours_item_knn.n_neighbours to ")[1].split(" ")[0])
        assert (of(job, n).refusal, bool(of(job, n + 1).refusal)) == ("", True)


def test_als_that_no_task_can_hold_is_told_of_the_other_engine():
    found = activity(WORLDS["usual"])
    verdict = judge("vectors_als", MODELS["vectors_als"], found, {**ALS, "rank": 400}, PLACE, RATES, Limits(task_bytes=2.2e6))
    assert "set vectors_als.rank to " in verdict.refusal
    auto = judge("vectors_als", MODELS["vectors_als"], found, {**ALS, "engine": "auto"}, PLACE, RATES, Limits())
    assert (auto.chosen, auto.refusal) == ({"engine": "blocked"}, "")
    assert auto.figures["chosen"] == {"engine": "blocked"}
    large = {**ALS, "engine": "auto", "item_bytes": 1}
    assert judge("vectors_als", MODELS["vectors_als"], found, large, PLACE, RATES, Limits()).chosen == {"engine": "mllib"}


def test_a_line_of_what_a_job_takes_at_two_horizons():
    """The start of 0.75 s once; the stage of 0.25 s and the work of 2 s twice."""
    line = in_words([_judge(), _judge()])
    assert (
        line == "neighbours: 8,000 pairs, 8,000 flop, about 5.2 s at all 2 horizons, 80 KB shuffled, 2 MB a task, 200 KB through the driver"
    )


def test_units():
    assert [size(n) for n in (500, 2_500, 3.1e6, 4.25e9, 9e12)] == ["0.5 KB", "2.5 KB", "3.1 MB", "4.25 GB", "9 TB"]
    assert [count(n) for n in (999, 123_456, 16.4e6, 2e9, 3e12)] == ["999", "123,456", "16.4 M", "2 G", "3 T"]
    assert [duration(n) for n in (2.44, 299, 900, 36_000)] == ["2.4 s", "299 s", "15 min", "10 h"]
