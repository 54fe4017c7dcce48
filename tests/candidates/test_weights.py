from __future__ import annotations

import pytest
from pyspark.sql import functions as F

from recspark.candidates.weights import add_up_pairs, keep_latest_ratings
from recspark.errors import ConfigError


def test_a_pairs_weights_are_added_in_one_order_and_what_weighs_nothing_is_left_out(events) -> None:  # type: ignore[no-untyped-def]
    # In ascending order 1 + 2^-53 + 2^-53 is 1 + 2^-52; in others it is 1.
    tiny = 2.0**-53
    rows = [(0, 0, "use", 1.0), (0, 0, "use", tiny), (0, 0, "use", tiny), (1, 0, "use", 0.0), (1, 1, "use", 2.0)]
    weighted = events(rows).withColumn("weight", F.col("value"))
    for partitions in (1, 2, 7):
        shuffled = weighted.orderBy(F.xxhash64("event_key", F.lit(partitions))).repartition(partitions)
        assert sorted(tuple(row) for row in add_up_pairs(shuffled).collect()) == [(0, 0, 1.0 + 2 * tiny), (1, 1, 2.0)]


def test_the_latest_rating_with_a_value_stands(events) -> None:  # type: ignore[no-untyped-def]
    frame = events([(0, 0, "rate", 2.0), (0, 0, "rate", 5.0), (0, 0, "rate"), (0, 0, "other", 1.0), (1, 0, "rate"), (1, 1, "off", 3.0)])
    rows = keep_latest_ratings(frame, {"rate": 1.0, "off": 0.0}).collect()
    assert [tuple(row) for row in rows] == [(0, 0, 5.0)]
    with pytest.raises(ConfigError, match="nothing could be learnt"):
        keep_latest_ratings(frame, {})
