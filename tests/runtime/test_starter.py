"""The first configuration: what files look like, and a YAML that fits its own mapping."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from recspark.errors import SourceError
from recspark.interactions.horizons import SplitSpec
from recspark.interactions.mapping import EventsMapping, ItemsMapping, UsersMapping
from recspark.runtime.config import check, load_layers
from recspark.runtime.job import find_jobs
from recspark.runtime.samples import read_sample, time_format_of
from recspark.runtime.starter import write_starter


def written(*files):
    """The starter as data; every section must be valid."""
    text = write_starter([str(file) for file in files])
    assert all("#" in line for line in text.splitlines() if line.startswith(("  path", "  format", "events", "items", "users", "splits")))
    data = yaml.safe_load(text)
    SplitSpec.model_validate(data["splits"])
    for name, model in (("events", EventsMapping), ("items", ItemsMapping), ("users", UsersMapping)):
        if name in data:
            model.model_validate(data[name])
    return data, text


def test_ratings_films_and_users_are_told_apart(tmp_path):
    (tmp_path / "m.csv").write_text('movieId,title,genres,year\n31,"Toy Story, The",Adventure|Animation,1995\n32,Up,Drama,2009\n')
    (tmp_path / "r.csv").write_text("userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n2,32,4.0,1260759179\n")
    (tmp_path / "u.csv").write_text("userId;age\n1;30\n2;40\n")
    data, text = written(tmp_path / "m.csv", tmp_path / "u.csv", tmp_path / "r.csv")
    events = data["events"]
    assert events["columns"] == {"user_id": "userId", "item_id": "movieId", "value": "rating", "event_at": "timestamp"}
    assert (events["event_type"], events["types"], events["time"]["format"]) == ("rating", {"rating": 1}, "seconds")
    assert "# value_bounds: {min: 2.5, max: 4}" in text
    assert data["items"]["columns"] == {"item_id": "movieId", "title": "title", "categories": "genres"}
    assert (data["items"]["category_separator"], data["items"]["attributes"]) == ("|", ["year"])
    assert data["users"] == {
        "path": str(tmp_path / "u.csv"),
        "format": "csv",
        "options": {"sep": ";"},
        "columns": {"user_id": "userId"},
        "attributes": ["age"],
    }
    assert data["splits"] == {"kind": "last_n"}


def test_event_types_get_weights(tmp_path):
    rows = [("u1", "view"), ("u2", "add to cart"), ("u3", "BUY"), ("u1", "1"), ("u1", "favourite")]
    lines = [
        f'{{"visitor": "{user}", "sku": 7, "action": "{action}", "at": "2025-01-0{i + 1}T10:00:00Z"}}'
        for i, (user, action) in enumerate(rows)
    ]
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    data, _ = written(tmp_path / "log.jsonl.gz")
    assert data["events"]["types"] == {"view": 1, "add to cart": 3, "BUY": 5, "1": 1, "favourite": 2}
    assert data["events"]["columns"] == {"user_id": "visitor", "item_id": "sku", "event_type": "action", "event_at": "at"}
    assert data["events"]["time"]["format"] == "iso"


@pytest.mark.parametrize(("separator", "name"), [("\t", "u.data"), ("::", "ratings.dat"), ("|", "r.txt")])
def test_files_without_a_header(tmp_path, separator, name):
    (tmp_path / name).write_text("\n".join(separator.join(row) for row in (("1", "10", "5", "881250949"), ("2", "20", "3", "891717742"))))
    data, _ = written(tmp_path / name)
    assert data["events"]["options"] == {"sep": separator, "header": False}
    assert data["events"]["columns"] == {"user_id": "_c0", "item_id": "_c1", "value": "_c2", "event_at": "_c3"}


def test_pairs_with_a_blank_between_and_nothing_else(tmp_path):
    """`user item` a line, in the order of time: what public next-item data looks like."""
    (tmp_path / "pairs.txt").write_text("1 3186\n1 1721\n2 1270\n")
    data, text = written(tmp_path / "pairs.txt")
    assert data["events"]["options"] == {"sep": " ", "header": False}
    assert data["events"]["columns"] == {"user_id": "_c0", "item_id": "_c1"}
    assert (data["events"]["order"], data["splits"]) == ("file", {"kind": "last_n"})
    (tmp_path / "mine.yaml").write_text(text)
    config = check(load_layers(str(tmp_path / "mine.yaml"), "local", []), find_jobs())
    assert (config.settings.events.resolved_order, config.settings.splits.kind) == ("file", "last_n")


def test_a_blank_inside_fields_is_no_separator(tmp_path):
    (tmp_path / "e.csv").write_text("user;name of it\n1;a b c\n2;d e f\n")
    assert read_sample(str(tmp_path / "e.csv")).columns == {"user": ["1", "2"], "name of it": ["a b c", "d e f"]}


def test_files_are_read_once_and_those_left_over_are_named(tmp_path, monkeypatch):
    for name in ("e", "i", "u", "x"):
        (tmp_path / f"{name}.csv").write_text(
            {"e": "user_id,item_id\n1,2\n", "u": "user_id,age\n1,30\n"}.get(name, "item_id,title\n2,Up\n")
        )
    opened = []
    monkeypatch.setattr("recspark.runtime.starter.read_sample", lambda path: opened.append(path) or read_sample(path))
    text = write_starter([str(tmp_path / f"{name}.csv") for name in ("e", "i", "u", "x")])
    assert len(opened) == 4
    assert text.splitlines()[-1] == f"# not used: {tmp_path / 'x.csv'}"


def test_parquet_and_delta_folders(tmp_path):
    (tmp_path / "lake" / "_delta_log").mkdir(parents=True)
    table = pa.table({"customer_id": [1], "product_id": [2], "event_time": [datetime(2025, 1, 1, tzinfo=UTC)]})
    pq.write_table(table, tmp_path / "lake" / "part-0.parquet")
    data, _ = written(tmp_path / "lake")
    assert (data["events"]["format"], data["events"]["event_type"]) == ("delta", "view")
    assert data["events"]["columns"] == {"user_id": "customer_id", "item_id": "product_id", "event_at": "event_time"}
    pq.write_table(table.drop(["event_time"]), tmp_path / "lake" / "part-0.parquet")
    data, _ = written(tmp_path / "lake")
    assert (data["events"]["order"], data["splits"]) == ("none", {"kind": "random"})


def test_what_cannot_be_guessed_is_marked(tmp_path):
    (tmp_path / "e.csv").write_text("who,what\nann,tea\nbob,milk\nwho knows,5\n")
    (tmp_path / "h.csv").write_text("user,thing,5\nann,tea,6\n")
    data, text = written(tmp_path / "h.csv")
    assert data["events"]["columns"] == {"user_id": "_c0", "item_id": "_c1", "value": "_c2"}
    assert (data["splits"], data["events"]["order"]) == ({"kind": "last_n"}, "file")
    assert "order: file # no times were found" in text
    (tmp_path / "half.csv").write_text("user,thing\n1,2\n")
    data, text = written(tmp_path / "half.csv")
    assert data["events"]["columns"] == {"user_id": "user", "item_id": "???"}
    assert "item_id: ??? # <- FILL IN what; the columns are: user, thing" in text


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1260759144", "1260759179.5"], "seconds"),
        (["1260759144000"], "milliseconds"),
        (["1260759144000000"], "microseconds"),
        (["2025-01-01", "2025-01-01T10:00:00+02:00"], "iso"),
        (["31/12/2024 23:59"], "dd/MM/yyyy HH:mm"),
        (["31.12.2024"], "dd.MM.yyyy"),
        (["5", "1260759144"], None),
        (["soon"], None),
        ([], None),
    ],
)
def test_times_are_known_by_their_values(texts, expected):
    assert time_format_of(texts) == expected


def test_a_byte_order_mark_and_ragged_lines_do_not_matter(tmp_path):
    (tmp_path / "e.csv").write_bytes(b"\xef\xbb\xbfuser_id,item_id\n1,2\n3\n4,5,6\n7,8\n")
    assert read_sample(str(tmp_path / "e.csv")).columns == {"user_id": ["1", "7"], "item_id": ["2", "8"]}


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "list.json").write_text("[1, 2]\n")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    (tmp_path / "folder").mkdir()
    for name, words in (
        ("nowhere", "does not exist"),
        ("empty.csv", "is empty"),
        ("list.json", "document a line"),
        ("bad.parquet", "no readable"),
        ("folder", "holds no csv"),
    ):
        with pytest.raises(SourceError, match=words):
            write_starter([str(tmp_path / name)])
    with pytest.raises(SourceError, match="no files given"):
        write_starter([])
