"""Reading a plan through Petastorm: exactly the planned rows, in the planned shapes, or an error."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recspark.errors import HandoverError
from recspark.handover.ahead import THREAD, read_ahead
from recspark.handover.plan import Plan, PlannedFile
from recspark.handover.reader import REAL, read_rows, read_steps
from tests.faulty_petastorm import last_first, lose_first, repeat_first, spoiled
from tests.slate_files import plan_files, write_file


def columns(first: int, n: int) -> dict[str, np.ndarray]:
    """Rows whose every value can be told from the request: items are 10 * request + place."""
    request = np.arange(first, first + n, dtype=np.int64)
    return {
        "request_idx": request,
        "items": (10 * request[:, None] + np.arange(3)).astype(np.int32),
        "features": (request[:, None] / 2 + np.zeros(4)).astype(np.float32),
        "n_items": np.full(n, 3, np.int32),
    }


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_files(tmp_path, [columns(0, 20), columns(20, 7), columns(27, 40)])


def check(batch: dict[str, np.ndarray], real: np.ndarray) -> list[int]:
    request = batch["request_idx"][real]
    np.testing.assert_array_equal(batch["items"][real], 10 * request[:, None] + np.arange(3))
    np.testing.assert_array_equal(batch["features"][real], np.repeat(request[:, None] / 2, 4, axis=1))
    assert all(array.flags.c_contiguous for array in batch.values())
    return [int(i) for i in request]


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 8])
def test_scoring_reads_each_row_once(plan, world_size):
    got = []
    for rank in range(world_size):
        for batch in read_rows(plan, plan.scoring_share(rank, world_size), 6):
            assert len(batch["items"]) <= 6
            got += check(batch, np.ones(len(batch["items"]), bool))
    assert got == list(range(67))


@pytest.mark.parametrize("world_size", [1, 3, 8])
def test_training_reads_each_row_once_and_marks_padding(plan, world_size):
    got, padding = [], 0
    for rank in range(world_size):
        for batch in read_steps(plan, plan.training_share(rank, world_size, seed=2, epoch=0, global_batch_size=8, window_rows=32)):
            got += check(batch, batch[REAL])
            padding += int((~batch[REAL]).sum())
            assert not batch["items"][~batch[REAL]].any()
    assert sorted(got) == list(range(67))
    assert got != sorted(got)
    assert padding == 9 * 8 - 67


def test_batches_are_the_same_for_two_processes_as_for_one(plan):
    def batches(rank: int, world_size: int) -> list[list[int]]:
        share = plan.training_share(rank, world_size, seed=2, epoch=4, global_batch_size=8, window_rows=32)
        return [check(batch, batch[REAL]) for batch in read_steps(plan, share)]

    together = [a + b for a, b in zip(batches(0, 2), batches(1, 2), strict=True)]
    assert together == batches(0, 1)


def test_a_file_of_several_row_groups_is_read_whole_and_in_order(tmp_path):
    url = write_file(tmp_path / "groups.parquet", columns(0, 50), row_group_size=7)
    plan = replace(plan_files(tmp_path, [columns(0, 1)]), files=(PlannedFile(url, 50),))
    got = [i for batch in read_rows(plan, plan.scoring_share(0, 1), 50) for i in batch["request_idx"]]
    assert got == list(range(50))


def test_paths_with_spaces_and_percent_signs(tmp_path):
    plan = plan_files(tmp_path / "a folder", [columns(0, 3)], horizon="last_5%2Ftest")
    assert sum(len(batch["items"]) for batch in read_rows(plan, plan.scoring_share(0, 1), 8)) == 3


def test_only_the_asked_columns_are_read(plan):
    plan = plan.select(["request_idx", "n_items"])
    (batch,) = read_rows(plan, plan.scoring_share(0, 5)[:1], 100)
    assert set(batch) == {"request_idx", "n_items"}


@pytest.mark.parametrize("lost", [-1, 1])
def test_a_lost_or_surplus_row_raises(plan, lost):
    # The files are replaced after planning: what is read is not what was planned.
    write_file(Path(plan.files[1].url.removeprefix("file://")), columns(20, 7 + lost))
    with pytest.raises(HandoverError, match=f"7 rows planned, {7 + lost} read"):
        list(read_rows(plan, plan.scoring_share(0, 1), 8))
    with pytest.raises(HandoverError, match="7 rows planned"):
        list(read_steps(plan, plan.training_share(0, 1, seed=0, epoch=0, global_batch_size=8, window_rows=99)))


@pytest.fixture
def grouped(tmp_path) -> Plan:
    """A file of 12 rows in three row groups of 4."""
    url = write_file(tmp_path / "grouped.parquet", columns(0, 12), row_group_size=4)
    return replace(plan_files(tmp_path, [columns(0, 1)]), files=(PlannedFile(url, 12),))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lose_first, r"12 rows planned, 8 read; going on would lose or repeat rows. Run the job again"),
        (repeat_first, r"12 rows planned, 8 different ones read, request_idx \[0, 1, 2, 3\] more than once. Run the job again"),
    ],
)
def test_a_row_group_that_petastorm_loses_or_repeats_raises(grouped, monkeypatch, spoil, message):
    assert sum(len(batch["items"]) for batch in read_rows(grouped, grouped.scoring_share(0, 1), 8)) == 12
    monkeypatch.setattr("petastorm.arrow_reader_worker.ArrowReaderWorker.process", spoiled(spoil))
    with pytest.raises(HandoverError, match=r"grouped.parquet of table 'examples' at version 3: " + message):
        list(read_rows(grouped, grouped.scoring_share(0, 1), 8))
    with pytest.raises(HandoverError, match=message):
        list(read_steps(grouped, grouped.training_share(0, 1, seed=0, epoch=0, global_batch_size=4, window_rows=99)))


def test_row_groups_of_other_lengths_than_the_footers_raise(tmp_path, monkeypatch):
    # As many rows in all, in another order: without request_idx nothing else tells.
    url = write_file(tmp_path / "grouped.parquet", columns(0, 10), row_group_size=4)
    plan = replace(plan_files(tmp_path, [columns(0, 1)]), files=(PlannedFile(url, 10),)).select(["n_items"])
    monkeypatch.setattr("petastorm.arrow_reader_worker.ArrowReaderWorker.process", spoiled(last_first))
    with pytest.raises(HandoverError, match=r"row groups of \[4, 4, 2\] rows were planned, of \[2, 4, 4\] read"):
        list(read_rows(plan, plan.scoring_share(0, 1), 8))


def test_a_removed_file_raises_in_words(plan):
    Path(plan.files[0].url.removeprefix("file://")).unlink()
    with pytest.raises(HandoverError, match=r"part-00000.parquet of table 'examples' at version 3 cannot be read.*VACUUM"):
        list(read_rows(plan, plan.scoring_share(0, 1), 8))


def test_columns_are_checked_against_the_plan(plan):
    path = Path(plan.files[1].url.removeprefix("file://"))
    good = columns(20, 7)
    for changed, message in (
        ({**good, "items": good["items"][:, :2]}, r"column 'items': planned array<int> of shape \(7, 3\), read int32 of shape \(7, 2\)"),
        ({**good, "n_items": good["n_items"].astype(np.int64)}, r"column 'n_items': planned int .*read int64"),
        ({name: array for name, array in good.items() if name != "items"}, "no column 'items'"),
    ):
        write_file(path, changed)
        with pytest.raises(HandoverError, match=message):
            list(read_rows(plan, plan.scoring_share(0, 1), 8))


def test_a_closed_reader_leaves_no_thread(plan):
    share = plan.training_share(0, 1, seed=0, epoch=0, global_batch_size=8, window_rows=16)
    for batches in (read_rows(plan, plan.scoring_share(0, 1), 2), read_ahead(read_steps(plan, share), 2)):
        next(batches)
        batches.close()
        assert not [thread for thread in threading.enumerate() if thread.name == THREAD]


def test_read_ahead_passes_on_values_and_the_error_in_their_places():
    def source() -> Iterator[int]:
        yield from (1, 2, 3)
        raise KeyError("four")

    values = read_ahead(source(), 1)
    assert [next(values) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(KeyError, match="four"):
        next(values)


def test_shuffling_mixes_rows_of_all_files_of_a_window(tmp_path):
    """3,200 rows in 8 files, batches of 64: how far the order of training is from that of the files, measured."""
    n, n_files, batch = 3200, 8, 64
    plan = plan_files(tmp_path, [{"request_idx": np.arange(i * 400, (i + 1) * 400)} for i in range(n_files)])

    def order(epoch: int, window_rows: int) -> np.ndarray:
        share = plan.training_share(0, 1, seed=3, epoch=epoch, global_batch_size=batch, window_rows=window_rows)
        return np.concatenate([step["request_idx"] for step in read_steps(plan, share)])

    first, second = order(0, n), order(1, n)
    # Rank correlations of independent orders have a deviation of 1 / sqrt(n - 1) = 0.018.
    for got, other in ((first, np.arange(n)), (first, second)):
        assert abs(np.corrcoef(np.argsort(got), np.argsort(other))[0, 1]) < 0.06
    neighbours = np.abs(np.diff(first)) == 1
    assert neighbours.mean() < 0.01, "rows that lay side by side do not stay together"
    # Of each file a batch has 8 rows; drawn by chance it would have 8 with a deviation of sqrt(64 / 8 * 7 / 8) = 2.6.
    rows_by_file = np.stack([np.bincount(step // 400, minlength=n_files) for step in first.reshape(-1, batch)])
    assert (rows_by_file.min(), rows_by_file.max()) == (8, 8)
    # A window of two files mixes two files only: the knob is what the quality hangs on.
    narrow = np.stack([np.bincount(step // 400, minlength=n_files) for step in order(0, 832)[: 13 * batch].reshape(-1, batch)])
    assert (narrow > 0).sum(1).max() <= 4
