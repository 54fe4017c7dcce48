"""What a run is made of before and after the river: which jobs are on, at which horizons, and the summary that it keeps."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from recspark.columns import FIT, SERVE, TEST, TUNE
from recspark.errors import ConfigError
from recspark.runtime import switches
from recspark.runtime.config import check, load_layers
from recspark.runtime.inputs import Inputs
from recspark.runtime.job import find_jobs
from recspark.runtime.nightly import _in_utc, _kept_summary, _likely, targets_of
from recspark.runtime.river import River
from recspark.tables.horizon import Horizon

EVENTS = ["events.path=e.csv", "events.columns.user_id=u", "events.columns.item_id=i", "events.types.view=1", "events.order=file"]


def switched_on(*assignments):
    every = find_jobs()
    return switches.switched_on(every, check(load_layers(None, "local", [*EVENTS, *assignments]), every))


def test_what_can_do_without_a_section_goes_on_without_it():
    everything = set(switched_on())
    assert {"recommendations", "similar_items", "vectors_als"} <= everything
    without = set(switched_on("vectors_als=null", "sources=[item_knn,popular]"))
    assert everything - without == {"vectors_als", "source_candidates_als"}
    assert "recommendations" not in switched_on("recommendations=null")


def test_neighbours_are_computed_where_something_reads_them():
    def neighbours(*assignments):
        return {name for name in switched_on(*assignments) if name.startswith(("neighbours", "source_candidates"))}

    popular = {"source_candidates_popular"}
    # similar_items reads item_knn's, whatever proposes.
    assert neighbours("sources=[popular]") == popular | {"neighbours_item_knn"}
    assert neighbours("sources=[popular]", "similar_items=null") == popular
    both = {f"{table}_{source}" for table in ("neighbours", "source_candidates") for source in ("ease", "user_knn")}
    assert neighbours("sources=[ease, user_knn, popular]", "similar_items.source=ease") == popular | both
    ratings = ["events.columns.value=stars", "predictions={method: user_knn}", "neighbours_user_knn.similarity=pearson"]
    assert neighbours("sources=[popular]", "similar_items=null", *ratings) == popular | {"neighbours_user_knn"}


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (
            ["candidates=null"],
            r"recommendations cannot be made: recommendations reads staged_recommendations, .*reads candidates, `candidates` is null; "
            r"give `candidates` a section \(\{\} for the defaults\), or write `recommendations: null` where it is not wanted",
        ),
        (["vectors_als=null", "sources=[als]"], r"source_candidates_als reads vectors, .*`vectors_als` is null"),
        (
            ["neighbours_item_knn=null"],
            r"similar_items cannot be made: similar_items reads neighbours, `neighbours_item_knn` is null",
        ),
        (
            # The neighbours of item_knn, which similar_items reads, are no substitute for EASE's weights.
            ["sources=[ease]", "neighbours_ease=null"],
            r"source_candidates_ease reads neighbours, `neighbours_ease` is null; give `neighbours_ease` a section",
        ),
        (["quarantine=null"], r"^quarantine cannot be made: `quarantine` is null; give `quarantine` a section \(\{\} for the defaults\)$"),
        (["landed_events=null"], r"^interactions cannot be made: .*reads landed_events, `landed_events` is null"),
    ],
)
def test_a_published_table_that_lost_its_writer_names_the_chain(assignments, said):
    with pytest.raises(ConfigError, match=said):
        switched_on(*assignments)


def test_gates_and_what_they_judge_are_computed_where_is_served_only():
    cut = datetime(2025, 6, 1, tzinfo=UTC)
    parts = {part: Horizon(part, 3, closed=part != SERVE, cut=cut) for part in (FIT, TUNE, TEST, SERVE)}
    house = SimpleNamespace(jobs=find_jobs())
    inputs = SimpleNamespace(parts=parts, intake=SimpleNamespace(delivery=3))

    def at(table):
        return [scope.slice for _, scope in targets_of(table, house, inputs)]

    assert [at(table) for table in ("champion", "gates", "staged_recommendations")] == [[SERVE]] * 3
    assert at("histories") == [FIT, TUNE, TEST, SERVE]
    assert (at("rankers"), at("metrics"), at("interactions"), at("recommendations")) == ([FIT], [TUNE, TEST], ["3"], [""])


def planned(table, *assignments) -> set[str]:
    """The jobs that a run of `table` (a table, a job, or None for all that is published) would come by."""
    every = find_jobs()
    config = check(load_layers(None, "local", [*EVENTS, *assignments]), every)
    jobs = switches.switched_on(every, config)
    nowhere = SimpleNamespace(spark=None)
    inputs = Inputs(nowhere, nowhere, jobs, SimpleNamespace(delivery=3), repeats="earliest", published_rows=1)
    inputs.parts = {part: Horizon(part, 3, closed=part != SERVE) for part in (FIT, TUNE, TEST, SERVE)}
    river = River(config, jobs, nowhere, nowhere, inputs, SimpleNamespace(note=print), now=datetime(2025, 6, 1), run_torch=None)
    return set(river.plan(targets_of(table, SimpleNamespace(jobs=jobs), inputs)))


def test_a_job_is_run_without_those_that_write_other_slices_of_its_table():
    def of(table, *assignments):
        return {name for name in planned(table, *assignments) if name.startswith(("source_candidates", "neighbours", "vectors"))}

    assert of("source_candidates_als") == {"source_candidates_als", "vectors_als"}
    assert of("neighbours_item_knn", "sources=[item_knn,ease]") == {"neighbours_item_knn"}
    # It reads the neighbours of its own source only.
    assert of("source_candidates_item_knn", "sources=[item_knn,ease]") == {"source_candidates_item_knn", "neighbours_item_knn"}
    every = {f"source_candidates_{source}" for source in ("als", "item_knn", "popular")}
    assert of("source_candidates") == {*every, "vectors_als", "neighbours_item_knn"}


def test_steps_are_counted_before_the_horizons_are_known():
    """What is likely to run, against what is planned: only what ends a delivery is more, which a later run does not come by."""
    every = find_jobs()
    for table in (None, "source_candidates_als", "interactions"):
        config = check(load_layers(None, "local", EVENTS), every)
        assert _likely(table, switches.switched_on(every, config)) - planned(table) <= {"quarantine", "intake", "splits"}
        assert planned(table) <= _likely(table, switches.switched_on(every, config))


def test_without_a_ranker_nothing_is_made_for_one():
    only_for_rankers = {"rankers", "examples", "scores", "ranked"}
    everything, without = planned(None), planned(None, "rankers=null")
    assert everything >= only_for_rankers
    assert without == everything - only_for_rankers - {"user_features"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-06-01T04:00:00+02:00", datetime(2025, 6, 1, 2)),
        ("2025-06-01T04:00:00Z", datetime(2025, 6, 1, 4)),
        ("2025-06-01T04:00:00", datetime(2025, 6, 1, 4)),
    ],
)
def test_now_is_utc(text, expected):
    assert _in_utc(datetime.fromisoformat(text)) == expected


def test_a_summary_counts_for_its_own_state_only_and_half_a_one_never(tmp_path):
    place = tmp_path / "summary.json"
    assert _kept_summary(str(place), 7) is None
    whole = json.dumps({"sequence": 7, "users": []})
    place.write_text(whole)
    assert _kept_summary(str(place), 7) == {"sequence": 7, "users": []}
    assert _kept_summary(str(place), 8) is None
    for half in (whole[:10], "", '{"users": "caf\udcc3'):
        place.write_bytes(half.encode("utf-8", errors="surrogateescape"))
        assert _kept_summary(str(place), 7) is None


def test_what_is_read_at_fit_is_made_at_fit():
    every = find_jobs()
    config = check(load_layers(None, "local", [*EVENTS, "sources=[next_item]"]), every)
    horizons = {part: Horizon(part, 1, True) for part in ("fit", "tune", "test", "serve")}
    house = SimpleNamespace(jobs=switches.switched_on(every, config))
    for parts, expected in ((horizons, ["fit"]), ({"test": horizons["test"], "serve": horizons["serve"]}, ["test", "serve"])):
        inputs = SimpleNamespace(parts=parts, intake=SimpleNamespace(delivery=1))
        assert [scope.slice for _, scope in targets_of("next_item_models", house, inputs)] == expected
