"""Plans: each row exactly once, for any number of processes, and the same order of samples for all of them."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recspark.errors import HandoverError
from recspark.handover.plan import Plan, PlannedColumn, RowRange, Window, make_plan

COLUMNS = (PlannedColumn("request_idx", "bigint", 0), PlannedColumn("items", "array<int>", 4))
WORLD_SIZES = (1, 2, 3, 5, 8)


def make(*rows: int) -> Plan:
    return make_plan("examples", 7, "fit", COLUMNS, {f"file:///x/part-{i}.parquet": n for i, n in enumerate(rows)})


def rows_of(ranges: tuple[RowRange, ...]) -> list[tuple[int, int]]:
    return [(piece.file, row) for piece in ranges for row in range(piece.start, piece.stop)]


def steps_of(windows: tuple[Window, ...]) -> list[list[tuple[int, int] | None]]:
    """The rows of each step of a process; None is padding."""
    steps = []
    for window in windows:
        rows: list[tuple[int, int] | None] = list(rows_of(window.ranges))
        rows += [None] * (window.n_slots * window.n_steps - len(rows))
        steps += [rows[step :: window.n_steps] for step in range(window.first_step, window.n_steps)]
    return steps


def global_steps(plan: Plan, world_size: int, **kwargs: int) -> list[list[tuple[int, int] | None]]:
    shares = [steps_of(plan.training_share(r, world_size, **kwargs)) for r in range(world_size)]
    assert len({len(share) for share in shares}) == 1, "steps must be equal for all processes"
    return [[row for part in parts for row in part] for parts in zip(*shares, strict=True)]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    world_size=st.sampled_from(WORLD_SIZES),
    batch=st.integers(8, 20),
    window=st.integers(1, 200),
    epoch=st.integers(0, 3),
)
def test_training_reads_each_row_once_and_in_the_same_batches_for_any_number_of_processes(rows, world_size, batch, window, epoch):
    plan = make(*rows)
    kwargs = {"seed": 5, "epoch": epoch, "global_batch_size": batch, "window_rows": window}
    steps = global_steps(plan, world_size, **kwargs)
    assert len(steps) == plan.n_steps(batch, window)
    assert all(len(step) == batch for step in steps)
    counts = Counter(row for step in steps for row in step if row is not None)
    assert counts == Counter((i, row) for i, file in enumerate(plan.files) for row in range(file.n_rows))
    assert steps == global_steps(plan, 1, **kwargs)


@pytest.mark.parametrize("world_size", WORLD_SIZES)
def test_scoring_reads_each_row_once_in_file_order_without_padding(world_size):
    plan = make(10, 0, 1, 23)
    rows = [row for r in range(world_size) for row in rows_of(plan.scoring_share(r, world_size))]
    assert rows == [(0, i) for i in range(10)] + [(1, 0)] + [(2, i) for i in range(23)]


@pytest.mark.parametrize("world_size", [2, 8])
def test_more_processes_than_files_and_rows(world_size):
    plan = make(3)
    steps = global_steps(plan, world_size, seed=0, epoch=0, global_batch_size=8, window_rows=64)
    assert [sum(row is not None for row in step) for step in steps] == [3]
    assert sum(len(rows_of(plan.scoring_share(r, world_size))) for r in range(world_size)) == 3


def test_a_window_by_hand():
    # 10 rows, batches of 4: three steps; slot s owns rows 3s, 3s+1, 3s+2 of the shuffled file; two rows are padding.
    plan = make(10)
    first = plan.training_share(0, 2, seed=1, epoch=0, global_batch_size=4, window_rows=100)
    second = plan.training_share(1, 2, seed=1, epoch=0, global_batch_size=4, window_rows=100)
    assert steps_of(first) == [[(0, 0), (0, 3)], [(0, 1), (0, 4)], [(0, 2), (0, 5)]]
    assert steps_of(second) == [[(0, 6), (0, 9)], [(0, 7), None], [(0, 8), None]]


@pytest.mark.parametrize("later", [1, 2, 3, 5, 8])
def test_a_run_resumed_with_another_number_of_processes_sees_the_rest_in_the_same_order(later):
    plan = make(30, 11, 7, 50)
    kwargs = {"seed": 3, "epoch": 1, "global_batch_size": 8, "window_rows": 32}
    whole = global_steps(plan, 2, **kwargs)
    for done in (0, 1, 4, 5, len(whole) - 1, len(whole)):
        assert global_steps(plan, later, first_sample=8 * done, **kwargs) == whole[done:]


def test_each_epoch_and_seed_has_its_own_order():
    plan = make(*[5] * 8)

    def order(seed: int, epoch: int) -> list[tuple[int, int | None]]:
        (window,) = plan.training_share(0, 1, seed=seed, epoch=epoch, global_batch_size=4, window_rows=1000)
        return [(piece.file, piece.order) for piece in window.ranges]

    assert order(0, 0) == order(0, 0)
    files = [tuple(file for file, _ in order(seed, epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert len(set(files)) == 3
    assert {piece for _, piece in order(0, 0)}.isdisjoint({piece for _, piece in order(0, 1)})


def test_a_process_reads_neighbouring_rows_of_few_files():
    plan = make(*[100] * 8)
    windows = plan.training_share(1, 4, seed=0, epoch=0, global_batch_size=16, window_rows=800)
    assert len(windows) == 1
    assert len(windows[0].ranges) == 2


def test_the_digest_is_of_the_rows_and_not_of_the_version_or_the_place():
    plan = make(4, 9)
    assert plan.digest() == make(4, 9).digest()
    moved = tuple(replace(file, url=file.url.replace("/x/", "/elsewhere/x/")) for file in plan.files)
    assert replace(plan, version=8, files=moved).digest() == plan.digest()
    others = [make(4, 8), replace(plan, horizon="tune"), plan.select(["items"]), replace(plan, files=plan.files[:1])]
    others.append(replace(plan, files=(replace(plan.files[0], url="file:///x/part-2.parquet"), plan.files[1])))
    assert plan.digest() not in {other.digest() for other in others}


def test_files_are_ordered_by_url_and_empty_ones_left_out():
    plan = make_plan("examples", 1, "fit", COLUMNS, {"file:///b": 2, "file:///a": 1, "file:///c": 0})
    assert [(file.url, file.n_rows) for file in plan.files] == [("file:///a", 1), ("file:///b", 2)]


def test_guards():
    plan = make(10)
    share = {"seed": 0, "epoch": 0, "window_rows": 64}
    with pytest.raises(HandoverError, match="global_batch_size 2 is smaller than 3 processes"):
        plan.training_share(0, 3, global_batch_size=2, **share)
    with pytest.raises(HandoverError, match="sample 3 is not the first of a batch of 2"):
        plan.training_share(0, 1, global_batch_size=2, first_sample=3, **share)
    with pytest.raises(HandoverError, match="process_rank 2 of 2"):
        plan.scoring_share(2, 2)
    with pytest.raises(HandoverError, match="lists a file twice"):
        make_plan("examples", 1, "fit", COLUMNS, [("file:///a", 1), ("file:///a", 1)])
    with pytest.raises(HandoverError, match=r"no column 'labels'; it has request_idx, items"):
        plan.select(["labels"])
