"""How sure are we of a number?"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with the bounds of its confidence interval.

    value, low, high: in the metric's own unit; level: coverage, 0.95 unless said; n: rows it rests on.
    """

    value: float
    low: float
    high: float
    level: float = 0.95
    n: int = 0

    def to_json(self) -> dict[str, float]:
        """`{"value", "low", "high", "level", "n"}`."""
        return {"value": self.value, "low": self.low, "high": self.high, "level": self.level, "n": self.n}
