"""Where the cuts fall, by calendar arithmetic."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from pydantic import ValidationError

from recspark.errors import SplitError
from recspark.interactions.horizons import EventBounds, SplitSpec, fit_bounds, plan_horizons
from recspark.tables import INTERACTIONS
from recspark.tables.horizon import Horizon

NOW = datetime(2025, 6, 30, 15, tzinfo=UTC)
DATES = {"kind": "time", "fit": "2025-01-05", "tune": "2025-01-10", "test": "2025-01-15"}


def day(month, number):
    return datetime(2025, month, number, tzinfo=UTC)


def bounds(**counts):
    """jan1=5 and so on: events on days of January, the last at noon."""
    per_day = {date(2025, 1, int(name.removeprefix("jan"))): n for name, n in counts.items()}
    last = max(per_day)
    return EventBounds(day(1, min(per_day).day), day(1, last.day) + timedelta(hours=12), per_day)


def plan(spec, around=None, now=NOW):
    return plan_horizons(SplitSpec.model_validate(spec), delivery=3, now=now, bounds=around)


def test_dates_given_cut_there_and_labels_last_until_the_next_cut():
    around = bounds(jan1=1, jan20=1)
    spec = {"kind": "time", "fit": "2025-01-05", "tune": "2025-01-10", "test": "2025-01-15"}
    assert plan(spec, around) == {
        "fit": Horizon("2025-01-05", 3, True, day(1, 5), day(1, 10)),
        "tune": Horizon("2025-01-10", 3, True, day(1, 10), day(1, 15)),
        "test": Horizon("2025-01-15", 3, True, day(1, 15), day(1, 21)),
        "serve": Horizon("2025-01-21", 3, False, day(1, 21)),
    }
    short = plan({**spec, "label_days": 2, "as_of": "2025-01-25"}, around)
    assert [short[part].label_until for part in ("fit", "test", "serve")] == [day(1, 7), day(1, 17), day(1, 27)]
    assert plan({**spec, "label_days": 9}, around)["fit"].label_until == day(1, 10)


def test_a_cut_within_a_day_is_named_by_its_time():
    spec = {"kind": "time", "fit": "2025-01-05T06:30:00", "tune": "2025-01-10T00:00:00+02:00", "test": "2025-01-15"}
    found = plan(spec, bounds(jan1=1, jan20=1))
    assert (found["fit"].name, found["tune"].name) == ("2025-01-05T06:30:00", "2025-01-09T22:00:00")


def test_shares_choose_midnights():
    # From the end: 10 of 100 from the 6th on, 20 from the 4th on (the 5th is empty), 45 from the 3rd on.
    found = plan({"kind": "time"}, bounds(jan1=30, jan2=25, jan3=25, jan4=10, jan6=10))
    assert {part: horizon.name for part, horizon in found.items()} == {
        "fit": "2025-01-03",
        "tune": "2025-01-04",
        "test": "2025-01-06",
        "serve": "2025-01-07",
    }


def test_a_burst_takes_one_cut_only():
    found = plan({"kind": "time"}, bounds(jan1=5, jan2=5, jan3=5, jan4=85))
    assert [found[part].name for part in ("fit", "tune", "test")] == ["2025-01-02", "2025-01-03", "2025-01-04"]


def test_production_moves_with_as_of_and_has_no_test():
    around = bounds(jan1=1, jan20=1)
    assert plan({"kind": "production", "as_of": "2025-01-20", "label_days": 5}, around) == {
        "fit": Horizon("2025-01-10", 3, True, day(1, 10), day(1, 15)),
        "tune": Horizon("2025-01-15", 3, True, day(1, 15), day(1, 20)),
        "serve": Horizon("2025-01-20", 3, False, day(1, 20), day(1, 25)),
    }
    by_now = plan({"kind": "production"}, around)
    assert {part: horizon.name for part, horizon in by_now.items()} == {"fit": "2025-06-16", "tune": "2025-06-23", "serve": "2025-06-30"}


def test_stored_roles_are_named_by_split_and_part():
    found = plan({"kind": "last_n", "n_test": 1})
    assert [(h.name, h.stored_roles, h.closed, h.cut) for h in found.values()] == [
        ("last_1/fit", True, True, None),
        ("last_1/tune", True, True, None),
        ("last_1/test", True, True, None),
        ("serve", False, False, None),
    ]
    assert plan({"kind": "random", "share_test": 0.2})["test"].name == "random_0.2/test"
    assert plan({"kind": "users", "share_test": 0.2})["test"].name == "users_0.2/test"
    # A part without labels is no part.
    assert list(plan({"kind": "last_n", "n_fit": 0, "n_tune": 0})) == ["test", "serve"]
    stored = plan_horizons(SplitSpec(kind="stored", share_fit=0), delivery=1, now=NOW, stored=("test",))
    assert [horizon.name for horizon in stored.values()] == ["stored/tune", "stored/test", "serve"]


@pytest.mark.parametrize(
    ("spec", "around", "words"),
    [
        ({"kind": "time"}, None, "needs times"),
        ({"kind": "production"}, EventBounds(), "map events.columns.event_at"),
        ({"kind": "time"}, bounds(jan1=5, jan2=5, jan3=5), "events of 3 days"),
        (
            {"kind": "time", "fit": "2024-01-01", "tune": "2025-01-10", "test": "2025-01-15"},
            bounds(jan1=1, jan20=1),
            "no event lies before splits.fit",
        ),
        (
            {"kind": "time", "fit": "2025-01-05", "tune": "2025-01-10", "test": "2025-01-25"},
            bounds(jan1=1, jan20=1),
            "no event lies after splits.test",
        ),
        ({"kind": "production", "as_of": "2025-01-10"}, bounds(jan1=1, jan20=1), "lower splits.label_days"),
        ({"kind": "production", "as_of": "2025-07-01"}, bounds(jan1=1, jan20=1), "lies after the run's now"),
    ],
)
def test_what_cannot_be_cut_is_refused_in_words(spec, around, words):
    with pytest.raises(SplitError, match=words):
        plan(spec, around)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"kind": "last_n", "fit": "2025-01-01"}, "fit has no meaning where kind is last_n"),
        ({"kind": "time", "fit": "2025-01-01"}, "given alone"),
        ({"kind": "time", "fit": "2025-01-02", "tune": "2025-01-01", "test": "2025-01-03"}, "fit < tune < test"),
        ({"kind": "time", "fit": "2025-01-01", "tune": "2025-01-02", "test": "2025-01-03", "share_fit": 0.2}, "keep one of the two"),
        ({"kind": "random", "share_test": 0.9}, "must stay below 1"),
        ({"kind": "last_n", "n_test": 0}, "greater than or equal to 1"),
        ({"kind": "time", "share_tune": 0}, "must be above 0 where kind is time"),
        ({"kind": "stored", "n_tune": 1, "share_fit": 0.1}, "both n_tune and share_fit are given"),
        ({"kind": "stored", "share_test": 0.1}, "share_test has no meaning where kind is stored"),
        ({"kind": "kfold"}, "Input should be"),
    ],
)
def test_specs_that_do_not_fit(spec, words):
    with pytest.raises(ValidationError, match=words):
        SplitSpec.model_validate(spec)


def test_bounds_are_counted_by_day(table):
    times = [datetime(2025, 1, 1, 23, 59, 59, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC), datetime(2025, 1, 2, 5, tzinfo=UTC), None]
    found = fit_bounds(table(INTERACTIONS, [{"user_idx": 1, "event_at": at} for at in times]))
    assert found == EventBounds(times[0], times[2], {date(2025, 1, 1): 1, date(2025, 1, 2): 2})
    assert fit_bounds(table(INTERACTIONS, [])) == EventBounds()
