"""Does a column look as if its unit had changed?  (°C to °F, metres to feet, seconds to milliseconds, …)

Five quantiles of before are carried over by each known conversion and compared with those of now: middle and spread
both have to fit, and the column unchanged must not. Factors of ten and more are compared with the training data;
smaller ones, which a real change can imitate, with the window before, since a unit changes from one row to the next,
and only where hardly a value lies where it lay before. A guess to be checked by a person; it names the conversion.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trimtab.sketch.column import NumericSketch

Array = NDArray[np.float64]
_AT: Final = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
_NEAR: Final = 1.2                             # how far off the nearest conversion may be
_GRID: Final = np.linspace(0.005, 0.995, 199)
_CONVERSIONS: Final[tuple[tuple[str, float, float], ...]] = (
    *((f"× 10^{k}", 10.0**k, 0.0) for k in (1, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6)),
    ("× 60 (minutes, seconds)", 60.0, 0.0), ("÷ 60 (seconds, minutes)", 1 / 60, 0.0),
    ("× 3,600 (hours, seconds)", 3600.0, 0.0), ("÷ 3,600 (seconds, hours)", 1 / 3600, 0.0),
    ("× 24 (days, hours)", 24.0, 0.0), ("÷ 24 (hours, days)", 1 / 24, 0.0),
    ("× 25.4 (inches, millimetres)", 25.4, 0.0), ("÷ 25.4 (millimetres, inches)", 1 / 25.4, 0.0),
    ("× 1.8 + 32 (°C, °F)", 1.8, 32.0), ("(x − 32) ÷ 1.8 (°F, °C)", 1 / 1.8, -32 / 1.8),
    ("+ 273.15 (°C, K)", 1.0, 273.15), ("− 273.15 (K, °C)", 1.0, -273.15),
    ("× 2.54 (inches, centimetres)", 2.54, 0.0), ("÷ 2.54 (centimetres, inches)", 1 / 2.54, 0.0),
    ("× 3.281 (metres, feet)", 1 / 0.3048, 0.0), ("× 0.3048 (feet, metres)", 0.3048, 0.0),
    ("× 1.609 (miles, kilometres)", 1.609344, 0.0), ("× 0.6214 (kilometres, miles)", 1 / 1.609344, 0.0),
    ("× 2.205 (kilograms, pounds)", 1 / 0.45359237, 0.0), ("× 0.4536 (pounds, kilograms)", 0.45359237, 0.0),
    ("× 3.6 (m/s, km/h)", 3.6, 0.0), ("÷ 3.6 (km/h, m/s)", 1 / 3.6, 0.0),
    ("× 4.184 (calories, joules)", 4.184, 0.0), ("÷ 4.184 (joules, calories)", 1 / 4.184, 0.0),
)


def unit_change(baseline: NumericSketch, now: NumericSketch, before: NumericSketch | None = None) -> str:
    """The conversion that explains `now`, such as "× 1.8 + 32 (°C, °F)"; "" where none does.

    baseline: of the training data. before: the last window before the change, if there was one. Where only a part of
    the window changed, the part outside of the range that was trained on is looked at.
    """
    old, new = _quantiles(baseline, _AT), _quantiles(now, _AT)
    if old is None or new is None:
        return ""
    earlier = None if before is None else _quantiles(before, _AT)
    part = _outside(baseline, now)
    for candidate in (new, part):
        if candidate is None:
            continue
        for reference, jumped in ((old, earlier is None), (earlier, True)):
            if reference is not None and (found := _fits(reference, candidate, small=jumped)):
                return found
    return ""


def nearest(baseline: NumericSketch, now: NumericSketch, before: NumericSketch | None = None) -> str:
    """The conversion that comes nearest to explaining values that are known to be broken; "" where none comes near.

    Weather moves from week to week, so the middle may be a quartile distance off here, and the spread twice as large.
    """
    part = _outside(baseline, now)             # where only a part of the window is broken
    new = _quantiles(now, _AT) if part is None else part
    old = [one for sketch in (baseline, before) if sketch is not None and (one := _quantiles(sketch, _AT)) is not None]
    if new is None or not new[3] > new[1] or not old or not all(one[3] > one[1] for one in old):
        return ""
    found = [(sum(_off(one, new, factor, offset) for one in old) / len(old), said)
             for said, factor, offset in _CONVERSIONS]
    off, name = min(found)
    return name if off < _NEAR else ""


def _off(old: Array, new: Array, factor: float, offset: float) -> float:
    """How far the middle is off, in quartile distances, plus how far the spread is, in logs."""
    spread = factor * (old[3] - old[1])
    return float(abs(new[2] - factor * old[2] - offset) / spread + abs(math.log((new[3] - new[1]) / spread)))


def _fits(old: Array, new: Array, *, small: bool) -> str:
    spread, width = old[3] - old[1], new[3] - new[1]
    if not (spread > 0 and width > 0):
        return ""
    if abs(new[2] - old[2]) < 0.5 * spread and 2 / 3 < width / spread < 1.5:
        return ""                              # unchanged explains it well enough
    crosses = old[0] < 0 < old[4]              # a wider spread around zero is what a wilder world looks like, too
    apart = new[0] > old[4] or new[4] < old[0]
    best, name = math.inf, ""
    for said, factor, offset in _CONVERSIONS:
        if (not small or crosses or not apart) and abs(math.log(factor)) < math.log(9):
            continue
        carried = factor * old + offset
        middle = abs(new[2] - carried[2]) / (factor * spread)
        ratio = abs(math.log(width / (factor * spread)))
        ends = float(np.abs(new - carried).max()) / (factor * spread)
        if middle < 0.2 and ratio < 0.25 and ends < 0.5 and middle + ratio < best:
            best, name = middle + ratio, said
    return name


def _outside(baseline: NumericSketch, now: NumericSketch) -> Array | None:
    """Quantiles of what lies outside of the baseline's range in `now`; None where it is all, or next to none."""
    low, high, grid = baseline.moments.min, baseline.moments.max, _quantiles(now, _GRID)
    if low is None or high is None or grid is None:
        return None
    for part in (grid[grid > high], grid[grid < low]):
        if 0.1 * len(grid) <= len(part) < 0.97 * len(grid):
            return np.asarray(np.quantile(part, _AT), dtype=np.float64)
    return None


def _quantiles(sketch: NumericSketch, at: Array) -> Array | None:
    if sketch.quantiles is None or not sketch.quantiles.count:
        return None
    return np.asarray(sketch.quantiles.quantiles(at), dtype=np.float64)
