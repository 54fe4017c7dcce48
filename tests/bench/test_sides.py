"""What is read of Spark's event log and of processes; the work that is set against the machine's limit; the world's files."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.data import Size, ml20m, read_matrix, write_factors, write_world
from tests.bench.outputs import read_lists, read_neighbours, read_vectors
from tests.bench.peak import als_work, topk_work
from tests.bench.sides import EventLog, Side, watched
from tests.worlds import zipf


def task_end(written: int, read: int) -> str:
    metrics = {
        "Shuffle Write Metrics": {"Shuffle Bytes Written": written},
        "Shuffle Read Metrics": {"Local Bytes Read": read, "Remote Bytes Read": 1},
        "Disk Bytes Spilled": 2,
    }
    return json.dumps({"Event": "SparkListenerTaskEnd", "Task Metrics": metrics}) + "\n"


def test_the_event_log_is_added_up_from_where_it_was_left(tmp_path: Path):
    path = tmp_path / "log"
    path.write_text('{"Event":"SparkListenerJobStart"}\n' + task_end(100, 10).replace(": ", ":") + task_end(200, 20))
    log = EventLog(path)
    assert log.since_last() == {"shuffle_written": 300, "shuffle_read": 30, "shuffle_read_remote": 2, "spilled": 4}
    assert set(log.since_last().values()) == {0}
    half = task_end(7, 0)
    with path.open("a") as file:
        file.write('{"Event": "SparkListenerTaskEnd"}\n' + half[:40])
    assert log.since_last()["shuffle_written"] == 0
    with path.open("a") as file:
        file.write(half[40:])
    assert log.since_last()["shuffle_written"] == 7


def grow(n_bytes: int) -> tuple[float, dict[str, Any]]:
    """Touches so many bytes, and works for a while."""
    block = np.ones(n_bytes, np.uint8)
    began = time.process_time()
    while time.process_time() - began < 0.3:
        block.sum()
    return 1.5, {"pid": os.getpid(), "spark": {"spilled": 3}}


def test_a_side_is_a_process_whose_memory_and_cpu_time_are_its_own():
    side = Side()
    try:
        before = side.measure(grow, 1).peak["driver_python"]
        measured = side.measure(grow, 300 << 20)
    finally:
        side.close()
    assert (measured.seconds, measured.spark) == (1.5, {"spilled": 3})
    assert measured.result["pid"] != os.getpid()
    assert measured.cpu_seconds >= 0.3
    assert measured.peak["driver_python"] - before > 200 << 20


def test_watching_oneself():
    with watched(os.getpid()) as peak:
        pass
    assert peak["driver_python"] > 10 << 20


def test_work():
    # 2 + 3 rows, 4 pairs, rank 10: Gram matrices 5 x 200, and 4 times (5 x 200 and twice 4 x 40).
    assert als_work(2, 3, 4, 10).gflop * 1e9 == 1_000 + 4 * (1_000 + 320)
    assert round(als_work(2, 3, 4, 10).gigabytes * 1e9) == 4 * 2 * 4 * 40
    assert round(topk_work(5, 7, 10).gflop * 1e9) == 700


def test_both_sides_get_the_same_world(tmp_path: Path):
    size = Size(50, 30, 400)
    matrix = read_matrix(write_world(size, tmp_path), size)
    world = zipf(50, 30, 400, chunk=100)
    expected = np.zeros((50, 30))
    expected[world.users, world.items] = 1
    np.testing.assert_array_equal(matrix.toarray(), expected)
    assert len(list(tmp_path.glob("*/*.parquet"))) >= 3


def test_factors_as_tables(tmp_path: Path):
    size = Size(9, 5, 20)
    matrix = read_matrix(write_world(size, tmp_path / "world"), size)
    users, items = np.arange(18, dtype=np.float32).reshape(9, 2), np.ones((5, 2), np.float32)
    published = write_factors(users, items, matrix, tmp_path)
    vectors = pq.read_table(tmp_path / "vectors").to_pydict()
    assert dict(zip(vectors["idx"], vectors["vector"], strict=True)) == {n: [2 * n, 2 * n + 1] for n in range(9)}
    seen = pq.read_table(tmp_path / "seen").to_pydict()
    assert dict(zip(seen["request_idx"], seen["items"], strict=True)) == {n: sorted(matrix[n].indices.tolist()) for n in range(9)}
    assert published["item_vectors"].arrays()["vector"].shape == (5, 2)
    assert published["item_features"].arrays()["available"].all()


def test_sizes_in_words():
    assert str(ml20m(1)) == "138 k x 26.7 k, 16.4 M"
    assert str(Size(60, 40, 600)) == "60 x 40, 600"


def test_what_was_written_is_read_by_index(tmp_path: Path):
    vectors = {"kind": ["item", "user", "user"], "idx": [0, 2, 0], "vector": [[9.0, 9.0], [3.0, 4.0], [1.0, 2.0]]}
    pq.write_table(pa.table(vectors), tmp_path / "vectors")
    assert read_vectors(str(tmp_path / "vectors"), "user", 4).tolist() == [[1, 2], [0, 0], [3, 4], [0, 0]]
    lists = {"request_idx": [7, 3, 5], "items": [[1], [4, 2], [6]], "scores": [[0.1], [0.9, 0.8], [0.5]]}
    pq.write_table(pa.table(lists), tmp_path / "lists")
    found = read_lists(str(tmp_path / "lists"), [3, 4, 7], 2)
    assert found.ids.tolist() == [[4, 2], [-1, -1], [1, -1]]
    assert np.allclose(found.scores, [[0.9, 0.8], [0, 0], [0.1, 0]])
    columns = {
        "idx": [4, 4, 1, 3],
        "neighbour_idx": [8, 9, 6, 5],
        "score": [0.5, 0.25, 1.0, 1.0],
        "support": [2, 3, 4, 5],
        "position": [1, 0, 0, 0],
    }
    pq.write_table(pa.table(columns), tmp_path / "neighbours")
    neighbours, supports = read_neighbours(str(tmp_path / "neighbours"), [1, 4], 2)
    assert neighbours.ids.tolist() == [[6, -1], [9, 8]]
    assert neighbours.scores.tolist() == [[1, 0], [0.25, 0.5]]
    assert supports.tolist() == [[4, 0], [3, 2]]
