"""The signature is the contract: inputs, parameters and lineage are read from it, and mistakes are named."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError
from pyspark.sql import DataFrame

from recspark.errors import LineageError
from recspark.runtime.job import Job, find_jobs, in_flow_order, tables_read
from recspark.tables import CLEAN_EVENTS, HISTORIES, INTERACTIONS, POPULARITY, REQUESTS, SOURCE_CANDIDATES
from recspark.tables.horizon import Horizon
from recspark.tables.lineage import At, LabelRows, LearnRows, Of, Previous, Spread


def build_a(interactions: LearnRows, requests: DataFrame, *, horizon: Horizon, max_length: int = 50, seed: int) -> DataFrame: ...


def build_b(
    early: Annotated[DataFrame, At("fit", "histories")], labels: DataFrame | None, of: Annotated[DataFrame, Of("requests")]
) -> DataFrame: ...


def build_unknown(histoires: DataFrame) -> DataFrame: ...


def build_requests(popularity: DataFrame) -> DataFrame: ...


def build_popularity(requests: DataFrame) -> DataFrame: ...


def extend(clean_events: Previous) -> DataFrame: ...


def leak(interactions: LabelRows) -> DataFrame: ...


def test_inputs_are_the_parameters_before_the_star():
    a, b = Job(build_a, writes=HISTORIES), Job(build_b, writes=POPULARITY)
    assert [(one.parameter, one.table, one.optional) for one in a.inputs] == [
        ("interactions", "interactions", False),
        ("requests", "requests", False),
    ]
    assert [(one.table, one.part, one.optional) for one in b.inputs] == [
        ("histories", "fit", False),
        ("labels", None, True),
        ("requests", None, False),
    ]
    assert tables_read(a) == ["interactions", "splits", "flagged_users", "requests"]


def test_parameters_are_what_stands_after_the_star_less_what_is_injected():
    section = Job(build_a, writes=HISTORIES).section
    assert section.model_validate({"seed": 3}).model_dump() == {"max_length": 50, "seed": 3}
    with pytest.raises(ValidationError, match="max_lenght"):
        section.model_validate({"seed": 3, "max_lenght": 9})


class Shared(BaseModel):
    """Knobs of several jobs."""

    model_config = ConfigDict(frozen=True)

    depth: PositiveInt = 2
    width: int = 5


def build_spread(requests: DataFrame, *, seed: int, shared: Annotated[Shared, Spread()] = Shared()) -> DataFrame: ...  # noqa: B008


def test_knobs_that_jobs_share_stand_in_the_section_and_are_gathered_for_the_function():
    job = Job(build_spread, writes=HISTORIES)
    section = job.section.model_validate({"seed": 3, "width": 7})
    assert section.model_dump() == {"seed": 3, "depth": 2, "width": 7}
    assert job.arguments(section) == {"seed": 3, "shared": Shared(depth=2, width=7)}
    for wrong in ({"depth": 0}, {"shared": {}}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            job.section.model_validate({"seed": 3, **wrong})


def test_a_parameter_that_names_no_table_is_refused_by_name():
    with pytest.raises(LineageError, match=r"'histoires' of .*build_unknown names no table"):
        _ = Job(build_unknown, writes=HISTORIES).inputs


def test_two_writers_of_one_slice_are_refused():
    twice = [Job(extend, writes=SOURCE_CANDIDATES, slice={"source": "als"}), Job(extend, writes=SOURCE_CANDIDATES, slice={"source": "als"})]
    with pytest.raises(LineageError, match="'source_candidates'.*is written by"):
        in_flow_order(twice)


def test_a_read_without_a_writer_is_refused():
    with pytest.raises(LineageError, match="'requests' reads 'popularity', which no job writes"):
        in_flow_order([Job(build_requests, writes=REQUESTS)])


def test_a_cycle_is_refused_but_ones_own_earlier_rows_are_not_a_cycle():
    assert in_flow_order([Job(extend, writes=CLEAN_EVENTS)])
    with pytest.raises(LineageError, match="wait for each other"):
        in_flow_order([Job(build_requests, writes=REQUESTS), Job(build_popularity, writes=POPULARITY)])


def test_every_job_of_the_river_fits_and_only_labels_may_see_labels():
    jobs = find_jobs()
    order = [job.name for job in in_flow_order(jobs.values())]
    assert order.index("interactions") < order.index("examples") < order.index("rankers") < order.index("recommendations")
    assert jobs_that_see_labels(jobs.values()) == ["labels"]
    assert jobs_that_see_labels([Job(leak, writes=INTERACTIONS)]) == ["interactions"]


def jobs_that_see_labels(jobs) -> list[str]:
    """`splits` deals the roles out, so it sees every row; nobody else does."""
    sees = [job.name for job in jobs for one in job.inputs if "label" in getattr(one.marker, "roles", ())]
    return sorted(set(sees) - {"splits"})
