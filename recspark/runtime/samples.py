"""The first rows of the user's files, without Spark: format, separator, header, and which column is which."""

from __future__ import annotations

import codecs
import csv
import glob
import io
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recspark.errors import SourceError
from recspark.interactions.mapping import Format, format_of

N_ROWS = 1000  # of a file
N_BYTES = 1 << 20  # of a text file
N_FILES = 8  # of a folder
MAX_TYPES = 20
CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r"))
SEPARATORS = ("::", "\t", ",", ";", "|")

# What columns are usually called; compared without case, blanks and underscores.
NAMES = {
    "user_id": "user userid uid usr customer customerid visitor visitorid member memberid account accountid client clientid reader readerid "
    "listener listenerid viewer viewerid subscriber subscriberid patient patientid buyer buyerid reviewer reviewerid person",
    "item_id": "item itemid iid product productid movie movieid film filmid article articleid sku asin track trackid song songid book "
    "bookid isbn artist artistid game gameid joke jokeid poi venue business businessid content contentid video videoid "
    "episode episodeid podcast podcastid recipe recipeid course courseid listing listingid hotel hotelid storyid postid appid",
    "event_at": "timestamp time ts date datetime eventtime eventat unixtime unixreviewtime createdat at when day",
    "value": "rating score stars value overall plays playcount count quantity qty weight seconds",
    "event_type": "event eventtype type action behavior behaviour behaviortype interaction interactiontype",
    "title": "title name itemname productname movietitle",
    "categories": "genres genre categories category tags",
    "available": "available instock active isactive onsale",
}
# What people do, as event types name it; each also with -s, -ed and -ing.
ACTIONS = re.compile(
    "(pv|pageview|view|click|tap|brows|visit|search|impression|play|listen|stream|watch|read|skip|fav|favorit|favourit|lik|dislik|wish|"
    "wishlist|sav|bookmark|collect|add|remov|cart|addtocart|basket|buy|bought|purchas|order|checkout|transaction|pay|paid|rat|review|"
    "comment|shar|follow|subscrib|download|borrow)(e|es|s|ed|d|ing)?"
)
TIME_UNITS = (("seconds", 3e8, 4e9), ("milliseconds", 3e11, 4e12), ("microseconds", 3e14, 4e15))
TIME_TEXTS = (
    (r"\d{4}-\d\d?-\d\d?([T ]\d\d?:\d\d.*)?", "iso"),
    (r"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d", "dd/MM/yyyy HH:mm:ss"),
    (r"\d\d/\d\d/\d{4} \d\d:\d\d", "dd/MM/yyyy HH:mm"),
    (r"\d\d/\d\d/\d{4}", "dd/MM/yyyy"),
    (r"\d\d\.\d\d\.\d{4}", "dd.MM.yyyy"),
    (r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d", "yyyy/MM/dd HH:mm:ss"),
    (r"\d{4}/\d\d/\d\d", "yyyy/MM/dd"),
)


@dataclass
class Sample:
    """The first rows of a source (a file, a folder, or files alike), each column as texts, and how it was read."""

    paths: list[str]
    format: Format
    columns: dict[str, list[str]]
    options: dict[str, Any] = field(default_factory=dict)
    has_names: bool = True
    guesses: dict[str, str] = field(default_factory=dict)  # our column -> theirs


def _files_of(path: str) -> tuple[list[str], Format]:
    """Files to look into, spread over a folder's from the first to the last, and the format of the whole."""
    # A name that is there is no glob, whatever it is called.
    places = [path] if os.path.exists(path) else sorted(glob.glob(path))
    if not places:
        raise SourceError(
            f"{path} does not exist, and as a glob finds nothing; give the files or folders that hold your events, items and users"
        )
    if len(places) == 1 and os.path.isfile(places[0]):
        return places, format_of(places[0]) or ("parquet" if _head(places[0])[:4] == b"PAR1" else "csv")
    files = [file for place in places for file in ([place] if os.path.isfile(place) else _inside(place)) if format_of(file)]
    if not files:
        raise SourceError(f"{path} holds no csv, json or parquet file; give the files or folders that hold your events, items and users")
    kind = format_of(files[0]) or "csv"
    files = [file for file in files if format_of(file) == kind]
    steps = max(min(len(files), N_FILES) - 1, 1)
    spread = sorted({i * (len(files) - 1) // steps for i in range(steps + 1)})
    return [files[i] for i in spread], "delta" if os.path.isdir(os.path.join(path, "_delta_log")) else kind


def _inside(folder: str) -> list[str]:
    """The files at and below a folder, but for those that start with _ or ., and Delta's log."""
    inside = [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names if not name.startswith(("_", "."))]
    return sorted(file for file in inside if "_delta_log" not in file)


def _head(path: str) -> bytes:
    """The first bytes, decompressed as the extension says."""
    try:
        with pa.input_stream(path) as stream:
            return bytes(stream.read(N_BYTES))
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}; mend it, or give another file") from error


def _is_utf8(head: bytes) -> bool:
    """A character that the end cuts does not matter."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _lines(path: str, n_rows: int) -> list[str]:
    head = _head(path)
    n_controls = sum(map(head.count, CONTROLS))
    # Latin-1 and its like are no UTF-8 either, but hold no control characters; UTF-8 may hold some, as separators.
    if n_controls > len(head) / 100 and (b"\0" in head or not _is_utf8(head)):
        raise SourceError(
            f"{path} holds no text: {n_controls} of its first {len(head)} bytes are control characters; "
            "recspark reads csv and JSON lines (as UTF-8, also compressed), parquet and Delta tables"
        )
    lines = head.decode("utf-8-sig", errors="replace").splitlines()
    return [line for line in lines if line.strip()][: n_rows + 1]


def _separator(lines: Sequence[str]) -> str:
    """The separator that cuts most lines into the same number (above one) of fields; a blank only where no other cuts them."""

    def agreement(separator: str) -> tuple[float, int]:
        counts = [line.count(separator) for line in lines[:100]]
        common = max(set(counts), key=counts.count, default=0)
        return (counts.count(common) / len(counts), common) if common else (0.0, 0)

    best = max(SEPARATORS, key=agreement)
    return best if agreement(best)[1] else " " if agreement(" ")[1] else ","


def is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", text.strip()) is not None


def plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _is_header(first: Sequence[str], second: Sequence[str]) -> bool:
    """No name is a number, and: a usual name is among them, or numbers stand below words."""
    known = {word for words in NAMES.values() for word in words.split()}
    if any(is_number(cell) for cell in first):
        return False
    return any(plain(cell) in known | {"id"} for cell in first) or any(is_number(cell) for cell in second)


def _read_csv(files: Sequence[str], n_rows: int) -> tuple[dict[str, list[str]], dict[str, Any], bool]:
    """Columns, options and whether there is a header, as the first file has them; files with another header are left out."""
    texts = [lines for lines in (_lines(file, n_rows) for file in files) if lines]
    if not texts:
        raise SourceError(f"{files[0]} is empty; give a file with some rows")
    separator = _separator(texts[0])
    tables = [
        [line.split(separator) for line in lines]
        if len(separator) > 1
        else list(csv.reader(io.StringIO("\n".join(lines)), delimiter=separator))
        for lines in texts
    ]
    first = tables[0]
    has_names = _is_header(first[0], first[1] if len(first) > 1 else [])
    names = [name or f"_c{i}" for i, name in enumerate(first[0])] if has_names else [f"_c{i}" for i in range(len(first[0]))]
    rows = [row for table in tables if not has_names or table[0] == first[0] for row in table[1 if has_names else 0 :]]
    body = [row for row in rows if len(row) == len(names)]
    if len(body) < len(rows) / 2:
        raise SourceError(
            f"{files[0]} does not look like a table: cut at {separator!r}, its first line has {len(names)} fields, and {len(rows) - len(body)} "
            f"of {len(rows)} lines have another number; give the files that hold your events, items and users"
        )
    options: dict[str, Any] = {} if separator == "," else {"sep": separator}
    return {name: [row[i] for row in body] for i, name in enumerate(names)}, options | ({} if has_names else {"header": False}), has_names


def _as_columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: ["" if row.get(name) is None else str(row[name]) for row in rows] for name in names}


def _read_json(files: Sequence[str], n_rows: int) -> dict[str, list[str]]:
    rows = []
    for file in files:
        for line in _lines(file, n_rows):
            try:
                document = json.loads(line)
            except ValueError:
                continue
            rows += [document] if isinstance(document, dict) else []
    if not rows:
        raise SourceError(f"{files[0]} holds no JSON document a line; recspark reads one document a line")
    return _as_columns(rows)


def _read_parquet(files: Sequence[str], n_rows: int) -> dict[str, list[str]]:
    rows: list[dict[str, Any]] = []
    for file in files:
        try:
            # Buffered: otherwise whole row groups are read for their first rows.
            batch = next(pq.ParquetFile(file, buffer_size=1 << 16).iter_batches(batch_size=n_rows), None)
        except (OSError, ValueError) as error:
            raise SourceError(f"{file} is no readable parquet file: {error}") from error
        rows += batch.to_pylist() if batch else []
    return _as_columns(rows)


def read_sample(path: str, n_rows: int = N_ROWS) -> Sample:
    """Some first rows of `path`, with its format, separator and header as they look.

    A file's first `n_rows` (of text within its first N_BYTES), or as many of each of up to N_FILES files of a folder.

    Raises:
        SourceError: it is not there, is empty, is no table, or holds nothing that recspark reads.
    """
    files, kind = _files_of(path)
    if kind == "csv":
        columns, options, has_names = _read_csv(files, n_rows)
        return Sample([path], kind, columns, options, has_names)
    return Sample([path], kind, _read_json(files, n_rows) if kind == "json" else _read_parquet(files, n_rows))


def time_format_of(values: Sequence[str]) -> str | None:
    """How these texts write times, as `time.format`; None where they are none."""
    texts = [text.strip() for text in values if text.strip()]
    if texts and all(is_number(text) for text in texts):
        return next((unit for unit, low, high in TIME_UNITS if all(low <= float(text) < high for text in texts)), None)
    return next((name for pattern, name in TIME_TEXTS if texts and all(re.fullmatch(pattern, text) for text in texts)), None)


def are_actions(values: Sequence[str]) -> bool:
    """Are these the names of a few things that people do: short texts, most with a word such as view, cart or purchase?"""
    texts = {text.strip() for text in values if text.strip()}
    words = [[word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", text)] for text in texts]
    n_actions = sum(len(name) <= 4 and any(ACTIONS.fullmatch(word) for word in name) for name in words)
    return len(texts) <= MAX_TYPES and n_actions > len(texts) / 2


def guess_columns(sample: Sample) -> dict[str, str]:
    """Our columns -> theirs: by name; the time, event types, and columns without names, by their values."""
    found: dict[str, str] = {}
    for role, words in NAMES.items():
        match = next(
            (name for word in words.split() for name in sample.columns if plain(name) == word and name not in found.values()), None
        )
        if match is not None and (role != "event_at" or time_format_of(sample.columns[match])):
            found[role] = match
    free = [name for name in sample.columns if name not in found.values()]
    if "event_at" not in found:
        at = next((name for name in free if time_format_of(sample.columns[name])), None)
        found |= {"event_at": at} if at else {}
    # Event types by their values, whatever the column's name; where several look so, the one that is also called so.
    others = {found.get(role) for role in ("user_id", "item_id", "event_at", "value")}
    likely = sorted(sample.columns.keys() - others, key=lambda name: (name != found.get("event_type"), list(sample.columns).index(name)))
    actions = next((name for name in likely if are_actions(sample.columns[name])), None)
    found |= {"event_type": actions} if actions else {}
    if not sample.has_names:
        free = [name for name in sample.columns if name not in found.values()]
        found |= dict(zip(("user_id", "item_id"), free, strict=False))
        for name in free[2:]:
            texts = set(sample.columns[name])
            is_value = all(is_number(text) for text in texts)
            role = "value" if is_value else "event_type"
            if role not in found and (len(texts) <= MAX_TYPES or (is_value and any("." in text for text in texts))):
                found[role] = name
    return found


def guess_texts(sample: Sample) -> dict[str, str]:
    """The title and the categories of items whose columns have no names: a text that hardly repeats, and lists between bars."""
    texts = {name: [text for text in column if text.strip()] for name, column in list(sample.columns.items())[1:]}
    lists = next((name for name, column in texts.items() if any("|" in text for text in column)), None)
    titles = [
        name
        for name, column in texts.items()
        if name != lists and column and not any(map(is_number, column)) and len(set(column)) >= 0.9 * len(column)
    ]
    return ({"title": titles[0]} if titles else {}) | ({"categories": lists} if lists else {})
