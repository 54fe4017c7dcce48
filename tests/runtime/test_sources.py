"""Sources as files really are: ragged, packed, damaged, oddly named, in parts."""

from __future__ import annotations

import gzip
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recspark.errors import SourceError
from recspark.interactions.land import land_events
from recspark.interactions.mapping import EventsMapping, ItemsMapping
from recspark.runtime.sources import FoundFile, explained_source_errors, list_files, new_files, read_source


def mapping(path: Path | str | list[str], **more: object) -> EventsMapping:
    given = {"columns": {"user_id": "user", "item_id": "item"}, "types": {"view": 1.0}, "order": "none", **more}
    return EventsMapping.model_validate({"path": str(path) if isinstance(path, Path) else path, **given})


def read(spark, wanted, **more):
    return read_source(spark, wanted, list_files(spark, wanted), **more)


def values(frame, *names):
    return [tuple(row[name] for name in names) for row in sorted(frame.collect(), key=lambda row: row["_position"])]


def test_csv_rows_stand_as_they_are(spark, tmp_path):
    file = tmp_path / "a b+c%[1].csv"
    file.write_bytes(b'\xef\xbb\xbfuser,item\n007, x \n\n"say ""hi""",caf\xc3\xa9\n9999999999999999999,1.50\n')
    frame = read(spark, mapping(str(tmp_path), format="csv"))
    assert values(frame, "user", "item", "_damaged") == [
        ("007", " x ", None),
        ('say "hi"', "café", None),
        ("9999999999999999999", "1.50", None),
    ]
    assert {row["_file"] for row in frame.collect()} == {f"file:{file}"}


def test_damaged_csv_lines_are_kept_whole(spark, tmp_path):
    (tmp_path / "e.csv").write_text('user,item\nu1,i1\nu2\nu3,i3,extra\n"u4,i4\n')
    frame = read(spark, mapping(tmp_path / "e.csv"))
    assert values(frame, "user", "_damaged") == [("u1", None), ("u2", "u2"), ("u3", "u3,i3,extra"), ("u4,i4", '"u4,i4')]


def test_fields_with_line_breaks_need_multi_line(spark, tmp_path):
    (tmp_path / "e.csv").write_text('user,item,note\nu1,i1,"two\nlines"\nu2,i2,one\n')
    whole = read(spark, mapping(tmp_path / "e.csv", options={"multiLine": True}))
    assert values(whole, "user", "note", "_damaged") == [("u1", "two\nlines", None), ("u2", "one", None)]
    in_parts = read(spark, mapping(tmp_path / "e.csv"))
    assert [row[0] for row in values(in_parts, "_damaged")].count(None) == 2  # u1 without its second line, and u2; nothing is lost
    assert in_parts.count() == 3


def test_a_csv_without_header_has_numbered_columns(spark, tmp_path):
    (tmp_path / "e.dat").write_text("1::10::5\n2::20::4\n")
    wanted = mapping(tmp_path / "e.dat", columns={"user_id": "_c0", "item_id": "_c1"}, options={"sep": "::", "header": False})
    assert values(read(spark, wanted), "_c0", "_c1", "_c2") == [("1", "10", "5"), ("2", "20", "4")]


def test_header_gaps_and_repetitions_get_names(spark, tmp_path):
    (tmp_path / "gap.csv").write_text(",user,item\n0,u1,i1\n")
    assert values(read(spark, mapping(tmp_path / "gap.csv")), "_c0", "user", "item") == [("0", "u1", "i1")]
    (tmp_path / "twice.csv").write_text("user,item,item\nu1,i1,i2\n")
    twice = mapping(tmp_path / "twice.csv", columns={"user_id": "user", "item_id": "item1"})
    assert values(read(spark, twice), "user", "item1", "item2") == [("u1", "i1", "i2")]


def test_another_header_in_a_later_file_is_refused_by_name(spark, tmp_path):
    (tmp_path / "1.csv").write_text("user,item\nu1,i1\n")
    (tmp_path / "2.csv").write_text("item,user\ni1,u1\n")
    frame = read(spark, mapping(tmp_path, format="csv"))
    with pytest.raises(SourceError, match=r"2\.csv.*columns are item, user.*first file has user, item"), explained_source_errors("events"):
        frame.collect()


@pytest.mark.parametrize("content", ["", "user,item\n"])
def test_no_rows_is_no_error(spark, tmp_path, content):
    (tmp_path / "e.csv").write_text(content)
    wanted = mapping(tmp_path / "e.csv")
    found = list_files(spark, wanted)
    assert [file.n_bytes for file in found] == [len(content)]
    assert read_source(spark, wanted, found).count() == 0
    assert read_source(spark, wanted, []).columns == ["user", "item", "_damaged", "_file", "_position"]


def test_positions_grow_within_files_across_read_parts(spark, tmp_path):
    lines = [f"u{i},{i}" for i in range(3000)]
    (tmp_path / "a.csv").write_text("user,item\n" + "\n".join(lines[:1700]) + "\n")
    (tmp_path / "b.csv").write_text("user,item\n" + "\n".join(lines[1700:1710]) + "\n")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(("user,item\n" + "\n".join(lines[1710:])).encode()))
    wanted = mapping(tmp_path, format="csv", order="file")
    before = spark.conf.get("spark.sql.files.maxPartitionBytes")
    try:
        for n_bytes in ("800", "5000"):  # a.csv alone is some 17,000 bytes: up to 22 parts
            spark.conf.set("spark.sql.files.maxPartitionBytes", n_bytes)
            frame = read(spark, wanted)
            assert frame.rdd.getNumPartitions() >= 4
            rows = sorted(frame.collect(), key=lambda row: row["_position"])
            assert len({row["_position"] for row in rows}) == 3000
            assert [row["item"] for row in rows] == [str(i) for i in range(3000)]
    finally:
        spark.conf.set("spark.sql.files.maxPartitionBytes", before)


def test_later_deliveries_sort_after_earlier_ones(spark, tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.csv").write_text("user,item\nu,i\n")
    wanted = mapping(tmp_path, format="csv", order="file")
    found = list_files(spark, wanted)
    first = read_source(spark, wanted, found[1:], delivery=1).collect()
    second = read_source(spark, wanted, found[:1], delivery=2).collect()
    assert max(row["_position"] for row in first) < min(row["_position"] for row in second)


def test_order_of_files_is_refused_where_it_cannot_be_kept(spark, tmp_path):
    huge = [FoundFile(f"file:/x/{i}.csv", 2**40) for i in range(5000)]
    with pytest.raises(SourceError, match="order: file cannot number 5000 files"):
        read_source(spark, mapping("/x", format="csv", order="file"), huge)
    with pytest.raises(SourceError, match=r"e\.csv\.bz2.*use gz"):
        read_source(spark, mapping("/x", format="csv", order="file"), [FoundFile("file:/x/e.csv.bz2", 10)])


def test_only_new_and_changed_files_are_new(spark, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("user,item\nu,i\n")
    wanted = mapping(tmp_path, format="csv")
    found = list_files(spark, wanted)
    # As the table gives it back: times without a zone, in the machine's.
    delivered = spark.createDataFrame(
        [(f.path, f.n_bytes, f.modified_at) for f in found], "path string, n_bytes bigint, modified_at timestamp"
    )
    assert new_files(found, delivered.collect()) == []
    (tmp_path / "b.csv").write_text("user,item\nu,i\nu,i2\n")
    (tmp_path / "c.csv").write_text("user,item\nu,i\n")
    again = new_files(list_files(spark, wanted), delivered.collect())
    assert [os.path.basename(file.path) for file in again] == ["b.csv", "c.csv"]
    os.utime(tmp_path / "a.csv", (0, 1_000_000_000))
    touched = next(file for file in list_files(spark, wanted) if file.path.endswith("a.csv"))
    assert touched.modified_at == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)


def test_json_keeps_digits_and_damaged_lines(spark, tmp_path):
    lines = ['{"user": 12345678901234567890, "item": "007", "value": 1.50}', '{"user": 1, "it', '{"user": null, "item": {"a": [1]}}']
    (tmp_path / "e.jsonl").write_text("\n".join(lines) + "\n")
    frame = read(spark, mapping(tmp_path / "e.jsonl", columns={"user_id": "user", "item_id": "item", "value": "value"}))
    assert values(frame, "user", "item", "value", "_damaged") == [
        ("12345678901234567890", "007", "1.50", None),
        (None, None, None, '{"user": 1, "it'),
        (None, '{"a": [1]}', None, None),
    ]


def test_no_damaged_json_line_is_lost(spark, tmp_path):
    lines = ['{"user": "u1", "item": "i1"}', '{"user": "u2", "ite', "[1, 2]", "nonsense", '{"user": "u3"}']
    (tmp_path / "e.jsonl").write_text("\n".join(lines) + "\n")
    wanted = mapping(tmp_path / "e.jsonl")
    landed = land_events(read(spark, wanted), mapping=wanted, now=datetime(2025, 1, 1, tzinfo=UTC)).collect()
    assert len(landed) == 5
    assert sorted(row.user_id or "" for row in landed if row.problem is None) == ["u1"]
    assert sorted(row.problem.split()[0] for row in landed if row.problem) == ["item_id", "the", "the", "the"]


def test_a_rare_json_field_is_found_and_a_missing_one_named(spark, tmp_path):
    rows = [{"user": "u", "item": i} for i in range(1200)] + [{"user": "u", "item": 0, "stars": 5}]
    (tmp_path / "e.json").write_text("\n".join(json.dumps(row) for row in rows))
    rare = mapping(tmp_path / "e.json", columns={"user_id": "user", "item_id": "item", "value": "stars"})
    assert read(spark, rare).filter("stars = '5'").count() == 1
    with pytest.raises(SourceError, match=r"columns.value: 'star' is no column there \(did you mean 'stars'\?\)"):
        read(spark, mapping(tmp_path / "e.json", columns={"user_id": "user", "item_id": "item", "value": "star"}))


def test_parquet_rows_are_numbered_in_their_file(spark, tmp_path):
    pq.write_table(pa.table({"user": [3, 1, 2], "item": ["a", "b", "c"]}), tmp_path / "b.parquet", row_group_size=1)
    pq.write_table(pa.table({"user": [9], "item": ["z"]}), tmp_path / "a.parquet")
    frame = read(spark, mapping(tmp_path, format="parquet", order="file"))
    assert values(frame, "user", "item") == [(9, "z"), (3, "a"), (1, "b"), (2, "c")]
    assert "_damaged" not in frame.columns


def test_sub_folders_are_columns(spark, tmp_path):
    for day in ("2025-06-01", "2025-06-02"):
        (tmp_path / f"day={day}").mkdir()
        (tmp_path / f"day={day}" / "e.csv").write_text("user,item\nu,i\n")
    wanted = mapping(tmp_path, format="csv", columns={"user_id": "user", "item_id": "item", "event_at": "day"})
    assert sorted(row["day"] for row in read(spark, wanted).collect()) == ["2025-06-01", "2025-06-02"]


def test_sub_folders_of_any_name_are_read(spark, tmp_path):
    """But for those that begin with _ or a dot, also where files lie beside them."""
    for folder in ("2025-06-01", "2025/06/02", "_old", ".trash", "."):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "e.csv").write_text(f"user,item\n{folder},i\n")
    found = {
        path: {row["user"] for row in read(spark, mapping(path, format="csv")).collect()} for path in (str(tmp_path), f"{tmp_path}/2*")
    }
    assert found == {str(tmp_path): {"2025-06-01", "2025/06/02", "."}, f"{tmp_path}/2*": {"2025-06-01", "2025/06/02"}}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_names_of_sub_folders_stay_the_text_they_are(spark, tmp_path, kind):
    """item=007 is not the item 7; a number of seconds is still a time, and a number still an id."""
    for item, at in (("007", 1_725_148_800), ("12", 1_725_148_801)):
        folder = tmp_path / f"item={item}" / f"at={at}"
        folder.mkdir(parents=True)
        if kind == "csv":
            (folder / "e.csv").write_text("user\nu\n")
        else:
            pq.write_table(pa.table({"user": ["u"]}), folder / "e.parquet")
    columns = {"user_id": "user", "item_id": "item", "event_at": "at"}
    wanted = mapping(tmp_path, format=kind, columns=columns, time={"format": "seconds"})
    landed = land_events(read(spark, wanted), mapping=wanted, now=datetime(2025, 1, 1, tzinfo=UTC))
    assert sorted((row.item_id, int(row.event_at.astimezone(UTC).timestamp()), row.problem) for row in landed.collect()) == [
        ("007", 1_725_148_800, None),
        ("12", 1_725_148_801, None),
    ]


def test_impossible_columns_are_named_all_at_once_with_what_is_there(spark, tmp_path):
    pq.write_table(
        pa.table(
            {"User": [1], "tags": [[("a", 1)]], "at": [1]},
            schema=pa.schema({"User": pa.int64(), "tags": pa.map_(pa.string(), pa.int64()), "at": pa.int64()}),
        ),
        tmp_path / "e.parquet",
    )
    with pytest.raises(SourceError) as error:
        read(spark, mapping(tmp_path / "e.parquet", columns={"user_id": "user", "item_id": "tags", "event_at": "at"}))
    assert str(error.value).splitlines()[1:] == [
        "  columns.user_id: 'user' is no column there (did you mean 'User'?)",
        "  columns.item_id: 'tags' is map<string,bigint>, and must be text or a number",
        "  columns.event_at: 'at' is bigint; say its unit in time.format: seconds, milliseconds, microseconds",
        "  its columns: User bigint, tags map<string,bigint>, at bigint",
    ]


def test_damage_inside_files_is_told_by_name(spark, tmp_path):
    whole = gzip.compress(b"user,item\n" + b"".join(b"%d,%d\n" % (i * 7919 % 1000, i) for i in range(20_000)))
    (tmp_path / "e.csv.gz").write_bytes(whole[:-500])
    frame = read(spark, mapping(tmp_path / "e.csv.gz"))
    with pytest.raises(SourceError, match=r"e\.csv\.gz cannot be read: Unexpected end of input stream"), explained_source_errors("events"):
        frame.count()
    (tmp_path / "e.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(SourceError, match=r"e\.parquet cannot be read: .*magic bytes not found"):
        read(spark, mapping(tmp_path / "e.parquet"))


def test_other_errors_pass_unexplained(spark):
    with pytest.raises(ZeroDivisionError), explained_source_errors("events"):
        raise ZeroDivisionError
    with pytest.raises(Exception, match="UNRESOLVED_COLUMN"), explained_source_errors("events"):
        spark.range(1).select("nothing")


def test_what_is_not_there_is_said(spark, tmp_path):
    with pytest.raises(SourceError, match=r"events: cannot list .*nowhere.*does not exist.*check `path`"):
        list_files(spark, mapping(tmp_path / "nowhere", format="csv"))
    with pytest.raises(SourceError, match="items: no file at"):
        list_files(spark, ItemsMapping(path=str(tmp_path), format="csv", columns={"item_id": "item"}), section="items")
    with pytest.raises(SourceError, match="as a table"):
        list_files(spark, mapping(tmp_path, format="delta"))
    with pytest.raises(SourceError, match="as a table"):
        list_files(spark, mapping(None, table="nobody.nothing"))
    spark.range(1).createOrReplaceTempView("a_view")
    with pytest.raises(SourceError, match="view"):
        list_files(spark, mapping(None, table="a_view"))


def test_a_place_may_be_empty_where_that_is_no_error(spark, tmp_path):
    (tmp_path / "landing").mkdir()
    assert list_files(spark, mapping(tmp_path / "landing", format="csv"), may_be_empty=True) == []
    (tmp_path / "landing" / "2025-06-01.csv").write_text("user,item\nu,i\n")
    days = [str(tmp_path / "landing" / f"2025-06-0{day}*.csv") for day in (1, 2)]
    with pytest.raises(SourceError, match="does not exist"):
        list_files(spark, mapping(days))
    assert [file.path for file in list_files(spark, mapping(days), may_be_empty=True)] == [f"file:{tmp_path}/landing/2025-06-01.csv"]


def test_delta_gives_its_live_files_and_only_the_new_rows(spark, tmp_path):
    folder = str(tmp_path / "events é+ x")
    spark.createDataFrame([("u1", "i1")], "user string, item string").coalesce(1).write.format("delta").save(folder)
    wanted = mapping(folder, format="delta")
    first = list_files(spark, wanted)
    delivered = [{"path": file.path, "n_bytes": None, "modified_at": None} for file in first]
    assert [tuple(row) for row in read_source(spark, wanted, first).select("user", "_position").collect()] == [("u1", 0)]
    spark.createDataFrame([("u2", "i2")], "user string, item string").coalesce(1).write.format("delta").mode("append").save(folder)
    fresh = new_files(list_files(spark, wanted), delivered)
    assert len(fresh) == 1
    assert [row["user"] for row in read_source(spark, wanted, fresh, delivery=2).collect()] == ["u2"]
    spark.createDataFrame([("u3", "i3")], "user string, item string").coalesce(1).write.format("delta").mode("overwrite").save(folder)
    assert len(list_files(spark, wanted)) == 1  # dead files do not count
