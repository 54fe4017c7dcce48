"""The first configuration: what files look like, and a YAML that fits its own mapping."""

from __future__ import annotations

import gzip
import json
import random
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
from recspark.runtime.samples import read_sample
from recspark.runtime.starter import doubts_of, write_starter


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


def test_catalogues_without_a_header_are_told_apart(tmp_path):
    """By their names, and where those say nothing by whose ids they hold: here all of the items', and one of the two users'."""
    (tmp_path / "ratings.csv").write_text("0,1,-7.82\n0,2,8.79\n0,3,-9.66\n3,1,0.5\n")
    (tmp_path / "texts.tsv").write_text("1\tA man walks\tbar|drink\n2\tA horse walks\tbar\n3\tKnock\tdoor\n")
    (tmp_path / "users.dat").write_text("0::F::25\n3::M::31\n")
    data, _ = written(tmp_path / "users.dat", tmp_path / "texts.tsv", tmp_path / "ratings.csv")
    assert data["events"]["columns"] == {"user_id": "_c0", "item_id": "_c1", "value": "_c2"}
    assert data["items"]["path"].endswith("texts.tsv")
    assert data["items"]["columns"] == {"item_id": "_c0", "title": "_c1", "categories": "_c2"}
    assert (data["users"]["columns"], data["users"]["attributes"]) == ({"user_id": "_c0"}, ["_c1", "_c2"])


def test_event_files_alike_become_one_source_with_the_types_of_all(tmp_path):
    """The last file also has a field that the others lack; the first two types and the third stand in different files."""
    for day, (action, more) in enumerate((("view", ""), ("cart", ""), ("buy", ', "coupon": "X"'))):
        lines = [f'{{"user": "u{i}", "item": "i{i}", "event": "{action}", "ts": {1750000000 + day}{more}}}' for i in range(3)]
        (tmp_path / f"day{day}.jsonl").write_text("\n".join(lines))
    (tmp_path / "products.csv").write_text("item,name\ni1,Tea\n")
    days = [str(tmp_path / f"day{day}.jsonl") for day in range(3)]
    data, text = written(*days, tmp_path / "products.csv")
    assert (data["events"]["path"], data["events"]["types"]) == (days, {"view": 1, "cart": 3, "buy": 5})
    assert (data["items"]["path"], "users" in data) == (str(tmp_path / "products.csv"), False)
    assert "# not used: coupon\n" in text
    assert "# not used: /" not in text


def test_catalogues_with_the_same_columns_stay_apart(tmp_path):
    """Both hold id and name: only what the files are called tells them apart; two parts of one are one."""
    (tmp_path / "e.csv").write_text("user_id,item_id\n1,2\n1,3\n")
    for name in ("users", "products_a", "products_b"):
        (tmp_path / f"{name}.csv").write_text("id,name\n1,Ann\n")
    data, text = written(*(tmp_path / f"{name}.csv" for name in ("e", "products_a", "users", "products_b")))
    assert data["items"]["path"] == [str(tmp_path / "products_a.csv"), str(tmp_path / "products_b.csv")]
    assert data["events"]["path"] == str(tmp_path / "e.csv")
    assert text.splitlines()[-1] == f"# not used: {tmp_path / 'users.csv'}"


@pytest.mark.parametrize(
    ("files", "n_paths"),
    [
        # With times, and the same kind of fields: one source, whatever they are called.
        ({"old.dat": "1::5::4::881250949\n1::6::3::881250950\n", "new.dat": "2::5::4.5::891250949\n"}, 2),
        # The third field is a number here, and a text there.
        ({"ratings.dat": "1::5::4::881250949\n1::6::3::881250950\n", "tags.dat": "2::5::funny::891250949\n"}, 1),
        # Without times only where the names are alike but for digits, and users repeat in both or in none.
        ({"part-0.csv": "1,5,3\n1,6,4\n", "part-1.csv": "2,7,1\n2,8,1\n"}, 2),
        ({"part-0.csv": "1,5,3\n1,6,4\n", "part-1.csv": "5,7,1\n6,8,1\n"}, 1),
        ({"a.csv": "1,5,3\n1,6,4\n", "b.csv": "2,7,1\n2,8,1\n"}, 1),
    ],
)
def test_files_without_a_header_are_one_source_only_where_they_clearly_agree(tmp_path, files, n_paths):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    data, _ = written(*(tmp_path / name for name in files))
    paths = data["events"]["path"]
    assert (1 if isinstance(paths, str) else len(paths)) == n_paths


def test_delta_tables_are_never_one_source(tmp_path):
    for name in ("t1", "t2"):
        (tmp_path / name / "_delta_log").mkdir(parents=True)
        pq.write_table(pa.table({"user_id": [1], "item_id": [2]}), tmp_path / name / "part-0.parquet")
    data, _ = written(tmp_path / "t1", tmp_path / "t2")
    assert data["events"]["path"] == str(tmp_path / "t1")


def test_event_types_are_known_by_their_values(tmp_path):
    rows = [f"u{i},i{i},{what},web,{1750000000 + i}" for i, what in enumerate(("view", "fav", "cart", "buy"))]
    (tmp_path / "e.csv").write_text("\n".join(["user,item,what,channel,time", *rows]))
    data, text = written(tmp_path / "e.csv")
    assert data["events"]["columns"] == {"user_id": "user", "item_id": "item", "event_type": "what", "event_at": "time"}
    assert data["events"]["types"] == {"view": 1, "fav": 2, "cart": 3, "buy": 5}
    assert "# not used: channel\n" in text


def test_columns_of_events_that_are_left_over_are_named(tmp_path):
    (tmp_path / "e.csv").write_text("user,item,colour,channel\n1,2,red,web\n1,3,blue,app\n")
    data, text = written(tmp_path / "e.csv")
    assert data["events"]["event_type"] == "view"
    assert "# not used: colour, channel (map one to event_type if it says what they did)" in text


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_folder_is_sampled_from_its_first_file_to_its_last(tmp_path, form):
    """20 days; day i has the one type t<i>. Eight are looked into: 19 * i // 7 for i in 0..7."""
    for day in range(20):
        folder = tmp_path / f"day=2025-01-{day + 1:02}"
        folder.mkdir()
        table = pa.table({"user": ["u", "v"], "item": ["i", "j"], "event": [f"t{day}"] * 2})
        if form == "parquet":
            pq.write_table(table, folder / "part.parquet")
        elif form == "json":
            (folder / "part.json").write_text("\n".join(map(json.dumps, table.to_pylist())))
        else:
            (folder / "part.csv").write_text(f"user,item,event\nu,i,t{day}\nv,j,t{day}\n")
    data, _ = written(tmp_path)
    assert (data["events"]["format"], data["events"]["path"]) == (form, str(tmp_path))
    assert data["events"]["types"] == dict.fromkeys(("t0", "t2", "t5", "t8", "t10", "t13", "t16", "t19"), 1)


def test_a_glob_is_read_and_stays_a_glob(tmp_path):
    (tmp_path / "logs").mkdir()
    for day, what in enumerate(("view", "buy")):
        (tmp_path / "logs" / f"day-{day}.csv").write_text(f"user,item,event\nu,i,{what}\nv,j,{what}\n")
    (tmp_path / "logs" / "notes.md").write_text("nothing to read\n")
    for pattern in ("logs/day-*.csv", "logs/*", "lo[g]s"):
        data, _ = written(tmp_path / pattern)
        assert (data["events"]["path"], data["events"]["format"]) == (str(tmp_path / pattern), "csv")
        assert data["events"]["types"] == {"view": 1, "buy": 5}
    with pytest.raises(SourceError, match=r"logs/night-\*.csv does not exist, and as a glob finds nothing"):
        write_starter([str(tmp_path / "logs" / "night-*.csv")])


def test_further_choices_stand_there_switched_off_and_fit_when_switched_on(tmp_path):
    (tmp_path / "e.csv").write_text("user,item,what,stars\n1,2,view,\n1,3,buy,3\n2,3,buy,5\n")
    data, text = written(tmp_path / "e.csv")
    assert not {"repeats", "seen", "labels"} & data.keys()
    choices = text.split("until its # goes.\n")[1].splitlines()
    (tmp_path / "mine.yaml").write_text(
        "\n".join([text, *(line.removeprefix("# ") if "  " not in line[:4] else line[1:] for line in choices)])
    )
    config = check(load_layers(str(tmp_path / "mine.yaml"), "local", []), find_jobs())
    assert (config.settings.repeats, config.jobs["seen"].types, config.jobs["seen"].policy) == ("earliest", ["buy"], "never_again")
    assert (config.jobs["labels"].types, config.jobs["labels"].min_value) == (["buy"], 4)


def test_many_files_give_fewer_rows_each(tmp_path):
    """80 files of 200 rows: 1000 * 8 // 80 rows of each."""
    for i in range(80):
        (tmp_path / f"{i:02}.csv").write_text("user,item,value\n" + f"1,2,{i + 1}\n" * 100 + "1,2,999\n" * 100)
    _, text = written(*sorted(tmp_path.iterdir()))
    assert "# value_bounds: {min: 1, max: 80}" in text


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


def test_files_are_read_once_and_those_left_over_are_named(tmp_path, monkeypatch):
    texts = {"e": "user_id,item_id\n1,2\n", "i": "item_id,title\n2,Up\n", "u": "user_id,age\n1,30\n", "x": "item_id,price\n2,9\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text)
    opened = []
    monkeypatch.setattr("recspark.runtime.starter.read_sample", lambda path, n: opened.append(path) or read_sample(path, n))
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


def test_bytes_that_are_no_text_are_refused(tmp_path):
    """Random bytes: 27 of 256 are control characters that text has not. UTF-16: every other byte is 0."""
    (tmp_path / "rnd.bin").write_bytes(random.Random(7).randbytes(100_000))
    (tmp_path / "wide.csv").write_text("user_id,item_id\n1,2\n", encoding="utf-16")
    (tmp_path / "zeros").write_bytes(bytes(50))
    for name, words in (("rnd.bin", "1[01]... of its first 100000 bytes"), ("wide.csv", "UTF-8"), ("zeros", "50 of its first 50 bytes")):
        with pytest.raises(SourceError, match=words) as refused:
            write_starter([str(tmp_path / name)])
        assert f"{tmp_path / name} holds no text" in str(refused.value)


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


def test_what_is_no_log_is_said(tmp_path):
    (tmp_path / "prose.txt").write_text("A tale of two halves, told late.\nIt begins\nand goes on, and on, for a while,\nand ends\n")
    with pytest.raises(
        SourceError, match=r"prose.txt does not look like a table: cut at ' ', its first line has 7 fields, and 3 of 4 lines "
    ):
        write_starter([str(tmp_path / "prose.txt")])
    (tmp_path / "ids.csv").write_text("item_id\n7\n8\n")
    with pytest.raises(SourceError, match=r"ids.csv has one column, .* who and what"):
        write_starter([str(tmp_path / "ids.csv")])
    (tmp_path / "items.csv").write_text("item_id,title,price\n7,Up,3\n8,Alien,4\n")
    assert doubts_of(write_starter([str(tmp_path / "items.csv")])) == (
        "could not be guessed: user_id; look for FILL IN; is one of the files a log of who did what?"
    )
    (tmp_path / "reads.csv").write_text("reader,story_id,ts\n1,7,2025-06-01\n")
    text = write_starter([str(tmp_path / "reads.csv")])
    assert doubts_of(text) == ""
    assert yaml.safe_load(text)["events"]["columns"] == {"user_id": "reader", "item_id": "story_id", "event_at": "ts"}
