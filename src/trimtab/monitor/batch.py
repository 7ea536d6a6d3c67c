"""Does a batch of rows look like what the live version was trained on?  One look at one batch.

Contract first, then how far each column moved from the training profile (effect sizes over the same bins), then, with
labels, the score beside the one that was measured at registration. It compares; it does not watch: effect sizes of a
single batch are no alarms, and no rate of false alarms is claimed for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.data.contract import Column, Contract
from trimtab.monitor.windows import Sketch as Sketch
from trimtab.monitor.windows import sketch_like
from trimtab.sketch import distances
from trimtab.sketch.bins import coarsened
from trimtab.sketch.column import NumericSketch
from trimtab.stats.interval import Interval

if TYPE_CHECKING:
    import polars as pl

    from trimtab.data.check import CheckReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How far one column moved: mean shift in training sds (numbers only), PSI in nats, missing shares."""

    column: str
    shift_sd: float | None
    psi: float
    missing_before: float
    missing_now: float

    def to_json(self) -> dict[str, object]:
        """All fields; NaN becomes null."""
        return {"column": self.column, "shift_sd": self.shift_sd, "psi": self.psi if math.isfinite(self.psi) else None,
                "missing_before": self.missing_before, "missing_now": self.missing_now}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """What one batch showed. scores: of this batch, where labels came with it; reference: as it was registered."""

    version: str
    rows: int
    broken: int                               # rows that break the contract
    first_broken: tuple[str, ...]
    moved: tuple[Moved, ...]                  # the furthest first
    metric: str
    scores: Mapping[str, Interval]
    reference: Mapping[str, float] | None     # value, low, high of the metric at registration

    @property
    def words(self) -> str:
        """The report in a few lines."""
        lines = [f"{self.version}, {self.rows:,} rows: "
                 + (f"{self.broken:,} break the contract, the first: {self.first_broken[0]}" if self.broken
                    else "all keep the contract")]
        for one in self.moved[:3]:
            shift = "" if one.shift_sd is None else f"mean {one.shift_sd:+.2f} sd, "
            missing = "" if one.missing_now == one.missing_before else \
                f", missing {one.missing_before:.1%} → {one.missing_now:.1%}"
            lines.append(f"  {one.column}: {shift}PSI {one.psi:.3f}{missing}")
        if self.metric in self.scores:
            found = self.scores[self.metric]
            then = "" if self.reference is None else (
                f", at registration {self.reference['value']:.4g} "
                f"[{self.reference['low']:.4g}, {self.reference['high']:.4g}]")
            lines.append(f"  {self.metric} {found.value:.4g} [{found.low:.4g}, {found.high:.4g}]{then}")
        else:
            lines.append("  no labels were given, so nothing is said of the score")
        lines.append("  one look at one batch: an evaluation, not monitoring")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """As it is printed by `--json`."""
        return {"schema": "trimtab.batch/1", "version": self.version, "rows": self.rows, "broken": self.broken,
                "first_broken": list(self.first_broken), "moved": [one.to_json() for one in self.moved],
                "metric": self.metric, "scores": {name: one.to_json() for name, one in self.scores.items()},
                "reference": dict(self.reference) if self.reference else None}

    def __str__(self) -> str:
        return self.words


def movements(contract: Contract, baseline: Mapping[str, Sketch], frame: pl.DataFrame) -> tuple[Moved, ...]:
    """Each feature of `frame` against its training sketch, the largest PSI first."""
    found = [_moved(column, baseline[column.name], frame) for column in contract.features
             if column.name in baseline and column.name in frame.columns]
    return tuple(sorted(found, key=lambda one: (-one.psi if math.isfinite(one.psi) else 1.0, one.column)))


def summary(report: CheckReport) -> tuple[int, tuple[str, ...]]:
    """(rows that break the contract, the first sentences about them)."""
    return report.bad, tuple(violation.message for violation in report.violations[:5])


def _moved(column: Column, before: Sketch, frame: pl.DataFrame) -> Moved:
    now = sketch_like(column, before, frame[column.name])
    shift = None
    if isinstance(before, NumericSketch) and isinstance(now, NumericSketch):
        then, new, sd = before.moments.mean, now.moments.mean, before.moments.sd
        if then is not None and new is not None and sd:
            shift = (new - then) / sd
    psi = distances.psi(*coarsened(before.count_array(), now.count_array()))
    return Moved(column=column.name, shift_sd=shift, psi=psi,
                 missing_before=before.missing / max(before.rows, 1), missing_now=now.missing / max(now.rows, 1))
