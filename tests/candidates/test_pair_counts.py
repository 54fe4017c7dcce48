from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from pyspark.sql import functions as F

from recspark.candidates import item_knn
from recspark.candidates.pair_counts import add_counts, count_changes, count_pairs, neighbours_of_counts, subtract_counts
from recspark.errors import ConfigError
from tests import dense
from tests.candidates.test_item_knn import USE, rows, used

build_item_knn = partial(item_knn.build_item_knn, n_slots=4)

KNOBS: dict[str, Any] = {"weights": USE, "n_blocks": 2, "max_items_per_user": 6}


def table_of(counts: Any) -> list[tuple[int, ...]]:
    return sorted(tuple(row) for row in counts.select("item_idx", "other_idx", "support").collect())


def test_counts_by_hand(events) -> None:  # type: ignore[no-untyped-def]
    counts = count_pairs(events([(0, 0), (0, 1), (0, 1), (1, 0), (1, 1), (1, 2), (2, 4)]), weights=USE, n_blocks=2)
    # Three users; 0 and 1 have two each, 2 and 4 one; (0, 1) is shared by two, (0, 2) and (1, 2) by one.
    singles = [(0, 0, 2), (1, 1, 2), (2, 2, 1), (4, 4, 1)]
    assert table_of(counts) == sorted([(-1, -1, 3), *singles, (0, 1, 2), (0, 2, 1), (1, 2, 1)])


def test_a_day_added_and_removed_equals_counting_anew(events) -> None:  # type: ignore[no-untyped-def]
    frame = events(used(dense.world(8, n=10))).cache()
    # A day holds a third of the events, of most users some, and long histories are sampled anew.
    before, after = frame.filter(F.pmod(F.xxhash64("event_key"), F.lit(3)) > 0), frame
    counts, fresh = count_pairs(before, **KNOBS).cache(), count_pairs(after, **KNOBS).cache()
    changes = count_changes(before, after, **KNOBS).cache()
    assert table_of(fresh) != table_of(counts)
    assert table_of(add_counts(counts, changes)) == table_of(fresh)
    assert table_of(subtract_counts(fresh, changes)) == table_of(counts)


@pytest.mark.parametrize("similarity", ["cosine", "jaccard", "llr", "conditional"])
def test_neighbours_of_counts_are_those_of_events_to_the_bit(events, similarity) -> None:  # type: ignore[no-untyped-def]
    frame = events(used(dense.world(9)))
    knobs: dict[str, Any] = {"similarity": similarity, "n_neighbours": 4}
    fitted = build_item_knn(frame, value_as="ignore", **KNOBS, **knobs)
    assert rows(neighbours_of_counts(count_pairs(frame, **KNOBS), n_blocks=3, **knobs)) == rows(fitted)


def test_counts_do_not_tell_correlations(spark) -> None:  # type: ignore[no-untyped-def]
    counts = spark.createDataFrame([], "item_idx int, other_idx int, support bigint")
    with pytest.raises(ConfigError, match="similarity is pearson: .* choose cosine"):
        neighbours_of_counts(counts, similarity="pearson")
