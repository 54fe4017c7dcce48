"""The first rows of the user's files, without Spark: format, separator, header, and which column is which."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq

from recspark.errors import SourceError
from recspark.interactions.mapping import Format, format_of

N_ROWS = 1000
N_BYTES = 1 << 20
SEPARATORS = ("::", "\t", ",", ";", "|")

# What columns are usually called; compared without case, blanks and underscores.
NAMES = {
    "user_id": "user userid uid usr customer customerid visitor visitorid member memberid account accountid client clientid reviewerid "
    "person",
    "item_id": "item itemid iid product productid movie movieid film filmid article articleid sku asin track trackid song songid book "
    "bookid isbn artist artistid game gameid joke jokeid poi venue business businessid content contentid video videoid",
    "event_at": "timestamp time ts date datetime eventtime eventat unixtime unixreviewtime createdat at when day",
    "value": "rating score stars value overall plays playcount count quantity qty weight seconds",
    "event_type": "event eventtype type action behavior behaviour behaviortype interaction interactiontype",
    "title": "title name itemname productname movietitle",
    "categories": "genres genre categories category tags",
    "available": "available instock active isactive onsale",
}
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
    """The first rows of a file, each column as texts, and how the file was read."""

    path: str
    format: Format
    columns: dict[str, list[str]]
    options: dict[str, Any] = field(default_factory=dict)
    has_names: bool = True
    guesses: dict[str, str] = field(default_factory=dict)  # our column -> theirs


def _first_file(path: str) -> tuple[str, Format]:
    """A file to look into, and the format of the whole."""
    if not os.path.exists(path):
        raise SourceError(f"{path} does not exist; give the files or folders that hold your events, items and users")
    if os.path.isfile(path):
        return path, format_of(path) or ("parquet" if _head(path)[:4] == b"PAR1" else "csv")
    inside = sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names if not name.startswith(("_", ".")))
    files = [file for file in inside if "_delta_log" not in file and format_of(file)]
    if not files:
        raise SourceError(f"the folder {path} holds no csv, json or parquet file")
    return files[0], "delta" if os.path.isdir(os.path.join(path, "_delta_log")) else format_of(files[0]) or "csv"


def _head(path: str) -> bytes:
    with gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb") as file:
        return file.read(N_BYTES)


def _lines(path: str) -> list[str]:
    lines = _head(path).decode("utf-8-sig", errors="replace").splitlines()
    return [line for line in lines if line.strip()][: N_ROWS + 1]


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


def _read_csv(path: str) -> tuple[dict[str, list[str]], dict[str, Any], bool]:
    lines = _lines(path)
    if not lines:
        raise SourceError(f"{path} is empty; give a file with some rows")
    separator = _separator(lines)
    rows = (
        [line.split(separator) for line in lines]
        if len(separator) > 1
        else list(csv.reader(io.StringIO("\n".join(lines)), delimiter=separator))
    )
    has_names = _is_header(rows[0], rows[1] if len(rows) > 1 else [])
    names = [name or f"_c{i}" for i, name in enumerate(rows[0])] if has_names else [f"_c{i}" for i in range(len(rows[0]))]
    body = [row for row in rows[1 if has_names else 0 :] if len(row) == len(names)]
    options: dict[str, Any] = {} if separator == "," else {"sep": separator}
    return {name: [row[i] for row in body] for i, name in enumerate(names)}, options | ({} if has_names else {"header": False}), has_names


def _as_columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: ["" if row.get(name) is None else str(row[name]) for row in rows] for name in names}


def _read_json(path: str) -> dict[str, list[str]]:
    rows = []
    for line in _lines(path):
        try:
            document = json.loads(line)
        except ValueError:
            continue
        rows += [document] if isinstance(document, dict) else []
    if not rows:
        raise SourceError(f"{path} holds no JSON document a line; recspark reads one document a line")
    return _as_columns(rows)


def read_sample(path: str) -> Sample:
    """Some first rows of `path` (a file or folder), with its format, separator and header as they look.

    Raises:
        SourceError: it is not there, is empty, or holds nothing that recspark reads.
    """
    file, kind = _first_file(path)
    if kind == "csv":
        columns, options, has_names = _read_csv(file)
        return Sample(path, kind, columns, options, has_names)
    if kind == "json":
        return Sample(path, kind, _read_json(file))
    try:
        batch = next(pq.ParquetFile(file).iter_batches(batch_size=N_ROWS), None)
    except (OSError, ValueError) as error:
        raise SourceError(f"{file} is no readable parquet file: {error}") from error
    return Sample(path, kind, _as_columns(batch.to_pylist() if batch else []))


def time_format_of(values: Sequence[str]) -> str | None:
    """How these texts write times, as `time.format`; None where they are none."""
    texts = [text.strip() for text in values if text.strip()]
    if texts and all(is_number(text) for text in texts):
        return next((unit for unit, low, high in TIME_UNITS if all(low <= float(text) < high for text in texts)), None)
    return next((name for pattern, name in TIME_TEXTS if texts and all(re.fullmatch(pattern, text) for text in texts)), None)


def guess_columns(sample: Sample) -> dict[str, str]:
    """Our columns -> theirs: by name; the time, and columns without names, by their values."""
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
    if not sample.has_names:
        free = [name for name in sample.columns if name not in found.values()]
        found |= dict(zip(("user_id", "item_id"), free, strict=False))
        for name in free[2:]:
            role = "value" if all(is_number(text) for text in sample.columns[name]) else "event_type"
            if role not in found and len(set(sample.columns[name])) <= 20:
                found[role] = name
    return found
