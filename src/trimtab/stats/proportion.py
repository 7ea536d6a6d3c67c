"""Between which bounds is a rate, when so many of so many were seen?"""

from __future__ import annotations

import math
from statistics import NormalDist

from trimtab.stats.interval import Interval


def wilson(successes: float, n: float, level: float = 0.95) -> Interval:
    """Wilson's score interval for a proportion of independent rows.

    successes: 0 … n. n: trials, ≥ 0 (counts; need not be whole). level: coverage in (0, 1).
    Never empty at 0 or 1, unlike the textbook interval. No trials: the value is NaN and the bounds are 0 and 1.
    Wilson 1927; recommended by Brown, Cai & DasGupta 2001, "Interval estimation for a binomial proportion".

    >>> rate = wilson(10, 10)
    >>> rate.value, round(rate.low, 3), rate.high
    (1.0, 0.722, 1.0)
    """
    if not n > 0:
        return Interval(value=math.nan, low=0.0, high=1.0, level=level, n=0)
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    p = successes / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if successes <= 0 else max(0.0, centre - half)
    high = 1.0 if successes >= n else min(1.0, centre + half)
    return Interval(value=p, low=low, high=high, level=level, n=int(n))
