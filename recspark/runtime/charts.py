"""The report's pictures as SVG: plain numbers in, markup out. Every text is escaped; every picture says in words what it shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup, escape

WIDTH = 470
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 30


def compact(value: float) -> str:
    """`1,200` as 1.2k, for axes."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """About `n` round numbers from `low` to `high`."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / n
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 12) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def _svg(height: float, what: str, parts: Iterable[str], width: int = WIDTH) -> Markup:
    head = Markup('<svg viewBox="0 0 {} {:.0f}" role="img" aria-label="{}"><title>{}</title>').format(width, height, what, what)
    return head + Markup("").join(Markup(part) for part in parts) + Markup("</svg>")


def _text(x: float, y: float, text: object, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _rect(x: float, y: float, width: float, height: float, kind: str, hint: object = "") -> str:
    title = f"<title>{escape(hint)}</title>" if hint else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" class="{kind}">{title}</rect>'


def _dot(x: float, y: float, radius: float, kind: str, hint: object = "") -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{kind}"><title>{escape(hint)}</title></circle>'


def _short(text: object, length: int) -> str:
    words = str(text)
    return words if len(words) <= length else words[: length - 1] + "…"


def _moments(first: datetime, last: datetime) -> tuple[str, list[datetime]]:
    """Round moments on a time axis, and how to write them."""
    days = (last - first).days
    if days >= 900:
        step = math.ceil(days / 365 / 7)
        return "%Y", [datetime(year, 1, 1) for year in range(first.year + 1, last.year + 1, step)]
    if days >= 75:
        months = [(first.year + (first.month + i) // 12, (first.month + i) % 12 + 1) for i in range(days // 30 + 1)]
        moments = [datetime(year, month, 1) for year, month in months]
        return "%b %Y", [moment for moment in moments if moment <= last][:: math.ceil(len(moments) / 6)]
    moments = [first + (last - first) * (i / 4) for i in range(5)]
    return ("%d %b" if days >= 5 else "%d %b %H:%M"), moments


def time_bars(bins: Sequence[Mapping[str, Any]], what: str) -> Markup:
    """Counts in equal bins of time: [{from, to, n}], times in ISO format."""
    height, bottom = 210, 210 - _BOTTOM
    top = max((one["n"] for one in bins), default=0) or 1
    first, last = datetime.fromisoformat(bins[0]["from"]), datetime.fromisoformat(bins[-1]["to"])
    seconds = (last - first).total_seconds()
    room = WIDTH - _LEFT - _RIGHT
    parts = []
    for tick in ticks(0, top, 4):
        y = bottom - tick / top * (bottom - _TOP)
        parts += [_line(_LEFT, y, WIDTH - _RIGHT, y, "grid"), _text(_LEFT - 6, y + 4, compact(tick), "tick", "end")]
    for place, one in enumerate(bins):
        size = one["n"] / top * (bottom - _TOP)
        x = _LEFT + place / len(bins) * room
        parts.append(_rect(x, bottom - size, room / len(bins) - 1, size, "fill-a", f"{one['from'][:10]}: {one['n']:,}"))
    form, moments = _moments(first, last)
    for moment in moments:
        x = _LEFT + (moment - first).total_seconds() / seconds * room
        if x <= WIDTH - _RIGHT:
            parts += [_line(x, bottom, x, bottom + 4, "axis"), _text(x, bottom + 18, moment.strftime(form), "tick", "middle")]
    return _svg(height, what, [*parts, _line(_LEFT, bottom, WIDTH - _RIGHT, bottom, "axis")])


def log_log(points: Sequence[Mapping[str, Any]], x: str, y: str, what: str, mark: float | None = None) -> Markup:
    """A falling curve on two logarithmic axes; `mark` is an x to draw a line at."""
    height, bottom = 210, 210 - _BOTTOM
    powers_x = max(1, math.ceil(math.log10(max(point[x] for point in points))))
    powers_y = max(1, math.ceil(math.log10(max(point[y] for point in points))))

    def at_x(value: float) -> float:
        return _LEFT + math.log10(max(value, 1)) / powers_x * (WIDTH - _LEFT - _RIGHT)

    def at_y(value: float) -> float:
        return bottom - math.log10(max(value, 1)) / powers_y * (bottom - _TOP)

    parts = []
    for power in range(powers_y + 1):
        parts += [
            _line(_LEFT, at_y(10**power), WIDTH - _RIGHT, at_y(10**power), "grid"),
            _text(_LEFT - 6, at_y(10**power) + 4, compact(10**power), "tick", "end"),
        ]
    for power in range(powers_x + 1):
        anchor = "end" if power == powers_x else "middle"
        parts += [
            _line(at_x(10**power), bottom, at_x(10**power), bottom + 4, "axis"),
            _text(at_x(10**power), bottom + 18, compact(10**power), "tick", anchor),
        ]
    path = " ".join(f"{at_x(point[x]):.1f},{at_y(point[y]):.1f}" for point in points)
    parts.append(f'<polygon points="{at_x(points[0][x]):.1f},{bottom} {path} {at_x(points[-1][x]):.1f},{bottom}" class="area-a"/>')
    parts.append(f'<polyline points="{path}" class="stroke-a"/>')
    if mark:
        parts += [_line(at_x(mark), _TOP, at_x(mark), bottom, "mark")]
    return _svg(height, what, [*parts, _line(_LEFT, bottom, WIDTH - _RIGHT, bottom, "axis")])


def counts(rows: Sequence[tuple[str, float]], what: str, total: float | None = None) -> Markup:
    """Named amounts as horizontal bars, each with its number and its share of `total` (default: their sum)."""
    whole = total or sum(n for _, n in rows) or 1
    top = max((n for _, n in rows), default=0) or 1
    parts = []
    for place, (name, n) in enumerate(rows):
        y = place * 38
        parts += [_text(0, y + 13, _short(name, 48), "label"), _text(WIDTH, y + 13, f"{n:,} · {n / whole:.1%}", "value", "end")]
        parts += [_rect(0, y + 19, WIDTH, 9, "track"), _rect(0, y + 19, max(1.5, n / top * WIDTH) if n else 0, 9, "fill-a")]
    return _svg(len(rows) * 38, what, parts)


def grouped_shares(rows: Sequence[tuple[str, Sequence[float]]], names: Sequence[str], what: str) -> Markup:
    """For each row, a share (0 to 1) under each name, as bars beside each other."""
    left, bar = 112, 13
    block = bar * len(names) + 14
    top = max((share for _, shares in rows for share in shares), default=0) or 1
    room = WIDTH - left - 52
    parts, x = [], float(left)
    for place, name in enumerate(names):
        parts += [_rect(x, 2, 11, 11, f"fill-{'cab'[place]}"), _text(x + 16, 12, name, "label")]
        x += 28 + 6.4 * len(name)
    for line, (row, shares) in enumerate(rows):
        y = 26 + line * block
        parts.append(_text(left - 10, y + bar * len(names) / 2 + 4, row, "label", "end"))
        for place, share in enumerate(shares):
            size = share / top * room
            parts.append(_rect(left, y + place * bar, size, bar - 2, f"fill-{'cab'[place]}", f"{row}, {names[place]}: {share:.1%}"))
            parts.append(_text(left + size + 6, y + place * bar + 10, f"{share:.1%}", "tick"))
    return _svg(26 + len(rows) * block, what, parts)


def whiskers(
    rows: Sequence[Mapping[str, Any]], what: str, best: Iterable[str] = (), zero: bool = False, lower_is_better: bool = False
) -> Markup:
    """A dot and its interval for each row ({name, value, low, high}); `zero` draws a line there, and colours what lies clear of it."""
    left, step = 158, 28
    ends = [end for row in rows for end in (row["value"], row["low"], row["high"]) if end is not None]
    low, high = min([*ends, 0.0]), max([*ends, 0.0])
    margin = (high - low or 1) * 0.04
    low, high = (low - margin if low < 0 else 0.0), high + margin
    bottom = 8 + step * len(rows)
    chosen = set(best)

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (WIDTH - left - 66)

    parts = []
    for tick in ticks(low, high, 4):
        parts += [_line(at(tick), 4, at(tick), bottom, "grid"), _text(at(tick), bottom + 16, f"{tick:g}", "tick", "middle")]
    if zero:
        parts.append(_line(at(0), 4, at(0), bottom, "mark"))
    for place, row in enumerate(rows):
        y = 8 + step * place + step / 2
        ends_known = row["low"] is not None and row["high"] is not None
        clear = zero and ends_known and (row["low"] > 0 or row["high"] < 0)
        worse = row["value"] > 0 if lower_is_better else row["value"] < 0
        color = "b" if clear and worse else "a" if clear or row["name"] in chosen else "c"
        parts.append(_text(left - 12, y + 4, _short(row["name"], 24), "label strong" if row["name"] in chosen else "label", "end"))
        if ends_known:
            parts.append(_line(at(row["low"]), y, at(row["high"]), y, f"whisker stroke-{color}"))
        hint = f"{row['name']}: {row['value']:.4f}" + (f" ({row['low']:.4f} to {row['high']:.4f})" if ends_known else "")
        parts.append(_dot(at(row["value"]), y, 5, f"fill-{color}", hint))
        parts.append(_text(WIDTH, y + 4, f"{row['value']:+.4f}" if zero else f"{row['value']:.4f}", "value", "end"))
    return _svg(bottom + 22, what, parts)


def lines(series: Mapping[str, Sequence[tuple[float, float]]], what: str, mark: float | None = None) -> Markup:
    """Named lines over the same x (epochs); `mark` is an x to draw a line at."""
    height, bottom, right = 210, 210 - _BOTTOM, WIDTH - 70
    points = [point for line in series.values() for point in line]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = min(ys), max(ys)
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin
    span = (max(xs) - min(xs)) or 1

    def at(x: float, y: float) -> tuple[float, float]:
        return _LEFT + (x - min(xs)) / span * (right - _LEFT), bottom - (y - low) / (high - low) * (bottom - _TOP)

    parts = []
    for tick in ticks(low, high, 4):
        y = at(xs[0], tick)[1]
        parts += [_line(_LEFT, y, right, y, "grid"), _text(_LEFT - 6, y + 4, f"{tick:.4g}", "tick", "end")]
    for tick in ticks(min(xs), max(xs), 8):
        if tick == int(tick):
            parts.append(_text(at(tick, low)[0], bottom + 18, int(tick), "tick", "middle"))
    if mark is not None:
        parts.append(_line(at(mark, low)[0], _TOP, at(mark, low)[0], bottom, "mark"))
    used: list[float] = []
    for place, (name, line) in enumerate(series.items()):
        color = "abc"[place % 3]
        ends = [at(x, y) for x, y in line]
        parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in ends)}" class="stroke-{color}"/>')
        parts += [_dot(*end, 3, f"fill-{color}", f"{name}, epoch {x:g}: {y:.5g}") for end, (x, y) in zip(ends, line, strict=True)]
        y = ends[-1][1] + 4
        while any(abs(y - other) < 14 for other in used):
            y += 14
        used.append(y)
        parts.append(_text(right + 8, y, name, f"label text-{color}"))
    return _svg(height, what, [*parts, _line(_LEFT, bottom, right, bottom, "axis")])
