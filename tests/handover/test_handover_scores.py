"""Scores on their way back: what a manifest lists is there, and nothing else counts."""

import numpy as np
import pytest
from pyarrow import parquet

from recspark.errors import HandoverError
from recspark.handover.plan import PlannedColumn, make_plan
from recspark.handover.scores import ScoreWriter, scored_files

PLAN = make_plan("examples", 1, "test", [PlannedColumn("request_idx", "bigint", 0)], {"file:///x": 3})


def write(folder, rank: int, world_size: int, requests: list[int], rows_per_file: int = 2):
    writer = ScoreWriter(str(folder), PLAN, rank, world_size, rows_per_file)
    for request in requests:
        items = np.array([[request, request + 1, -1]], np.int32)
        writer.add(np.array([request]), items, np.array([[0.5, 0.25, 9.0]], np.float32), np.array([2]))
    return writer.finish()


def test_padding_is_left_out_and_every_row_is_found(tmp_path):
    (tmp_path / "part-of-a-killed-attempt.parquet").write_bytes(b"half")
    manifests = [write(tmp_path, 0, 2, [7, 8]), write(tmp_path, 1, 2, [9])]
    rows = [row for file in scored_files(manifests, str(tmp_path), PLAN) for row in parquet.ParquetFile(file).read().to_pylist()]
    assert rows == [{"request_idx": i, "items": [i, i + 1], "scores": [0.5, 0.25]} for i in (7, 8, 9)]
    assert not list(tmp_path.glob("*.part"))


def test_a_retry_replaces_its_own_files(tmp_path):
    first = write(tmp_path, 0, 1, [1, 2, 3])
    assert [file["n_rows"] for file in first["files"]] == [2, 1]
    assert write(tmp_path, 0, 1, [1, 2, 3]) == first
    assert len(list(tmp_path.iterdir())) == 2


def test_guards(tmp_path):
    whole, part = write(tmp_path, 0, 1, [1, 2, 3]), write(tmp_path, 0, 1, [1, 2])
    with pytest.raises(HandoverError, match="process 1 of 2 left no manifest"):
        scored_files([whole, None], str(tmp_path), PLAN)
    with pytest.raises(HandoverError, match="3 rows planned, 2 scored"):
        scored_files([part], str(tmp_path), PLAN)
    assert write(tmp_path, 0, 1, []) == {"files": []}
