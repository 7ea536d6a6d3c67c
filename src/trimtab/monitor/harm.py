"""Is the live model worse than it was when it was judged?  A bet on each late label, valid at every look.

Losses are clipped to a declared bound and divided by it, so they lie in [0, 1]. c is an upper confidence limit of the
mean clipped loss on held-out rows, times 1.1 (a tenth more is no harm yet). Each label, in the order of its arrival,
bets that the mean loss is above c:

    K_t = Π (1 + λ_i (x_i − c)),   λ_i from the labels before it, in [0, ½/c]        harm when K_t ≥ 2/α

While the live mean is at most c, K is a supermartingale and reaches 2/α with probability at most α/2 (Ville), however
often it is looked at; the limit c errs with the other α/2. So "at most α over the life of this version", on two
conditions: which rows get a label must not depend on their loss, and a model's rows depend on each other no more than
the bet can bear. Podkopaev & Ramdas 2022 (arXiv 2110.06177); bets: Waudby-Smith & Ramdas 2023 (arXiv 2010.09686).
Only harm alarms; an error that improves is news.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trimtab.errors import Malformed

Array = NDArray[np.float64]
ALPHA: Final = 0.01
SLACK: Final = 1.1                             # times the validation's upper limit
WORSE: Final = 1.5                             # the harm that "cannot tell yet" is about: losses half as large again
LEAST: Final = 10                              # held-out rows below which nothing is compared
_SCHEMA: Final = "trimtab.harm/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """What the held-out rows say of a loss. bound: losses are clipped to it; mean, upper: of the clipped loss / bound;
    rows: how many there were. dependent rows are not corrected for here."""

    bound: float
    mean: float
    upper: float
    rows: int

    @classmethod
    def of(cls, losses: ArrayLike, *, alpha: float = ALPHA) -> Risk | None:
        """From the losses of held-out rows, shape (rows,), ≥ 0; None below 10 rows, or where all are 0.

        The bound is their 99% quantile (the largest, below 100 rows): a few monstrous losses decide nothing.

        >>> Risk.of(np.arange(101.0)).bound
        99.0
        """
        found = np.asarray(losses, dtype=np.float64)
        found = found[np.isfinite(found)]
        if len(found) < LEAST:
            return None
        bound = float(np.quantile(found, 0.99, method="lower")) if len(found) >= 100 else float(found.max())
        if not bound > 0:
            return None
        x = np.minimum(found, bound) / bound
        return cls(bound=bound, mean=float(x.mean()), upper=upper_limit(x, alpha / 2), rows=len(x))

    @property
    def limit(self) -> float:
        """c: the mean above which the live loss is harm, as a share of the bound; below 1."""
        return min(self.upper * SLACK, 0.99)

    def to_json(self) -> dict[str, object]:
        """Every field under its own name."""
        return {"bound": self.bound, "mean": self.mean, "upper": self.upper, "rows": self.rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """The state of the bet: labels so far, their sum and sum of squares, log K and its highest value; α.

    Everything is recomputable from it and from what comes next. cursor: the newest label taken in.
    """

    risk: Risk
    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    log_k: float = 0.0
    highest: float = 0.0
    cursor: str = ""
    alpha: float = ALPHA

    def after(self, losses: ArrayLike, *, cursor: str = "") -> Harm:
        """The state after more labels, in the order of their arrival; losses: shape (n,), NaN is left out."""
        found = np.asarray(losses, dtype=np.float64)
        found = found[~np.isnan(found)]
        x, c = np.minimum(np.maximum(found, 0.0), self.risk.bound) / self.risk.bound, self.risk.limit
        if not len(x):
            return self._with(cursor=cursor or self.cursor)
        n = self.n + np.arange(len(x))                                           # labels before each
        total = self.total + np.concatenate(([0.0], np.cumsum(x)[:-1]))
        squares = self.squares + np.concatenate(([0.0], np.cumsum(x * x)[:-1]))
        mean = (c + total) / (n + 1)                                             # begins at c: the first bet is 0
        variance = np.maximum((squares + c * c + c * (1 - c)) / (n + 1) - mean * mean, 1e-4)
        stake = np.clip((mean - c) / (variance + (mean - c) ** 2), 0.0, 0.5 / c)
        path = self.log_k + np.cumsum(np.log1p(stake * (x - c)))
        return self._with(n=self.n + len(x), total=float(total[-1] + x[-1]), squares=float(squares[-1] + x[-1] ** 2),
                          log_k=float(path[-1]), highest=max(self.highest, float(path.max())),
                          cursor=cursor or self.cursor)

    @property
    def alarm(self) -> bool:
        """Has K ever reached 2/α?"""
        return self.highest >= math.log(2 / self.alpha)

    @property
    def mean(self) -> float | None:
        """Mean clipped loss so far, as a share of the bound."""
        return self.total / self.n if self.n else None

    @property
    def needed(self) -> int:
        """About how many more labels until a loss half as large again as the limit would be seen; 0: enough."""
        c = self.risk.limit
        gap = min(c * (WORSE - 1), (1 - c) / 2)
        spread = max((self.squares / self.n - (self.total / self.n) ** 2) if self.n > 20 else c * (1 - c), 1e-4)
        whole = math.ceil(2 * (spread + gap * gap) * math.log(2 / self.alpha) / (gap * gap))
        return max(0, whole - self.n)

    @property
    def words(self) -> str:
        """The verdict in a sentence."""
        if self.alarm:
            return (f"worse than when it was judged: mean loss {self._loss(self.mean)} after {self.n:,} labels, limit "
                    f"{self._loss(self.risk.limit)} (wrong in at most {self.alpha:.0%} of versions, over their life)")
        if self.needed:
            return f"cannot tell yet, about {self.needed:,} more labels needed"
        return (f"no harm seen in {self.n:,} labels: mean loss {self._loss(self.mean)}, limit "
                f"{self._loss(self.risk.limit)}")

    def to_json(self) -> dict[str, object]:
        """What `from_json` reads."""
        return {"schema": _SCHEMA, "risk": self.risk.to_json(), "n": self.n, "total": self.total,
                "squares": self.squares, "log_k": self.log_k, "highest": self.highest, "cursor": self.cursor,
                "alpha": self.alpha}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Harm:
        """The inverse of `to_json`. Raises Malformed."""
        if stored.get("schema") != _SCHEMA:
            raise Malformed(f"a stored bet is not of the form {_SCHEMA}; it was written by another trimtab")
        fields = {name: value for name, value in stored.items() if name not in ("schema", "risk")}
        return cls(risk=Risk(**stored["risk"]), **fields)

    def _with(self, **changed: Any) -> Harm:
        from dataclasses import replace

        return replace(self, **changed)

    def _loss(self, share: float | None) -> str:
        return "–" if share is None else f"{share * self.risk.bound:.4g}"


def upper_limit(x: ArrayLike, alpha: float) -> float:
    """An upper confidence limit of the mean of values in [0, 1], shape (n,), by betting; errs with at most `alpha`.

    The smallest m at which Π(1 + λ_i (m − x_i)) reaches 1/alpha (Waudby-Smith & Ramdas 2023, PrPl). O(60·n).

    >>> 0.5 < upper_limit([0.0, 1.0] * 500, 0.005) < 0.6
    True
    """
    values = np.asarray(x, dtype=np.float64)
    n = len(values)
    before = np.concatenate(([0.0], np.cumsum(values)[:-1]))
    count = np.arange(n)
    mean = (0.5 + before) / (count + 1)
    squares = np.concatenate(([0.0], np.cumsum((values - mean) ** 2)[:-1]))
    stake = np.minimum(np.sqrt(2 * math.log(1 / alpha) / (n * (0.25 + squares) / (count + 1))), 0.9)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if float(np.log1p(stake * (middle - values)).sum()) >= math.log(1 / alpha):
            high = middle
        else:
            low = middle
    return high
