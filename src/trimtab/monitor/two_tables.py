"""Do two tables look alike?  One look, without a project: the reference, the table of now, and what moved between them.

Each column of the reference becomes counts over bins that the reference chose; the other table is counted over the same
bins, a stretch of rows at a time. What moved is judged by the bets of `bets.py`: a column alarms when

    E ≥ 2 · columns / α            and the reference itself may be off by z standard errors, z for α/2

so that P(any alarm) ≤ α over all columns where nothing moved by more than `ignore_below` sds (Markov's inequality for
e-values, and a normal approximation for the reference). Rows are taken as independent; where they are not, say a
sensor's readings one after the other, compare thinned tables or let `trimtab monitor` watch. Columns that are absent or
of another type are facts, and are told without a test.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from trimtab.data.batches import Batches
from trimtab.data.contract import Column, Contract
from trimtab.errors import UsageError
from trimtab.monitor.cause import Cause, causes
from trimtab.monitor.drift import ColumnEvidence, Detector, Rate
from trimtab.monitor.windows import CONTRACT, ColumnWindow, Sketch, Window, counted
from trimtab.sketch.column import CategorySketch, NumericSketch

SCHEMA: Final = "trimtab.drift/1"
SAMPLE: Final = 200_000                        # rows, evenly spread, that choose bins and categories
_PER_COLUMN: Final = 8                         # two-sided features that a column has, about: for z
Kind = Literal["number", "category"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDrift:
    """One column of both tables. log10_e: evidence, as the power of ten of its e-value. effect: sizes by name
    (shift_sd, wasserstein_sd in sds of the reference; psi in nats; missing_before, missing_now, unseen as shares).
    cause: why it alarms, or None. before, now: what was counted; None where the column is absent."""

    name: str
    kind: Kind
    alarm: bool
    log10_e: float
    effect: Mapping[str, float]
    cause: Cause | None
    words: str
    before: Sketch
    now: Sketch | None

    def to_json(self) -> dict[str, object]:
        """Without the counts."""
        return {"name": self.name, "kind": self.kind, "alarm": self.alarm, "log10_e": self.log10_e,
                "effect": dict(self.effect), "cause": None if self.cause is None else self.cause.to_json(),
                "words": self.words}


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """What two tables showed. columns: the strongest evidence first. threshold: log10 of the e-value that alarms."""

    reference: str
    current: str
    reference_rows: int
    current_rows: int
    alpha: float
    ignore_below_sd: float
    threshold: float
    columns: tuple[ColumnDrift, ...]
    causes: tuple[Cause, ...]
    notes: tuple[str, ...] = ()

    @property
    def alarms(self) -> tuple[str, ...]:
        """Names of the columns that alarm, the first to be looked at first."""
        led = {cause.column: place for place, cause in reversed(list(enumerate(self.causes)))}
        return tuple(sorted((one.name for one in self.columns if one.alarm), key=lambda name: led.get(name, len(led))))

    @property
    def promise(self) -> str:
        """What an alarm is worth."""
        return (f"P(any alarm without a change) ≤ {self.alpha:g} over all {len(self.columns)} columns; changes below "
                f"{self.ignore_below_sd:g} sd are ignored; rows are taken as independent")

    @property
    def words(self) -> str:
        """The report in a few lines, causes first."""
        head = (f"{self.current}, {self.current_rows:,} rows, against {self.reference}, {self.reference_rows:,} rows: "
                + (f"{len(self.alarms)} of {len(self.columns)} columns moved" if self.alarms else
                   "no change that evidence carries"))
        lines = [f"  {place}. {cause.sentence}" for place, cause in enumerate(self.causes, 1)]
        return "\n".join([head, *lines, *(f"  ! {note}" for note in self.notes), f"  ({self.promise})"])

    def to_json(self) -> dict[str, object]:
        """As `trimtab drift --json` prints it."""
        return {"schema": SCHEMA, "reference": self.reference, "current": self.current,
                "reference_rows": self.reference_rows, "current_rows": self.current_rows, "alpha": self.alpha,
                "ignore_below_sd": self.ignore_below_sd, "threshold_log10_e": self.threshold,
                "alarms": list(self.alarms), "causes": [cause.to_json() for cause in self.causes],
                "columns": [one.to_json() for one in self.columns], "notes": list(self.notes)}

    def to_html(self, path: str | Path | None = None) -> str:
        """One self-contained page, causes first; written to `path` where one is given. Raises OSError."""
        from trimtab.monitor.drift_page import render

        page = render(self)
        if path is not None:
            Path(path).write_text(page, encoding="utf-8")
        return page

    def _repr_html_(self) -> str:
        from trimtab.monitor.drift_page import render

        return render(self, whole=False)

    def __str__(self) -> str:
        return self.words


def drift(reference: Any, current: Any, *, alpha: float = 0.05, ignore_below: float | str = "0.1 sd",
          columns: Iterable[str] | None = None) -> DriftReport:
    """Compare two tables: paths (CSV, Parquet), Polars or pandas frames, or matrices of shape (rows, columns).

    alpha: P(any alarm, over all columns, without a change), in (0, 0.5]. ignore_below: the smallest change that
    matters, in sds of the reference. columns: only these. Parquet files and lazy frames are streamed: memory does not
    grow with their rows. Raises DataUnreadable, UsageError.

    >>> rng = np.random.default_rng(1)
    >>> same, moved = rng.normal(size=(4000, 2)), rng.normal([0.0, 0.5], size=(2000, 2))
    >>> drift(same[:2000], same[2000:]).alarms, drift(same, moved).alarms
    ((), ('x2',))
    """
    if not 0 < alpha <= 0.5:
        raise UsageError(f"alpha = {alpha:g} is a probability of a false alarm; give one in (0, 0.5], such as 0.05")
    least = _sds(ignore_below)
    before, now = Batches(reference), Batches(current)
    chosen, notes = _chosen(before, columns)
    kinds, dropped = _kinds(before, chosen)
    notes += dropped
    baseline, ids = _baseline(before, kinds)
    if ids:
        notes.append(f"not compared, hardly a value comes back: {', '.join(ids)}")
    kinds = {name: kind for name, kind in kinds.items() if name in baseline}
    if not kinds:
        raise UsageError(f"no column of {before.name} can be compared: {'; '.join(notes)[:300]}")
    if extra := [name for name in now.schema if name not in before.schema]:
        notes.append(f"{len(extra)} columns are only in {now.name}: {', '.join(extra[:5])}")
    there = {name: kind for name, kind in kinds.items() if name in now.schema}
    seen = _count(now, there, {name: one.sketch for name, one in baseline.items()})
    facts = _facts(before, now, kinds)
    rate = Rate(false_alarms_per_year=alpha / 2, windows_per_year=1)
    detector = Detector({name: one.sketch for name, one in baseline.items()}, rate, ignore_below_sd=least,
                        z=NormalDist().inv_cdf(1 - alpha / 2 / (2 * _PER_COLUMN * len(kinds))))
    evidence = detector.step(Window(rows=now.rows, broken=0, columns=seen))
    contract = Contract(columns=tuple(Column(name=name, type=kind, missing=True) for name, kind in kinds.items()))
    window = Window(rows=now.rows, broken=0, columns=seen)
    found = (*facts, *(cause for cause in causes(evidence, window, contract, {
        name: one.sketch for name, one in baseline.items()}, runs={name: one.run for name, one in baseline.items()})
        if cause.column not in {fact.column for fact in facts}))
    first = {cause.column: cause for cause in reversed(found)}
    told = [_told(one, kinds[one.column], baseline[one.column].sketch, seen.get(one.column), first.get(one.column))
            for one in evidence.columns if one.column != CONTRACT]
    return DriftReport(reference=before.name, current=now.name, reference_rows=before.rows, current_rows=now.rows,
                       alpha=alpha, ignore_below_sd=least, threshold=evidence.log_threshold / math.log(10),
                       columns=tuple(told), causes=found, notes=tuple(notes))


def _told(one: ColumnEvidence, kind: Kind, before: Sketch, now: ColumnWindow | None,
          cause: Cause | None) -> ColumnDrift:
    sizes = {"shift_sd": one.shift_sd, "wasserstein_sd": one.wasserstein_sd, "psi": one.psi,
             "jensen_shannon": one.jensen_shannon, "missing_before": one.missing[0], "missing_now": one.missing[1]}
    if kind == "category":
        sizes |= {"unseen_before": one.unseen[0], "unseen_now": one.unseen[1]}
    return ColumnDrift(
        name=one.column, kind=kind, alarm=cause is not None, log10_e=one.log_e / math.log(10), cause=cause,
        effect={} if now is None else {name: value for name, value in sizes.items() if value is not None},
        words="absent" if now is None else one.words.partition(": ")[2], before=before,
        now=None if now is None else now.sketch)


def _chosen(before: Batches, columns: Iterable[str] | None) -> tuple[list[str], list[str]]:
    if columns is None:
        return list(before.schema), []
    wanted = list(dict.fromkeys(columns))
    if unknown := [name for name in wanted if name not in before.schema]:
        from trimtab.data.lookup import near

        raise UsageError(f"{before.name} has no column {unknown[0]!r}.{near(unknown[0], list(before.schema))}")
    return wanted, []


def _kinds(before: Batches, chosen: Iterable[str]) -> tuple[dict[str, Kind], list[str]]:
    """How each column is counted, and why some are not."""
    kinds: dict[str, Kind] = {}
    left: dict[str, list[str]] = {}
    for name in chosen:
        kind = before.schema[name]
        if kind.is_numeric():
            kinds[name] = "number"
        elif kind in (pl.String, pl.Boolean, pl.Categorical, pl.Enum):
            kinds[name] = "category"
        else:
            left.setdefault("times" if kind.is_temporal() else f"of type {kind}", []).append(name)
    return kinds, [f"not compared, {why}: {', '.join(names)}" for why, names in left.items()]


def _baseline(before: Batches, kinds: Mapping[str, Kind]) -> tuple[dict[str, ColumnWindow], list[str]]:
    """The reference, counted over bins of its own; and the texts that are ids or prose: each value is new by nature."""
    if not kinds:
        return {}, []
    step = -(-before.rows // SAMPLE)
    picked, start = [], 0
    for batch in before:
        picked.append(batch.select(list(kinds)).gather_every(step, (-start) % step))
        start += batch.height
    sample = pl.concat(picked)
    shapes: dict[str, Sketch] = {}
    ids: list[str] = []
    for name, kind in kinds.items():
        if kind == "number":
            shapes[name] = NumericSketch.of(_numbers(sample[name]))
            continue
        texts = _texts(sample[name])
        distinct = texts.n_unique()
        if distinct > 100 and distinct > 0.5 * texts.len():
            ids.append(name)
            continue
        shapes[name] = CategorySketch.of_counts(_tally(texts), texts.null_count())
    return _count(before, {name: kinds[name] for name in shapes}, shapes), ids


def _count(table: Batches, kinds: Mapping[str, Kind], shapes: Mapping[str, Sketch]) -> dict[str, ColumnWindow]:
    """Every column over the bins and names of `shapes`, a batch at a time."""
    found: dict[str, ColumnWindow] = {}
    for batch in table:
        for name in kinds:
            shape = shapes[name]
            if isinstance(shape, NumericSketch):
                now = counted(_numbers(batch[name]), shape)
            else:
                texts = _texts(batch[name])
                now = ColumnWindow(sketch=CategorySketch.of_counts(_tally(texts), texts.null_count(),
                                                                   shape.categories.names))
            found[name] = found[name].merge(now) if name in found else now
    return found


def _facts(before: Batches, now: Batches, kinds: Mapping[str, Kind]) -> list[Cause]:
    """What needs no test."""
    found = []
    for name, kind in kinds.items():
        if name not in now.schema:
            found.append(Cause(kind="contract", column=name, broken=True, strength=math.inf,
                               sentence=f"{name} is absent from {now.name}"))
        elif kind == "number" and not now.schema[name].is_numeric() and now.schema[name] != pl.Null:
            found.append(Cause(kind="contract", column=name, broken=True, strength=math.inf,
                               sentence=f"{name} is {now.schema[name]} in {now.name}, and {before.schema[name]} in "
                               f"{before.name}"))
    return found


def _numbers(values: pl.Series) -> np.ndarray[Any, np.dtype[np.float64]]:
    if values.dtype.is_nested() or values.dtype.is_temporal():
        return np.full(values.len(), np.nan)
    return values.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()


def _texts(values: pl.Series) -> pl.Series:
    if values.dtype.is_nested():
        return pl.Series(values.name, [None] * values.len(), dtype=pl.String)
    return values.cast(pl.String, strict=False)


def _tally(texts: pl.Series) -> dict[str, int]:
    return {name: int(count) for name, count in texts.value_counts().iter_rows() if name is not None}


def _sds(ignore_below: float | str) -> float:
    text = str(ignore_below).removesuffix("sd").strip()
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < 100:
        raise UsageError(f"ignore_below = {ignore_below!r} is no number of standard deviations; write it as \"0.1 sd\"")
    return found
