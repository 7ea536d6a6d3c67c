"""How does a figure become a picture?  Static SVG, made here, without a plotting library and without JavaScript.

A chart carries its figures as a table beside its picture. Looks are CSS classes that `templates/report.css` colours for
light and dark; shape, dash and label differ wherever colour does. Every text is escaped.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from trimtab.pipeline.evaluation import number
from trimtab.pipeline.model import Array
from trimtab.stats.interval import Interval

WIDTH = 620
HEIGHT = 330
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 44
MOST_POINTS = 400                             # above, rows are counted in hexagons
_HEX_PX = 9.0
_LEVELS = 6
_SQUARE = "M{x:.1f} {y:.1f}m-4 -4h8v8h-8z"
_DIAMOND = "M{x:.1f} {y:.1f}m0 -6l6 6l-6 6l-6 -6z"


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture, the sentence below it, and its figures. `rows`: text cells under `head`."""

    title: str
    svg: Markup
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of an interval chart. `mark`: dot, square or diamond; `strong`: drawn in the accent colour."""

    label: str
    interval: Interval
    strong: bool = False
    mark: str = "dot"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a curve chart, labelled at its end."""

    label: str
    x: Array
    y: Array
    dots: bool = False


class Scale:
    """Maps values of one axis to pixels, with round ticks. Limits are widened to the ticks."""

    def __init__(self, low: float, high: float, start: float, end: float, *, ticks: int = 5) -> None:
        if not high > low:
            low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
        step = nice_step((high - low) / ticks)
        self.low, self.high = math.floor(low / step) * step, math.ceil(high / step - 1e-9) * step
        self.ticks = [self.low + index * step for index in range(round((self.high - self.low) / step) + 1)]
        self.start, self.end = start, end
        self._places = max(0, -math.floor(math.log10(step) + 1e-9))

    def __call__(self, value: float) -> float:
        """Pixels of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def label(self, tick: float) -> str:
        """A tick's text, with just the decimals that tell ticks apart."""
        if max(abs(self.low), abs(self.high)) >= 1e6 or self._places > 6:
            return f"{tick:.3g}"
        return f"{tick + 0.0:,.{self._places}f}"


def nice_step(raw: float) -> float:
    """The next of 1, 2, 5 × 10ᵏ that is at least `raw` > 0.

    >>> nice_step(0.13), nice_step(4.1)
    (0.2, 5.0)
    """
    power = 10.0 ** math.floor(math.log10(raw))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= raw * (1 - 1e-9))


def intervals(title: str, rows: Sequence[Row], *, axis: str, caption: str, line: float | None = None,
              line_label: str = "", long: bool = False) -> Chart:
    """Values with their intervals, one under the other.

    line: a vertical reference with its label. long: labels stand above their line, as long names need it.
    """
    shown = [row for row in rows if math.isfinite(row.interval.value)]
    ends = [end for row in shown for end in (row.interval.low, row.interval.high, row.interval.value)
            if math.isfinite(end)] + ([line] if line is not None else [])
    left = 16.0 if long else _label_width([row.label for row in shown])
    step = 42 if long else 26
    height = TOP + step * len(shown) + BOTTOM
    scale = Scale(min(ends, default=0.0), max(ends, default=1.0), left, WIDTH - RIGHT - 60)
    body = [_x_axis(scale, height, axis, left)]
    if line is not None:
        body += [Markup('<path class="ref" d="M{} {}V{}"/>').format(_px(scale(line)), TOP - 6, height - BOTTOM),
                 _text("tick", scale(line) + 4, TOP + 2, line_label)]
    for index, row in enumerate(shown):
        y = TOP + step * index + (28 if long else 17)
        kind = "s1" if row.strong else "s2"
        low, high = (scale(end if math.isfinite(end) else row.interval.value) for end in
                     (row.interval.low, row.interval.high))
        look = "lab strong" if row.strong else "lab"
        body.append(_text(look, left, y - 12, clip(row.label, 80)) if long else
                    _text(look, left - 10, y + 4, clip(row.label, 32), "end"))
        body.append(Markup('<path class="line {}" d="M{} {}H{}M{} {}v8M{} {}v8"/>').format(
            kind, _px(low), y, _px(high), _px(low), y - 4, _px(high), y - 4))
        body.append(_mark(row.mark, scale(row.interval.value), y, kind))
        body.append(_text("tick", max(high, scale(row.interval.value)) + 8, y + 4, number(row.interval.value)))
    cells = tuple((row.label, number(row.interval.value), number(row.interval.low), number(row.interval.high),
                   f"{row.interval.n:,}" if row.interval.n else "", row.note) for row in rows)
    return Chart(title, _svg(title, caption, height, body), caption, ("", axis, "low", "high", "n", ""), cells)


def cloud(title: str, x: Array, y: Array, *, x_axis: str, y_axis: str, caption: str, equal: bool = False) -> Chart:
    """Two values a row: dots, or hexagon counts where there are many rows.

    equal: both axes share their limits and y = x is drawn; otherwise y = 0 is. The table holds ten equal groups by x.
    """
    low, high = _limits(np.concatenate([x, y]) if equal else x)
    across = Scale(low, high, LEFT, WIDTH - RIGHT)
    low, high = (low, high) if equal else _limits(np.append(y, 0.0))
    up = Scale(low, high, HEIGHT - BOTTOM, TOP)
    body = [_x_axis(across, HEIGHT, x_axis, LEFT), _y_axis(up, y_axis)]
    px = LEFT + (x - across.low) / (across.high - across.low) * (WIDTH - RIGHT - LEFT)
    py = HEIGHT - BOTTOM - (y - up.low) / (up.high - up.low) * (HEIGHT - BOTTOM - TOP)
    if len(x) <= MOST_POINTS:
        body += [Markup('<circle class="pt" cx="{}" cy="{}" r="3"/>').format(_px(a), _px(b))
                 for a, b in zip(px, py, strict=True)]
    else:
        body += _hexagons(px, py)
        caption += " Darker hexagons hold more rows."
    if equal:
        body.append(Markup('<path class="ref" d="M{} {}L{} {}"/>').format(
            _px(across(max(across.low, up.low))), _px(up(max(across.low, up.low))),
            _px(across(min(across.high, up.high))), _px(up(min(across.high, up.high)))))
    else:
        body.append(Markup('<path class="ref" d="M{} {}H{}"/>').format(LEFT, _px(up(0.0)), WIDTH - RIGHT))
    return Chart(title, _svg(title, caption, HEIGHT, body), caption,
                 (x_axis, f"mean {x_axis}", f"mean {y_axis}", f"sd of {y_axis}", "rows"), _ten_groups(x, y))


def curves(title: str, lines: Sequence[Line], *, x_axis: str, y_axis: str, caption: str, diagonal: bool = False,
           unit: bool = True, at: float | None = None, at_label: str = "") -> Chart:
    """Lines over one axis. unit: both axes run from 0 to 1; at: a vertical reference on the x axis."""
    xs = np.concatenate([line.x for line in lines]) if lines else np.array([0.0, 1.0])
    ys = np.concatenate([line.y for line in lines]) if lines else np.array([0.0, 1.0])
    across = Scale(*((0.0, 1.0) if unit else _limits(xs)), LEFT, WIDTH - RIGHT - 110)
    up = Scale(*((0.0, 1.0) if unit else _limits(np.append(ys, 0.0))), HEIGHT - BOTTOM, TOP)
    body = [_x_axis(across, HEIGHT, x_axis, LEFT), _y_axis(up, y_axis, WIDTH - RIGHT - 110)]
    if diagonal:
        body.append(Markup('<path class="ref" d="M{} {}L{} {}"/>').format(
            LEFT, HEIGHT - BOTTOM, _px(across(1.0)), _px(up(1.0))))
    if at is not None:
        body += [Markup('<path class="ref" d="M{} {}V{}"/>').format(_px(across(at)), TOP, HEIGHT - BOTTOM),
                 _text("tick", across(at) + 4, TOP + 10, at_label)]
    cells: list[tuple[str, ...]] = []
    for index, line in enumerate(lines):
        kept = _thin(len(line.x), 160)
        path = "".join(f"{'L' if place else 'M'}{across(float(line.x[row])):.1f} {up(float(line.y[row])):.1f}"
                       for place, row in enumerate(kept))
        kind = f"s{index % 4 + 1}"
        body.append(Markup('<path class="line {} d{}" d="{}"/>').format(kind, index % 4 + 1, path))
        if line.dots:
            body += [_mark("dot", across(float(line.x[row])), up(float(line.y[row])), kind) for row in kept]
        y = TOP + 12 + 22 * index
        start = WIDTH - RIGHT - 104
        body += [Markup('<path class="line {} d{}" d="M{} {}h24"/>').format(kind, index % 4 + 1, start, y),
                 _text("tick", start + 29, y + 4, clip(line.label, 12))]
        cells += [(line.label, number(float(line.x[row])), number(float(line.y[row])))
                  for row in _thin(len(line.x), 25)]
    return Chart(title, _svg(title, caption, HEIGHT, body), caption, ("", x_axis, y_axis), tuple(cells))


def strips(title: str, rows: Sequence[tuple[str, Sequence[float], bool]], *, axis: str, caption: str) -> Chart:
    """Several values a line (label, values, strong), a tick at their mean."""
    ends = [value for _, values, _ in rows for value in values]
    left = _label_width([label for label, _, _ in rows])
    height = TOP + 26 * len(rows) + BOTTOM
    scale = Scale(min(ends, default=0.0), max(ends, default=1.0), left, WIDTH - RIGHT)
    body = [_x_axis(scale, height, axis, left)]
    for index, (label, values, strong) in enumerate(rows):
        y = TOP + 26 * index + 15
        kind = "s1" if strong else "s2"
        body.append(_text("lab strong" if strong else "lab", left - 10, y + 4, clip(label, 32), "end"))
        body += [_mark("dot" if strong else "square", scale(value), y, f"{kind} faint") for value in values]
        if len(values):
            body.append(Markup('<path class="line {}" d="M{} {}v18"/>').format(
                kind, _px(scale(float(np.mean(values)))), y - 9))
    most = max((len(values) for _, values, _ in rows), default=0)
    cells = tuple((label, *(number(value) for value in values), *[""] * (most - len(values)))
                  for label, values, _ in rows)
    return Chart(title, _svg(title, caption, height, body), caption,
                 ("", *(str(place + 1) for place in range(most))), cells)


def clip(text: str, most: int) -> str:
    """`text`, shortened in the middle to `most` characters; the table holds it whole.

    >>> clip("a very long name", 9)
    'a ve…name'
    """
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:most - 1 - half]}…{text[-half:]}"


def _label_width(labels: Sequence[str]) -> float:
    """Pixels for the longest label; a Chinese character is twice as wide as a letter."""
    wide = max((sum(1 + (unicodedata.east_asian_width(char) in "WF") for char in clip(label, 32)) for label in labels),
               default=0)
    return min(250.0, 24 + 7.0 * wide)


def _svg(title: str, caption: str, height: float, body: Iterable[Markup]) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}: {}">{}</svg>').format(
        WIDTH, round(height), title, caption, Markup("").join(body))


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _mark(kind: str, x: float, y: float, look: str) -> Markup:
    if kind == "dot":
        return Markup('<circle class="mark {}" cx="{}" cy="{}" r="4.5"/>').format(look, _px(x), _px(y))
    shape = (_DIAMOND if kind == "diamond" else _SQUARE).format(x=x, y=y)
    return Markup('<path class="mark {}" d="{}"/>').format(look, shape)


def _x_axis(scale: Scale, height: float, label: str, left: float) -> Markup:
    foot = height - BOTTOM
    parts = []
    for tick in scale.ticks:
        x = scale(tick)
        parts += [Markup('<path class="grid" d="M{} {}V{}"/>').format(_px(x), TOP, _px(foot)),
                  _text("tick", x, foot + 16, scale.label(tick), "middle")]
    parts += [Markup('<path class="axis" d="M{} {}H{}"/>').format(_px(left), _px(foot), _px(scale.end)),
              _text("lab", (scale.start + scale.end) / 2, foot + 36, clip(label, 70), "middle")]
    return Markup("").join(parts)


def _y_axis(scale: Scale, label: str, right: float = WIDTH - RIGHT) -> Markup:
    parts = []
    for tick in scale.ticks:
        y = scale(tick)
        parts += [Markup('<path class="grid" d="M{} {}H{}"/>').format(LEFT, _px(y), _px(right)),
                  _text("tick", LEFT - 6, y + 4, scale.label(tick), "end")]
    turned = Markup('<text class="lab" transform="translate(14 {}) rotate(-90)" text-anchor="middle">{}</text>')
    parts.append(turned.format(_px((TOP + HEIGHT - BOTTOM) / 2), clip(label, 40)))
    return Markup("").join(parts)


def _text(look: str, x: float, y: float, text: str, anchor: str = "start") -> Markup:
    element = Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>')
    return element.format(look, _px(x), _px(y), anchor, text)


def _hexagons(px: Array, py: Array) -> list[Markup]:
    """Counts over a hexagonal lattice; one path for each of a few levels of log count."""
    wide, high = _HEX_PX * math.sqrt(3), _HEX_PX * 1.5
    row = np.round(py / high)
    column = np.round(px / wide - (row % 2) / 2)
    cells, counts = np.unique(np.stack([row, column], 1), axis=0, return_counts=True)
    level = np.ceil(np.log1p(counts) / math.log1p(counts.max()) * _LEVELS).clip(1, _LEVELS)
    half = wide / 2
    slope = f"{half:.1f} {_HEX_PX / 2:.1f}"
    shape = f"l{slope}v{_HEX_PX:.1f}l-{slope}l-{half:.1f} -{_HEX_PX / 2:.1f}v-{_HEX_PX:.1f}z"
    paths = []
    for step in range(1, _LEVELS + 1):
        spots = "".join(f"M{(c + (r % 2) / 2) * wide:.1f} {r * high - _HEX_PX:.1f}{shape}"
                        for r, c in cells[level == step])
        if spots:
            paths.append(Markup('<path class="hex" fill-opacity="{}" d="{}"/>').format(
                f"{0.08 + 0.92 * (step / _LEVELS)**1.3:.2f}", spots))
    return paths


def _limits(values: Array) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)


def _ten_groups(x: Array, y: Array) -> tuple[tuple[str, ...], ...]:
    order = np.argsort(x, kind="stable")
    return tuple((f"{number(float(x[part].min()))} to {number(float(x[part].max()))}", number(float(x[part].mean())),
                  number(float(y[part].mean())), number(float(y[part].std())), f"{len(part):,}")
                 for part in np.array_split(order, min(10, len(x))) if len(part))


def _thin(length: int, most: int) -> list[int]:
    return sorted({round(place) for place in np.linspace(0, length - 1, min(length, most))}) if length else []
