"""Why did it alarm?  Causes in the order in which they should be ruled out.

contract break → missing, unseen, stuck, unit change → a column shifted → the answers shifted → concept (the loss moved,
the inputs did not). The first two kinds are *broken data*: nothing should be learned from them, and `broken` says so in
a sentence. Only columns whose evidence reached the threshold are looked at; a cause explains an alarm and raises none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from trimtab.data.contract import Column, Contract
from trimtab.monitor.drift import ColumnEvidence, Evidence
from trimtab.monitor.harm import Harm
from trimtab.monitor.units import nearest, unit_change
from trimtab.monitor.windows import CONTRACT, PREDICTION, ColumnWindow, Sketch, Window
from trimtab.sketch.column import NumericSketch

Kind = Literal["contract", "missing", "unseen", "stuck", "unit", "shift", "answers", "concept", "harm"]
ORDER: Final[tuple[Kind, ...]] = ("contract", "missing", "unseen", "stuck", "unit", "shift", "answers", "concept",
                                  "harm")
_MANY = 0.05                                   # share of broken rows from which on the data are bad, not a few rows
_LOUD = 3.0                                    # log e-value of a feature in one window that is worth a word
_FAR = 0.5                                     # sds of training by which an input plainly lies elsewhere
_HELD = 5                                      # a longer run in training: values are held there, and repeat by nature
_SAID: Final[Mapping[str, str]] = {
    "missing": "are missing where none may be", "type": "are of another type", "finite": "are not finite",
    "whole": "are no whole numbers", "exact": "are too large to be exact", "min": "are below the contract's min",
    "max": "are above the contract's max", "category": "are no category of the contract",
    "unknown": "are no column of the contract"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One possible cause. broken: are the data at fault, so that nothing may be learned from them? strength: of its
    column's evidence; began: the number of the window in which the evidence began."""

    kind: Kind
    column: str
    sentence: str
    broken: bool = False
    strength: float = 0.0
    began: int = 1

    def to_json(self) -> dict[str, object]:
        """Every field under its own name."""
        return {"kind": self.kind, "column": self.column, "sentence": self.sentence, "broken": self.broken,
                "strength": self.strength, "began": self.began}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Cause:
        """The inverse of `to_json`."""
        return cls(**stored)


def causes(evidence: Evidence, window: Window, contract: Contract, baseline: Mapping[str, Sketch], *,
           before: Window | None = None, harm: Harm | None = None,
           runs: Mapping[str, int] | None = None) -> tuple[Cause, ...]:
    """What may be behind the alarms of `evidence`, whose newest window is `window`; the first to be ruled out first.

    before: the last window before the evidence began (a unit change is a jump, a drift need not be). harm: the bet on
    the labels. runs: for each column the longest run of one number in training (a monthly figure stands still in daily
    rows, and is not stuck). No alarm: no cause.
    """
    columns = {column.name: column for column in contract.features}
    found: list[Cause] = []
    for one in evidence.alarmed:
        if one.column == CONTRACT:
            found += _contract(one, window, baseline, before, runs or {})
        elif one.column == PREDICTION:
            found.append(_cause("answers", one, f"the answers moved: {_sizes(one)}"))
        elif one.column in window.columns:
            earlier = None if before is None else before.columns.get(one.column)
            found += _column(one, columns[one.column], window.columns[one.column], baseline[one.column], earlier,
                             (runs or {}).get(one.column, 1))
    if harm is not None and harm.alarm:
        found.append(_harm(harm, evidence, found))
    ordered = sorted(found, key=lambda cause: (ORDER.index(cause.kind), -cause.strength, cause.column))
    return tuple({(cause.kind, cause.column): cause for cause in reversed(ordered)}.values())[::-1]


def broken(found: Iterable[Cause]) -> str | None:
    """Why nothing may be learned from these rows, in a sentence; None where the data look real.

    >>> broken([Cause(kind="shift", column="rate", sentence="rate rose")]) is None
    True
    """
    bad = [cause.sentence for cause in found if cause.broken]
    if not bad:
        return None
    return f"the data look broken: {bad[0]}" + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else "")


def _column(one: ColumnEvidence, column: Column, now: ColumnWindow, baseline: Sketch,
            before: ColumnWindow | None, run: int) -> Iterator[Cause]:
    loud = {name for name, log_e in one.features.items() if log_e >= _LOUD} | {one.feature}
    told, lost, new = False, one.missing, one.unseen
    if "missing" in loud and lost[1] > lost[0]:
        told = True
        yield _cause("missing", one, f"{one.column} is missing in {lost[1]:.1%} of the rows, in training {lost[0]:.1%}",
                     broken=True)
    if "unseen" in loud and new[1] > new[0]:
        told = True
        yield _cause("unseen", one, f"{one.column} has unknown categories in {new[1]:.1%} of the rows, in training "
                     f"{new[0]:.1%}", broken=not column.unseen)
    moved = bool(loud - {"missing", "unseen"})
    if isinstance(baseline, NumericSketch) and moved:
        if stuck := _stuck(now, baseline, run):
            yield _cause("stuck", one, f"{one.column} {stuck}", broken=True)
            return
        earlier = None if before is None or not isinstance(before.sketch, NumericSketch) else before.sketch
        if isinstance(now.sketch, NumericSketch) and (unit := unit_change(baseline, now.sketch, earlier)):
            yield _cause("unit", one, f"{one.column} looks as if its unit had changed: {unit}", broken=True)
            return
    if moved or not told:
        yield _cause("shift", one, f"{one.column} {_arrow(one)} {_sizes(one)}")


def _harm(harm: Harm, evidence: Evidence, found: list[Cause]) -> Cause:
    """The loss rose: with inputs that moved, or without, which is what they mean."""
    moved = [one for one in evidence.columns if abs(one.shift_sd or 0.0) >= _FAR and one.column != PREDICTION]
    kind: Kind = "harm"
    if any(cause.kind not in ("answers", "contract") for cause in found):
        sentence = harm.words
    elif moved:
        furthest = max(moved, key=lambda one: abs(one.shift_sd or 0.0))
        sentence = f"{harm.words}; inputs lie elsewhere, though not beyond doubt ({furthest.words})"
    else:
        kind, sentence = "concept", f"{harm.words}; the inputs did not move: what they mean did"
    return Cause(kind=kind, column="", sentence=sentence, strength=harm.highest, began=evidence.window)


def _contract(one: ColumnEvidence, window: Window, baseline: Mapping[str, Sketch], before: Window | None,
              runs: Mapping[str, int]) -> Iterator[Cause]:
    """What is behind rows that are broken, or that a fallback answered: a sensor, where one explains half of them."""
    half, told = window.broken / 2, False
    for name, column in window.columns.items():
        was, earlier = baseline.get(name), None if before is None else before.columns[name].sketch
        if not isinstance(was, NumericSketch) or not isinstance(column.sketch, NumericSketch):
            continue
        outside = sum(column.broken.get(rule, 0) for rule in ("min", "max"))
        kind: Kind = "stuck"
        said = _stuck(column, was, runs.get(name, 1)) if column.run >= half else ""
        if not said and outside >= half:
            unit = nearest(was, column.sketch, earlier if isinstance(earlier, NumericSketch) else None)
            kind, said = "unit", f"looks as if its unit had changed: {unit}" if unit else ""
        if said:
            told = True
            yield Cause(kind=kind, column=name, sentence=f"{name} {said}", strength=one.strength, began=one.began,
                        broken=window.broken >= _MANY * window.rows)
    if not told:
        yield _broken_rows(one, window)


def _broken_rows(one: ColumnEvidence, window: Window) -> Cause:
    worst = max(((count, name, rule) for name, column in window.columns.items()
                 for rule, count in column.broken.items()), default=(0, "", ""))
    count, name, rule = worst
    which = f"{name}: {count:,} of {window.rows:,} values {_SAID.get(rule, rule)}" if count else \
        f"{window.broken:,} of {window.rows:,} rows break the contract"
    share = window.broken / max(window.rows, 1)
    rest = "" if share >= _MANY else "; few enough to set those rows aside"
    return Cause(kind="contract", column=name, sentence=which + rest, broken=share >= _MANY, strength=one.strength,
                 began=one.began)


def _stuck(now: ColumnWindow, baseline: NumericSketch, run: int) -> str:
    """`stood still at 21.5: 412 rows in a row`, or "" where it did not, or no longer than in training."""
    if now.top is None or not isinstance(now.sketch, NumericSketch):
        return ""
    value, often = now.top
    present = max(sum(now.sketch.counts), 1)
    place = sum(edge < value for edge in baseline.edges)
    normal = max(baseline.counts[place] / max(sum(baseline.counts), 1), 1e-6)
    still = now.run * math.log(1 / normal) > 30 and now.run >= max(30, 0.2 * present, 3 * run)
    if normal < 0.5 and still:
        return f"stood still at {value:g}: {now.run:,} rows in a row"
    if run <= _HELD and often >= 30 and often / present >= normal + 0.3:
        return (f"is {value:g} in {often / present:.0%} of the rows, in training {normal:.1%} were near it: stuck, or "
                "a default in place of what is missing")
    return ""


def _arrow(one: ColumnEvidence) -> str:
    if one.feature == "level":
        return "rose:" if one.direction > 0 else "fell:"
    if one.feature == "spread":
        return "spread out:" if one.direction > 0 else "narrowed:"
    return f"has {'more' if one.direction > 0 else 'fewer'} {one.feature}:"


def _sizes(one: ColumnEvidence) -> str:
    return one.words.partition(": ")[2]


def _cause(kind: Kind, one: ColumnEvidence, sentence: str, *, broken: bool = False) -> Cause:
    return Cause(kind=kind, column=one.column, sentence=sentence, broken=broken, strength=one.strength, began=one.began)
