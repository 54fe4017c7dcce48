"""What does not fit a section of the configuration, in words: the place, what must stand there, and what was given."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

# pydantic's kinds of errors, by their name or else by its first word.
MUST_BE: Final[Mapping[str, str]] = {
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_too_short": "a text of at least {min_length} characters",
    "literal_error": "one of {choices}",
    "union_tag_invalid": "one of {choices}",
    "union_tag_not_found": "a section of keys and values",
    "finite_number": "a finite number",
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a section of keys and values",
    "model": "a section of keys and values",
    "date": "a date, such as 2025-06-01",
    "datetime": "a date or time, such as 2025-06-01 or 2025-06-01T04:00",
}
LONGEST_VALUE: Final = 100


def meant(name: str, names: Iterable[str]) -> str | None:
    """Which of `names` somebody who wrote `name` may have meant, if any."""
    by_lower = {one.lower(): one for one in names}
    near = get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def misfits(section: str, model: type[BaseModel], error: ValidationError, *, unsaid: Collection[str] = ()) -> Iterator[str]:
    """One line a place of the section (its name; the settings have none) that does not fit. Of the knobs in `unsaid` nothing is said."""
    musts: dict[str, list[str]] = {}
    lines: dict[str, str] = {}
    for one in error.errors():
        keys, holder = _place(model, one["loc"])
        if one["type"] == "union_tag_invalid":  # which of a union's models is meant, its `name` says
            keys, one = [*keys, "name"], {**one, "input": one["ctx"]["tag"]}
        if keys and keys[0] in unsaid:
            continue
        where = ".".join([section, *keys] if section else keys)
        must = _must_be(one)
        if must is None:
            lines[where] = _words(one, keys, holder)
        else:
            # Each branch of a union says what it wanted: together they are the choice.
            choice = musts.setdefault(where, [])
            choice += [must] if must not in choice else []
            lines[where] = f"must be {_or(choice)} (got {_shown(one['input'])})"
    yield from (f"{where}: {line}" for where, line in lines.items())


def _must_be(one: ErrorDetails) -> str | None:
    kind = one["type"]
    text = MUST_BE.get(kind) or MUST_BE.get(kind.split("_")[0])
    if text is None:
        return None
    context = dict(one.get("ctx", {}))
    choices = context.get("expected", context.get("expected_tags", ""))
    context["choices"] = str(choices).replace(" or ", ", ").replace("'", "")
    return text.format(**context)


def _words(one: ErrorDetails, keys: list[str], holder: Any) -> str:
    if one["type"] == "missing":
        return "missing"
    if one["type"] == "extra_forbidden":
        allowed = list(getattr(holder, "model_fields", {}))
        near = meant(keys[-1], allowed)
        return f"unknown key{f' (did you mean {near!r}?)' if near else ''}; allowed here: {', '.join(allowed) or 'none'}"
    if one["type"] == "value_error":
        return str(one["ctx"]["error"])  # our own validators': they name the value
    return f"{one['msg']} (got {_shown(one['input'])})"


def _or(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _shown(value: Any) -> str:
    """The value as YAML writes it where that differs from Python."""
    text = {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "..."


def _place(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[list[str], Any]:
    """The keys of `location`, without pydantic's names for the branches of unions, and the type that holds the last one."""
    keys: list[str] = []
    holder: Any = None
    current: Any = model
    for part in location:
        branches = _branches(current)
        if len(branches) > 1:
            current = next((one for one in branches if part in _names(one)), None)
            if current is not None:
                continue
        holder = branches[0] if len(branches) == 1 else current
        keys.append(str(part))
        current = _inner(holder, part)
    return keys, holder


def _names(branch: Any) -> set[Any]:
    """What pydantic calls a branch of a union: its type's name, or the tag that a model's `name` has."""
    tag = branch.model_fields["name"].default if "name" in getattr(branch, "model_fields", {}) else None
    return {str(branch), getattr(branch, "__name__", None), tag}


def _branches(annotation: Any) -> list[Any]:
    """The types that an annotation allows, beside None."""
    if get_origin(annotation) is Annotated:
        return _branches(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [branch for one in get_args(annotation) if one is not NoneType for branch in _branches(one)]
    return [annotation]


def _inner(holder: Any, part: int | str) -> Any:
    """The type of what lies at `part` of a model, a mapping or a list."""
    if isinstance(holder, type) and issubclass(holder, BaseModel):
        field = holder.model_fields.get(str(part))
        return field.annotation if field else None
    inner = get_args(holder)
    return inner[-1 if get_origin(holder) is dict else 0] if inner else None
