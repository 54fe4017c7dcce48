"""A first configuration, guessed from the user's files: `recspark init FILES`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from recspark.errors import SourceError
from recspark.runtime.samples import NAMES, Sample, guess_columns, is_number, plain, read_sample, time_format_of

UNKNOWN = "???"
ORDER = ("file", "no times were found: the lines are taken to stand in the order of time; if not, write none here and random below")
WEIGHTS = ((r"buy|purchas|order|transact|pay", 5), (r"cart|basket", 3), (r"fav|like|wish|save|collect", 2))


def _sort_out(samples: Sequence[Sample]) -> dict[str, Sample]:
    """Which sample is events, which items, which users."""
    for sample in samples:
        sample.guesses = guess_columns(sample)
    both = [sample for sample in samples if {"user_id", "item_id"} <= set(sample.guesses)]
    named = [sample for sample in both if sample.has_names] or both
    events = max(named or samples, key=lambda sample: "event_at" in sample.guesses)
    parts = {"events": events}
    for sample in samples:
        if sample is events:
            continue
        ids = {events.guesses.get("user_id"), *(name for name in sample.columns if plain(name) in NAMES["user_id"].split())}
        is_users = bool(ids & set(sample.columns)) and "title" not in sample.guesses
        parts.setdefault("users" if is_users and "users" not in parts else "items", sample)
    return parts


def _scalar(value: Any) -> str:
    """A YAML scalar; anything but a plain word in quotes."""
    if not isinstance(value, str):
        return json.dumps(value)
    is_plain = re.fullmatch(r"[A-Za-z/][\w./ -]*[\w/]|[A-Za-z_]\w*|\?\?\?", value) and value.lower() not in (
        "yes",
        "no",
        "on",
        "off",
        "true",
        "false",
        "null",
    )
    return value if is_plain and " " not in value else json.dumps(value, ensure_ascii=False)


def _line(indent: int, key: str, value: Any, comment: str) -> str:
    unknown = " <- FILL IN" if value == UNKNOWN else ""
    return f"{'  ' * indent}{key}: {_scalar(value)} #{unknown} {comment}"


def _place(sample: Sample) -> list[str]:
    lines = [
        _line(1, "path", sample.path, "a file, a folder, a glob, or a list of them"),
        _line(1, "format", sample.format, "csv, json, parquet or delta"),
    ]
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


def _types(sample: Sample) -> list[str]:
    column = sample.guesses.get("event_type")
    names = list(dict.fromkeys(text for text in sample.columns[column] if text.strip())) if column else []
    if not names:
        name = "rating" if "value" in sample.guesses else "view"
        return [
            _line(1, "event_type", name, "the type of all events"),
            "  types: # every known type and its weight in learning",
            _line(2, name, 1, ""),
        ]
    weights = {name: next((weight for pattern, weight in WEIGHTS if re.search(pattern, name.lower())), 1) for name in names[:20]}
    lines = ["  types: # every known type and its weight in learning; others go to quarantine (guessed: what costs more says more)"]
    return lines + [_line(2, _scalar(name), weight, "") for name, weight in weights.items()]


def _events(sample: Sample) -> list[str]:
    wanted = {"user_id": "who", "item_id": "what", "event_type": "what they did", "value": "rating, count or seconds", "event_at": "when"}
    lines = ["events: # what people did", *_place(sample), *_columns(sample, wanted, ("user_id", "item_id")), *_types(sample)]
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
    values = [float(text) for text in sample.columns.get(sample.guesses.get("value", ""), []) if is_number(text)]
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
    sample.guesses = {role: column for role, column in sample.guesses.items() if role in ours}
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


def write_starter(files: Sequence[str]) -> str:
    """The text of a commented YAML for `files`: which is events, items and users, their formats, columns, time unit and event types.

    Guesses stand in the file to be read over; what could not be guessed is `???`, marked FILL IN.

    Raises:
        SourceError: a file is not there or cannot be read, or none is given.
    """
    if not files:
        raise SourceError("no files given; name the file of your events, and those of items and users if you have them")
    samples = [read_sample(file) for file in files]
    parts = _sort_out(samples)
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
    lines += [f"# not used: {sample.path}" for sample in samples if sample not in parts.values()]
    return "\n".join(line.rstrip().removesuffix(" #") for line in lines) + "\n"
