"""One source column -> one of our columns, by the source's type: ids, numbers, times. What cannot be read becomes null."""

from __future__ import annotations

from datetime import UTC, datetime

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from recspark.interactions.mapping import UNITS, TimeFormat

# Unicode blanks and invisible signs count as blank; they are never cut from an id.
_BLANK = r"^[\s\p{Z}\p{C}]*$"
_ZONED = r"(?i)\d:\d.*(z|utc|gmt|[+-]\d{1,2}(:?\d{2})?)$"
_DAY = r"^\d{4}-\d{1,2}-\d{1,2}"
_ZONE_LETTERS = set("VzOXx")


def source_column(name: str) -> Column:
    """The source's column of exactly this name, dots and blanks included."""
    return F.col("`" + name.replace("`", "``") + "`")


def is_blank(text: Column) -> Column:
    """Null, empty, or nothing but blanks."""
    return text.isNull() | text.rlike(_BLANK)


def moment(at: datetime) -> Column:
    """A time as a literal; one without a zone is UTC (Spark would take it for the machine's)."""
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return F.timestamp_micros(F.lit((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds).cast("bigint"))


def id_text(column: Column, kind: T.DataType) -> Column:
    """An id as text, exactly as it stands; whole numbers of a fractional type without their `.0`; NaN is missing."""
    text = column.cast("string")
    if isinstance(kind, T.FloatType | T.DoubleType | T.DecimalType):
        whole = column.cast("decimal(38,0)")
        # Beyond 10^18 a double's neighbours are hundreds apart: it names nobody, and its own notation shows that.
        integral = (column == F.floor(column)) & (F.abs(column) < F.lit(10.0**18))
        text = F.when(integral, whole.cast("string")).otherwise(text)
        if not isinstance(kind, T.DecimalType):
            text = F.when(~F.isnan(column), text)
    return F.when(~is_blank(text), text)


def number(column: Column, kind: T.DataType) -> Column:
    """A double; text is trimmed, and `1d`, which Java takes for a number, is none."""
    if isinstance(kind, T.StringType):
        text = F.trim(column)
        return F.when(~text.rlike("[dDfF]$") | text.rlike(r"(?i)^[+-]?inf$"), text.cast("double")) + F.lit(0.0)
    return column.cast("double") + F.lit(0.0)  # -0.0 becomes 0.0: one number, one hash


def whole_number(column: Column, kind: T.DataType) -> Column:
    """A bigint; times are their microseconds; fractions are none."""
    if isinstance(kind, T.TimestampType | T.TimestampNTZType | T.DateType):
        return F.unix_micros(column.cast("timestamp"))
    exact = (F.trim(column) if isinstance(kind, T.StringType) else column).cast("decimal(38,6)")
    return F.when(exact == F.floor(exact), exact.cast("bigint"))


def time_at(column: Column, kind: T.DataType, time: TimeFormat) -> Column:
    """A timestamp. Times without a zone are read in `time.zone`; the session's zone must be UTC."""
    if isinstance(kind, T.TimestampType):
        return column
    if isinstance(kind, T.TimestampNTZType | T.DateType):
        return F.to_utc_timestamp(column.cast("timestamp"), time.zone)
    text = F.trim(column.cast("string"))
    if time.format in UNITS:
        exact = (text if isinstance(kind, T.StringType) else column).cast("decimal(28,6)")
        return F.timestamp_micros((exact * F.lit(UNITS[time.format])).cast("bigint"))
    if time.format == "iso":
        # A time of day alone would be cast to today, by the machine's clock.
        parsed = F.when(text.rlike(_DAY), text.cast("timestamp"))
        return F.when(text.rlike(_ZONED), parsed).otherwise(F.to_utc_timestamp(parsed, time.zone))
    parsed = F.try_to_timestamp(text, F.lit(time.format))
    return parsed if _ZONE_LETTERS & set(_outside_quotes(time.format)) else F.to_utc_timestamp(parsed, time.zone)


def _outside_quotes(pattern: str) -> str:
    return "".join(pattern.split("'")[::2])
