"""Results on their way back: what a manifest lists is there, and nothing else counts."""

import numpy as np
import pytest
from pyarrow import parquet

from recspark.errors import HandoverError
from recspark.handover.plan import PlannedColumn, make_plan
from recspark.handover.results import ResultWriter, slate_rows, vector_rows, written_files

PLAN = make_plan("examples", 1, "test", [PlannedColumn("request_idx", "bigint", 0)], {"file:///x": 3})


def write(folder, rank: int, world_size: int, requests: list[int], rows_per_file: int = 2):
    writer = ResultWriter(str(folder), PLAN, rank, world_size, rows_per_file)
    for request in requests:
        items = np.array([[request, request + 1, -1]], np.int32)
        writer.add(slate_rows(np.array([request]), items, np.array([[0.5, 0.25, 9.0]], np.float32), np.array([2])), n_planned=1)
    return writer.finish()


def test_padding_is_left_out_and_every_row_is_found(tmp_path):
    (tmp_path / "part-of-a-killed-attempt.parquet").write_bytes(b"half")
    manifests = [write(tmp_path, 0, 2, [7, 8]), write(tmp_path, 1, 2, [9])]
    rows = [row for file in written_files(manifests, str(tmp_path), PLAN) for row in parquet.ParquetFile(file).read().to_pylist()]
    assert rows == [{"request_idx": i, "items": [i, i + 1], "scores": [0.5, 0.25]} for i in (7, 8, 9)]
    assert not list(tmp_path.glob("*.part"))


def test_a_retry_replaces_its_own_files(tmp_path):
    first = write(tmp_path, 0, 1, [1, 2, 3])
    assert [parquet.ParquetFile(tmp_path / name).metadata.num_rows for name in first["files"]] == [2, 1]
    assert write(tmp_path, 0, 1, [1, 2, 3]) == first
    assert len(list(tmp_path.iterdir())) == 2


def test_guards(tmp_path):
    whole, part = write(tmp_path, 0, 1, [1, 2, 3]), write(tmp_path, 0, 1, [1, 2])
    with pytest.raises(HandoverError, match="process 1 of 2 left no manifest"):
        written_files([whole, None], str(tmp_path), PLAN)
    with pytest.raises(HandoverError, match="3 rows planned, 2 worked on"):
        written_files([part], str(tmp_path), PLAN)
    assert write(tmp_path, 0, 1, []) == {"files": [], "n_planned": 0}


def test_rows_of_the_plan_that_give_none_are_counted(tmp_path):
    writer = ResultWriter(str(tmp_path), PLAN, 0, 1)
    writer.add(vector_rows("item", np.array([4]), np.array([[1.0, 2.0]]), np.array([0.5])), n_planned=0)
    writer.add(vector_rows("request", np.array([8]), np.array([[3.0, 4.0]]), np.array([0.0])), n_planned=3)
    (file,) = written_files([writer.finish()], str(tmp_path), PLAN)
    assert parquet.ParquetFile(file).read().to_pylist() == [
        {"kind": "item", "idx": 4, "vector": [1.0, 2.0], "bias": 0.5},
        {"kind": "request", "idx": 8, "vector": [3.0, 4.0], "bias": 0.0},
    ]
