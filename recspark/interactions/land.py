"""A delivery as read -> our columns, with what is wrong with each row. No row is lost here."""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import translate
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from recspark.interactions.fields import id_text, is_blank, moment, number, source_column, time_at, whole_number
from recspark.interactions.mapping import EventsMapping, ItemsMapping, UsersMapping
from recspark.tables.lineage import EventsSource, ItemsSource, Now, UsersSource

DAMAGED = "_damaged"
OWN_COLUMNS = (DAMAGED, "_file", "_position")
# What stands in a text where bytes were no text in the encoding it was read in.
REPLACED = "\ufffd"

YES = ("true", "t", "yes", "y", "1", "1.0")
NO = ("false", "f", "no", "n", "0", "0.0")


def _typed(frame: DataFrame, name: str) -> tuple[Column, T.DataType]:
    return source_column(name), frame.schema[name].dataType


def _id(frame: DataFrame, name: str, role: str) -> tuple[Column, list[Column]]:
    """An id as text, and the rules that it may break."""
    text = id_text(*_typed(frame, name))
    return text, [
        F.when(text.isNull(), F.lit(f"{role} is missing")),
        # Two ids that differ only in such bytes would become one.
        F.when(text.contains(REPLACED), F.lit(f"{role} is not UTF-8; set events.options.encoding")),
    ]


def _event_type(events: DataFrame, mapping: EventsMapping) -> tuple[Column, list[Column]]:
    known = ", ".join(mapping.types)
    if mapping.columns.event_type is None:
        return F.lit(mapping.constant_type), []
    column, kind = _typed(events, mapping.columns.event_type)
    theirs = id_text(column, kind)
    ours = theirs
    if mapping.aliases:
        pairs = [F.lit(word) for pair in mapping.aliases.items() for word in pair]
        ours = F.coalesce(F.try_element_at(F.create_map(*pairs), theirs), theirs)
    problems = [
        F.when(theirs.isNull(), F.lit("event_type is missing")),
        F.when(
            ~ours.isin(list(mapping.types)),
            F.lit(f"event_type is not one of {known} (events.types, events.aliases)"),
        ),
    ]
    return ours, problems


def _value(events: DataFrame, mapping: EventsMapping) -> tuple[Column, list[Column]]:
    if mapping.columns.value is None:
        return F.lit(None).cast("double"), []
    column, kind = _typed(events, mapping.columns.value)
    value = number(column, kind)
    low, high = mapping.value_bounds.min, mapping.value_bounds.max
    finite = ~F.isnan(value) & (F.abs(value) != F.lit(float("inf")))
    given = ~is_blank(column) if isinstance(kind, T.StringType) else column.isNotNull()
    problems = [
        F.when(given & value.isNull(), F.lit("value is no number")),
        F.when(value.isNotNull() & ~finite, F.lit("value is not finite")),
        *([F.when(value < low, F.lit(f"value is below value_bounds.min {low:g}"))] if low is not None else []),
        *([F.when(value > high, F.lit(f"value is above value_bounds.max {high:g}"))] if high is not None else []),
    ]
    return F.when(finite, value), problems


def _event_at(events: DataFrame, mapping: EventsMapping, now: datetime) -> tuple[Column, list[Column]]:
    if mapping.columns.event_at is None:
        return F.lit(None).cast("timestamp"), []
    column, kind = _typed(events, mapping.columns.event_at)
    at = time_at(column, kind, mapping.time)
    now = now.replace(tzinfo=UTC) if now.tzinfo is None else now.astimezone(UTC)
    late, early = at > moment(now), at < moment(mapping.time.earliest_at)
    too_early = f"event_at is before {mapping.time.earliest}; check time.format, or lower time.earliest"
    problems = [
        F.when(is_blank(column.cast("string")), F.lit("event_at is missing")),
        F.when(at.isNull(), F.lit(f"event_at is no time of the format {mapping.time.format!r}")),
        F.when(late, F.lit("event_at is after the run's now; check time.format")),
        F.when(early, F.lit(too_early)),
    ]
    # A wrong unit leads to years that no calendar of the readers' knows.
    return F.when(~late & ~early, at), problems


def _event_order(events: DataFrame, mapping: EventsMapping, event_at: Column) -> tuple[Column, list[Column]]:
    order = mapping.resolved_order
    if order == "time":
        return F.unix_micros(event_at), []
    if order == "file":
        return F.col("_position"), []
    if order == "none" or mapping.columns.event_order is None:
        return F.lit(0).cast("bigint"), []
    column, kind = _typed(events, mapping.columns.event_order)
    value = whole_number(column, kind)
    return value, [F.when(value.isNull(), F.lit("event_order is no whole number"))]


def _part(events: DataFrame, mapping: EventsMapping) -> Column:
    """What the source holds an event out for, by its file or by a column of its own; null for what is learnt from."""
    if not mapping.parts:
        return F.lit(None).cast("string")
    words = F.col("_file") if mapping.columns.part is None else id_text(*_typed(events, mapping.columns.part))
    found = F.when(F.lit(False), "")
    for part, globs in mapping.parts.items():
        # The end of a path is enough to name a file; a value is named whole.
        begin = "(?:^|/)" if mapping.columns.part is None else "^"
        for glob in [globs] if isinstance(globs, str) else globs:
            found = found.when(words.rlike(begin + translate(glob.lstrip("/") if begin != "^" else glob)), part)
    return found


def _row(source: DataFrame) -> Column:
    """The source's row as JSON; of a damaged line, the line."""
    names = [name for name in source.columns if name not in OWN_COLUMNS]
    whole = F.to_json(F.struct(*(source_column(name).alias(name) for name in names)), {"ignoreNullFields": "false"})
    if DAMAGED not in source.columns:
        return whole
    return F.when(F.col(DAMAGED).isNotNull(), F.to_json(F.struct(F.col(DAMAGED).alias("line")))).otherwise(whole)


def _damage(events: DataFrame, mapping: EventsMapping) -> list[Column]:
    if DAMAGED not in events.columns:
        return []
    rule = (
        "the line is no JSON document"
        if mapping.format == "json"
        else "the line does not parse: too few or too many fields, or broken quotes"
    )
    return [F.when(F.col(DAMAGED).isNotNull(), F.lit(rule))]


def land_events(events: EventsSource, *, mapping: EventsMapping, now: Now) -> DataFrame:
    """`landed_events`: one row a row of the source, with the first rule that it breaks as `problem` (the rule alone: the row stands in `row`).

    Rules, in order: the line parses; user_id and item_id are there and UTF-8 (never trimmed or shortened); the event type is known;
    the time is there, parses, is not after `now` and not before `time.earliest`; the value is empty or a finite number within
    bounds; the order is a whole number. `now` is the run's recorded now.
    """
    user_id, user_problems = _id(events, mapping.columns.user_id, "user_id")
    item_id, item_problems = _id(events, mapping.columns.item_id, "item_id")
    event_type, type_problems = _event_type(events, mapping)
    event_at, time_problems = _event_at(events, mapping, now)
    value, value_problems = _value(events, mapping)
    event_order, order_problems = _event_order(events, mapping, event_at)
    problem = F.coalesce(
        *_damage(events, mapping),
        *user_problems,
        *item_problems,
        *type_problems,
        *time_problems,
        *value_problems,
        *order_problems,
        F.lit(None).cast("string"),
    )
    return events.select(
        user_id.alias("user_id"),
        item_id.alias("item_id"),
        event_type.alias("event_type"),
        value.alias("value"),
        event_at.alias("event_at"),
        event_order.alias("event_order"),
        _part(events, mapping).alias("part"),
        F.col("_file").alias("source_file"),
        F.when(problem.isNotNull(), _row(events)).alias("row"),
        problem.alias("problem"),
    )


def _attributes(source: DataFrame, names: list[str]) -> Column:
    """map of name -> text; missing values are left out, lists and structs are JSON."""
    if not names:
        return F.expr("cast(map() as map<string,string>)")
    texts = {}
    for name in names:
        column, kind = _typed(source, name)
        nested = isinstance(kind, T.ArrayType | T.MapType | T.StructType)
        texts[name] = F.to_json(column) if nested else id_text(column, kind) if isinstance(kind, T.NumericType) else column.cast("string")
    pairs = F.create_map(*(part for name, text in texts.items() for part in (F.lit(name), text)))
    return F.map_filter(pairs, lambda _, text: text.isNotNull())


def _categories(items: DataFrame, mapping: ItemsMapping) -> Column:
    none = F.expr("cast(array() as array<string>)")
    if mapping.columns.categories is None:
        return none
    column, kind = _typed(items, mapping.columns.categories)
    if isinstance(kind, T.ArrayType):
        parts = column.cast("array<string>")
    elif mapping.category_separator is None:
        parts = F.array(column.cast("string"))
    else:
        separator = reduce(lambda text, sign: text.replace(sign, "\\" + sign), r"\.[]{}()*+-?^$|", mapping.category_separator)
        parts = F.split(column.cast("string"), separator)
    trimmed = F.transform(parts, lambda part: F.trim(part))
    return F.coalesce(F.array_distinct(F.filter(trimmed, lambda part: part.isNotNull() & (part != ""))), none)


def _available(items: DataFrame, mapping: ItemsMapping) -> Column:
    """Anything that is not a clear no is a yes: a typing slip must not empty the shop."""
    if mapping.columns.available is None:
        return F.lit(True)
    word = F.lower(F.trim(source_column(mapping.columns.available).cast("string")))
    return F.coalesce(~word.isin(list(NO)), F.lit(True))


def _one_row_an_id(frame: DataFrame, key: str) -> DataFrame:
    """The last row of each id in the order of the files; where that does not decide, the greatest by content."""
    content = F.xxhash64(F.to_json(F.struct(*(name for name in frame.columns if name != "_position"))))
    latest = Window.partitionBy(key).orderBy(F.col("_position").desc(), content.desc())
    return frame.withColumn("_place", F.row_number().over(latest)).filter("_place = 1").drop("_place", "_position")


def catalogue_id(source: DataFrame, name: str) -> Column:
    """An id of a source without quarantine; null where it names nobody for certain."""
    text = id_text(*_typed(source, name))
    return F.when(~text.contains(REPLACED), text)


def sound_rows(source: DataFrame) -> DataFrame:
    """The rows of `source` whose line parses."""
    return source.filter(F.col(DAMAGED).isNull()) if DAMAGED in source.columns else source


def land_items(items: ItemsSource, *, mapping: ItemsMapping) -> DataFrame:
    """`clean_items`: one row an item id. Of a repeated id the last row counts; damaged lines and rows without an id, or with one that is not UTF-8, are left out.

    `count_rows` accounts for what is left out.
    """
    item_id = catalogue_id(items, mapping.columns.item_id)
    title = F.lit(None).cast("string")
    if mapping.columns.title is not None:
        title = source_column(mapping.columns.title).cast("string")
    landed = sound_rows(items).select(
        item_id.alias("item_id"),
        F.when(~is_blank(title), title).alias("title"),
        _categories(items, mapping).alias("categories"),
        _attributes(items, mapping.attributes).alias("attributes"),
        _available(items, mapping).alias("available"),
        "_position",
    )
    return _one_row_an_id(landed.filter(F.col("item_id").isNotNull()), "item_id")


def land_users(users: UsersSource, *, mapping: UsersMapping) -> DataFrame:
    """`clean_users`: one row a user id, by the rules of `land_items`."""
    user_id = catalogue_id(users, mapping.columns.user_id)
    landed = sound_rows(users).select(user_id.alias("user_id"), _attributes(users, mapping.attributes).alias("attributes"), "_position")
    return _one_row_an_id(landed.filter(F.col("user_id").isNotNull()), "user_id")


def count_rows(source: DataFrame, *, mapping: ItemsMapping | UsersMapping) -> DataFrame:
    """The account of an items or users source, one row: rows_in = kept + refused (damaged, no id, id not UTF-8) + repeated.

    For the run's report: these sources have no quarantine.
    """
    name = mapping.columns.item_id if isinstance(mapping, ItemsMapping) else mapping.columns.user_id
    key = catalogue_id(source, name)
    if DAMAGED in source.columns:
        key = F.when(F.col(DAMAGED).isNull(), key)
    per_id = source.select(key.alias("id")).groupBy("id").count()
    known = F.col("id").isNotNull()
    return per_id.agg(
        F.coalesce(F.sum("count"), F.lit(0)).alias("rows_in"),
        F.count("id").alias("kept"),
        F.coalesce(F.sum(F.when(~known, F.col("count"))), F.lit(0)).alias("refused"),
        F.coalesce(F.sum(F.when(known, F.col("count") - 1)), F.lit(0)).alias("repeated"),
    )
