"""The first rows of a file or folder, and what its values look like."""

from __future__ import annotations

import pyarrow as pa
import pytest

from recspark.errors import SourceError
from recspark.runtime.samples import are_actions, read_sample, time_format_of


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["view", "addtocart", "transaction"], True),
        (["pv", "fav", "cart", "buy"], True),
        (["ProductViewed", "AddToCart", "PURCHASE", "remove_from_cart"], True),
        (["clicked", "liked", "saved", "rating", "", " click "], True),
        (["view", "click", "hover"], True),
        (["view", "hover"], False),  # one of two is not most
        (["cartoon", "player", "likely"], False),
        (["I like it", "I would buy it again"], False),  # the second is no name
        ([f"view{i}" for i in range(21)], False),
        (["1", "2"], False),
        ([], False),
    ],
)
def test_names_of_actions(texts, expected):
    assert are_actions(texts) == expected


def test_a_folder_s_empty_files_and_those_with_another_header_do_not_matter(tmp_path):
    for name, text in {"a": "", "b": "user,item\n1,2\n", "c": "item,title\n2,Up\n", "d": "user,item\n3,4\n"}.items():
        (tmp_path / f"{name}.csv").write_text(text)
    (tmp_path / "notes.json").write_text("{}")
    assert read_sample(str(tmp_path)).columns == {"user": ["1", "3"], "item": ["2", "4"]}


def test_a_blank_inside_fields_is_no_separator(tmp_path):
    (tmp_path / "e.csv").write_text("user;name of it\n1;a b c\n2;d e f\n")
    assert read_sample(str(tmp_path / "e.csv")).columns == {"user": ["1", "2"], "name of it": ["a b c", "d e f"]}


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


def test_latin_1_text_and_a_character_that_the_end_cuts_pass(tmp_path, monkeypatch):
    (tmp_path / "latin.csv").write_bytes("item_id,title\n1,Die fabelhafte Amélie\n".encode("latin-1"))
    assert read_sample(str(tmp_path / "latin.csv")).columns["title"] == ["Die fabelhafte Am\ufffdlie"]
    (tmp_path / "hive.csv").write_text("1\x012\n3\x014\n")
    assert read_sample(str(tmp_path / "hive.csv")).columns == {"_c0": ["1\x012", "3\x014"]}
    (tmp_path / "cut.csv").write_text("é\x01\n" * 2)
    monkeypatch.setattr("recspark.runtime.samples.N_BYTES", 5)  # the second é's first byte is the fifth
    assert read_sample(str(tmp_path / "cut.csv")).columns["_c0"][0] == "é\x01"


@pytest.mark.parametrize("compression", ["gz", "bz2", "zst"])
def test_compressed_text_is_read(tmp_path, compression):
    path = str(tmp_path / f"e.csv.{compression}")
    with pa.output_stream(path) as stream:
        stream.write(b"user_id,item_id\n1,2\n")
    assert read_sample(path).columns == {"user_id": ["1"], "item_id": ["2"]}
    with open(path, "wb") as file:
        file.write(b"user_id,item_id\n1,2\n")
    with pytest.raises(SourceError, match="cannot be read"):
        read_sample(path)
