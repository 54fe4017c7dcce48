"""A first configuration, guessed from the user's files: `recspark init FILES`."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from recspark.errors import SourceError
from recspark.runtime.samples import (
    MAX_TYPES,
    N_FILES,
    N_ROWS,
    NAMES,
    Sample,
    guess_columns,
    guess_texts,
    is_number,
    plain,
    read_sample,
    time_format_of,
)

UNKNOWN = "???"
NO_TEXTS = {"yes", "no", "on", "off", "true", "false", "null"}  # to YAML, without quotes
ORDER = ("file", "no times were found: the lines are taken to stand in the order of time; if not, write none here and random below")
WEIGHTS = ((r"buy|purchas|order|transact|pay", 5), (r"cart|basket", 3), (r"fav|like|wish|save|collect", 2))


def _grouped(samples: Sequence[Sample]) -> list[Sample]:
    """One sample for each source: files that look alike are one, with the rows of all."""
    groups: list[list[Sample]] = []
    for sample in samples:
        sample.guesses = guess_columns(sample)
        alike = next((group for group in groups if _are_alike(group[0], sample)), None)
        if alike is None:
            groups.append([sample])
        else:
            alike.append(sample)
    return [_merged(group) if len(group) > 1 else group[0] for group in groups]


def _are_alike(one: Sample, other: Sample) -> bool:
    """Are they parts of one source: of the same format and columns, and, where that says little, alike in name too?"""
    if one.format == "delta" or (one.format, one.options) != (other.format, other.options):
        return False
    have_one_name = len({re.sub(r"\d+", "0", PurePath(sample.paths[0]).name) for sample in (one, other)}) == 1
    if not one.has_names:
        have_times = "event_at" in one.guesses and "event_at" in other.guesses
        by_name = have_one_name and _has_repeated_users(one) == _has_repeated_users(other)
        return _kinds(one) == _kinds(other) and (have_times or by_name)
    are_events = all(sample.guesses.keys() >= {"user_id", "item_id"} for sample in (one, other))
    if list(one.columns) == list(other.columns) or (one.format != "csv" and set(one.columns) == set(other.columns)):
        return are_events or have_one_name or _role_by_name(one) == _role_by_name(other)
    # Documents may lack a field that is rare.
    ids = [[sample.guesses.get(role) for role in ("user_id", "item_id")] for sample in (one, other)]
    return one.format == "json" and are_events and have_one_name and ids[0] == ids[1]


def _kinds(sample: Sample) -> list[str]:
    return [time_format_of(column) or ("number" if all(map(is_number, column)) else "text") for column in sample.columns.values()]


def _merged(group: Sequence[Sample]) -> Sample:
    names = dict.fromkeys(name for sample in group for name in sample.columns)
    columns: dict[str, list[str]] = {name: [] for name in names}
    for sample in group:
        n_rows = len(next(iter(sample.columns.values()), []))
        for name in names:
            columns[name] += sample.columns.get(name, [""] * n_rows)
    paths = [path for sample in group for path in sample.paths]
    whole = Sample(paths, group[0].format, columns, group[0].options, group[0].has_names)
    whole.guesses = guess_columns(whole)
    return whole


def _sort_out(samples: Sequence[Sample]) -> dict[str, Sample]:
    """Which sample is events, which items, which users."""
    both = [sample for sample in samples if {"user_id", "item_id"} <= set(sample.guesses)]
    named = [sample for sample in both if sample.has_names] or both
    events = max(named or samples, key=lambda sample: ("event_at" in sample.guesses, _has_repeated_users(sample)))
    parts = {"events": events}
    for sample in samples:
        if sample is events:
            continue
        parts.setdefault("users" if _is_of_users(sample, events) and "users" not in parts else "items", sample)
    return parts


def _has_repeated_users(sample: Sample) -> bool:
    """As events have them, and a catalogue's first column has not."""
    users = sample.columns.get(sample.guesses.get("user_id", ""), [])
    return len(set(users)) < len(users)


def _is_of_users(sample: Sample, events: Sample) -> bool:
    """By the columns' names; without names by the file's, or else by whose ids stand in the first column."""
    if sample.has_names:
        ids = {events.guesses.get("user_id"), *(name for name in sample.columns if plain(name) in NAMES["user_id"].split())}
        return bool(ids & set(sample.columns)) and "title" not in sample.guesses
    by_name = _role_by_name(sample)
    if by_name:
        return by_name == "user_id"
    ids = set(next(iter(sample.columns.values())))

    def found(role: str) -> float:
        named = set(events.columns.get(events.guesses.get(role, ""), []))
        return len(named & ids) / max(len(named), 1)

    return found("user_id") > found("item_id")


def _role_by_name(sample: Sample) -> str | None:
    """Whose catalogue a file's name says it is."""
    stem = plain(PurePath(sample.paths[0]).stem)
    words = {role: [word for word in NAMES[role].split() if len(word) > 3] for role in ("user_id", "item_id")}
    return next((role for role in words if any(word in stem for word in words[role])), None)


def _scalar(value: Any) -> str:
    """A YAML scalar; anything but a plain word in quotes."""
    if not isinstance(value, str):
        return json.dumps(value)
    is_plain = re.fullmatch(r"[A-Za-z/][\w./ -]*[\w/]|[A-Za-z_]\w*|\?\?\?", value) and value.lower() not in NO_TEXTS
    return value if is_plain and " " not in value else json.dumps(value, ensure_ascii=False)


def _line(indent: int, key: str, value: Any, comment: str) -> str:
    unknown = " <- FILL IN" if value == UNKNOWN else ""
    return f"{'  ' * indent}{key}: {_scalar(value)} #{unknown} {comment}"


def _place(sample: Sample) -> list[str]:
    if len(sample.paths) == 1:
        lines = [_line(1, "path", sample.paths[0], "a file, a folder, a glob, or a list of them")]
    else:
        lines = [
            "  path: # these look alike, and are read as one; or give a folder or glob",
            *(f"    - {_scalar(path)}" for path in sample.paths),
        ]
    lines.append(_line(1, "format", sample.format, "csv, json, parquet or delta"))
    if sample.options:
        comments = {"sep": "what stands between fields", "header": "there are no names: columns are _c0, _c1, ..."}
        lines += ["  options: # of Spark's reader", *(_line(2, key, value, comments[key]) for key, value in sample.options.items())]
    return lines


def _columns(sample: Sample, wanted: dict[str, str], required: Sequence[str]) -> list[str]:
    """The lines of `columns`; what is required and not found is left for the reader, with the choice."""
    choice = f"the columns are: {', '.join(sample.columns)}"
    lines = ["  columns: # ours: theirs"]
    for role, comment in wanted.items():
        if role in sample.guesses:
            example = next((text for text in sample.columns[sample.guesses[role]] if text), "")
            lines.append(_line(2, role, sample.guesses[role], f"{comment}, such as {example[:40]!r}" if example else comment))
        elif role in required:
            lines.append(_line(2, role, UNKNOWN, f"{comment}; {choice}"))
        else:
            lines.append(f"    # {role}: {UNKNOWN} # {comment}, if there is one")
    return lines


def _names(sample: Sample) -> list[str]:
    """The event types that were seen, as they came."""
    column = sample.guesses.get("event_type")
    return list(dict.fromkeys(text for text in sample.columns[column] if text.strip())) if column else []


def _values(sample: Sample) -> list[float]:
    return [float(text) for text in sample.columns.get(sample.guesses.get("value", ""), []) if is_number(text)]


def _one_type(sample: Sample) -> str:
    """What all events are, where no column says so."""
    return "rating" if "value" in sample.guesses else "view"


def _weight(name: str) -> int:
    """What an event of this type says of a taste, by its name."""
    return next((weight for pattern, weight in WEIGHTS if re.search(pattern, name.lower())), 1)


def _types(sample: Sample) -> list[str]:
    names = _names(sample)
    if not names:
        name = _one_type(sample)
        return [
            _line(1, "event_type", name, "the type of all events: no column was found that says what they did"),
            "  types: # every known type and its weight in learning",
            _line(2, name, 1, ""),
        ]
    weights = {name: _weight(name) for name in names[:MAX_TYPES]}
    lines = [
        "  types: # those seen in the first rows, and their weights in learning (a guess); add rarer ones: unknown types go to quarantine"
    ]
    return lines + [_line(2, _scalar(name), weight, "") for name, weight in weights.items()]


def _events(sample: Sample) -> list[str]:
    wanted = {"user_id": "who", "item_id": "what", "event_type": "what they did", "value": "rating, count or seconds", "event_at": "when"}
    lines = ["events: # what people did", *_place(sample), *_columns(sample, wanted, ("user_id", "item_id"))]
    used = {sample.guesses.get(role) for role in wanted}
    unused = ", ".join(name for name in sample.columns if name not in used)
    if unused:
        hint = "" if "event_type" in sample.guesses else " (map one to event_type if it says what they did)"
        lines.append(f"    # not used: {unused}{hint}")
    lines += _types(sample)
    if "event_at" in sample.guesses:
        unit = time_format_of(sample.columns[sample.guesses["event_at"]])
        lines += [
            "  time:",
            _line(2, "format", unit or UNKNOWN, "seconds, milliseconds, microseconds, iso, or a pattern such as dd/MM/yyyy HH:mm"),
        ]
        lines.append(_line(2, "zone", "UTC", "of times that name no zone"))
    else:
        order, comment = ("none", "no times were found, and a Delta table keeps no order") if sample.format == "delta" else ORDER
        lines.append(_line(1, "order", order, comment))
    values = _values(sample)
    if values:
        lines.append(
            f"  # value_bounds: {{min: {min(values):g}, max: {max(values):g}}} # seen in the first rows; other values go to quarantine"
        )
    return lines


def _others(name: str, sample: Sample, events: Sample) -> list[str]:
    """The `items` or `users` section: the id is the column that events call so, or a usual name, or `id`, or the first."""
    key, purpose = ("item_id", "what can be recommended") if name == "items" else ("user_id", "who is served, also without events")
    usual = [name for name in sample.columns if plain(name) in (*NAMES[key].split(), "id")]
    same = [name for name in sample.columns if name == events.guesses.get(key) and sample.has_names]
    ours = ("title", "categories", "available") if name == "items" else ()
    guesses = sample.guesses if sample.has_names else guess_texts(sample)
    sample.guesses = {role: column for role, column in guesses.items() if role in ours}
    sample.guesses[key] = (same or usual or list(sample.columns))[0]
    wanted = {key: "the id that events name"}
    wanted |= {"title": "what a person calls it", "categories": "its categories", "available": "may it be recommended"} if ours else {}
    lines = [f"{name}: # {purpose}", *_place(sample), *_columns(sample, wanted, (key,))]
    texts = sample.columns.get(sample.guesses.get("categories", ""), [])
    separator = next((sign for sign in "|;," if any(sign in text for text in texts)), None)
    if separator and not any(text.startswith("[") for text in texts):
        lines.append(_line(1, "category_separator", separator, "what stands between categories"))
    kept = [column for column in sample.columns if column not in sample.guesses.values()]
    return [*lines, f"  attributes: {json.dumps(kept, ensure_ascii=False)} # further columns to keep; they can become features"]


def _split(events: Sample) -> list[str]:
    if "event_at" in events.guesses:
        return [
            "splits: # last_n: quick to try; time: honest (nobody's future is learnt from); production: nightly, cuts that move on",
            "  kind: last_n",
        ]
    if events.format == "delta":
        return ["splits: # random: without times or an order nothing else can be held out", "  kind: random"]
    return ["splits: # last_n: each user's last events are held out; random where the lines stand in no order", "  kind: last_n"]


def _choices(events: Sample) -> list[str]:
    """What else most data need a word on, switched off: with the event types that there are."""
    strongest = max(_names(events)[:MAX_TYPES] or [_one_type(events)], key=_weight)
    types, values = json.dumps([strongest], ensure_ascii=False), _values(events)
    return [
        "# Further choices; what stands here is not in force until its # goes.",
        "# repeats: earliest # of repeated events of one (user, item, type): earliest, latest, or all (plays and groceries repeat)",
        "# seen:",
        "#   policy: never_again # never_again, window (again after window_days: 30), or allowed (plays and groceries repeat)",
        f"#   types: {types} # which event types count as seen; null: all. [buy] lets people buy what they viewed",
        "# labels:",
        f"#   types: {types} # which event types are worth predicting; null: all",
        *([f"#   min_value: {statistics.median(values):g} # a value below this is no success; null: any is"] if values else []),
    ]


def doubts_of(text: str) -> str:
    """Which lines of a starter are left to fill in, in words; empty where none are."""
    unknown = [line.split(":")[0].strip() for line in text.splitlines() if f": {UNKNOWN} # <- FILL IN" in line]
    asked = "; is one of the files a log of who did what?" if {"user_id", "item_id"} & set(unknown) else ""
    return f"could not be guessed: {', '.join(unknown)}; look for FILL IN{asked}" if unknown else ""


def write_starter(files: Sequence[str]) -> str:
    """The text of a commented YAML for `files`: which is events, items and users, their formats, columns, time unit and event types.

    Guesses stand in the file to be read over; what could not be guessed is `???`, marked FILL IN.

    Raises:
        SourceError: a file is not there or cannot be read, or none is given.
    """
    if not files:
        raise SourceError("no files given; name the file of your events, and those of items and users if you have them")
    # Of many files fewer rows each, so that all together stay some thousands.
    n_rows = min(N_ROWS, max(N_ROWS * N_FILES // len(files), 20))
    samples = _grouped([read_sample(file, n_rows) for file in files])
    parts = _sort_out(samples)
    if len(parts["events"].columns) < 2:
        raise SourceError(
            f"{parts['events'].paths[0]} has one column, and a log of events has two at least, who and what; give the file that has both"
        )
    lines = [
        "# A first configuration, guessed from the first rows of your files. Read it over; what is marked FILL IN could not be guessed.",
        "#   recspark run --config mine.yaml",
        "# Everything else has a default: conf/base.yaml lists it, each knob with its trade-off.",
        "",
        "warehouse: warehouse # folder or URL of all tables",
        "",
        *_events(parts["events"]),
    ]
    for name in ("items", "users"):
        if name in parts:
            lines += ["", *_others(name, parts[name], parts["events"])]
    lines += ["", *_split(parts["events"])]
    lines += ["", *_choices(parts["events"])]
    lines += [f"# not used: {', '.join(sample.paths)}" for sample in samples if sample not in parts.values()]
    return "\n".join(line.rstrip().removesuffix(" #") for line in lines) + "\n"
