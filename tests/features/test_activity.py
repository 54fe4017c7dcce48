"""The histogram job against numpy, on a world with repeated events and a type that does not count."""

from __future__ import annotations

import pytest

from recspark.errors import ConfigError
from recspark.features.activity import build_activity
from recspark.tables import ACTIVITY
from recspark.tables.contract import check_rows, conform
from tests.preflight.counted import activity_rows
from tests.worlds import zipf

WORLD = zipf(60, 40, 1_500, seed=9)


def test_degrees_are_counted_as_numpy_does(spark):
    columns = zip(WORLD.users.tolist(), WORLD.items.tolist(), strict=True)
    events = [(user, item, "use") for user, item in columns] + [(1_000, item, "wish") for item in range(40)]
    frame = spark.createDataFrame(events, "user_idx bigint, item_idx int, event_type string")
    found = build_activity(frame.repartition(5), weights={"use": 2.0, "wish": 0.0})
    named = conform(found.selectExpr("'d' as horizon", "*"), ACTIVITY, "build_activity")
    check_rows(named, ACTIVITY)
    rows = [row.asDict() for row in found.orderBy("kind", "bucket").collect()]
    assert rows == sorted(activity_rows(WORLD), key=lambda row: (row["kind"], row["bucket"]))


def test_no_weight_is_refused(spark):
    with pytest.raises(ConfigError, match="no event type"):
        build_activity(spark.createDataFrame([], "user_idx bigint, item_idx int, event_type string"), weights={"use": 0.0})
