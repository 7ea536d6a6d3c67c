"""Did the inputs, or the answers, change?  A Shiryaev–Roberts detector over windows, one a column.

    E_t = mean of all bets on the column (`bets.py`)          M_t = E_t · (M_{t−1} + 1)          alarm when M_t ≥ A

A = columns × windows per year / false alarms allowed per year. Without a change M_t − t is a supermartingale, so the
chance of an alarm within n windows is at most n/A for a column: a *rate* of false alarms over all columns, "at most N a
year", and never "not for ever". Shiryaev 1963, Roberts 1966; e-detectors: Shin, Ramdas & Rinaldo 2022
(arXiv 2203.03532). Rows are taken as independent, or counts are divided by the design effect that the baseline showed.
Effect sizes (PSI, shift in sds of the training data) stand beside the evidence and decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from trimtab.errors import Malformed
from trimtab.monitor.bets import Bets, Z, contract_bets, counts_of, features_of
from trimtab.monitor.windows import CONTRACT, ColumnWindow, Sketch, Window
from trimtab.sketch import distances
from trimtab.sketch.bins import coarsened
from trimtab.sketch.column import CategorySketch, NumericSketch

SCHEMA: Final = "trimtab.detector/1"
_CEILING = 3.0                                 # log M stays at most so far above log A: it heals when the change ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How often may it alarm without cause?  Over all columns together."""

    false_alarms_per_year: float = 1.0
    windows_per_year: float = 365.0

    def log_threshold(self, columns: int) -> float:
        """log A for `columns` columns, at least log 20."""
        return math.log(max(20.0, columns * self.windows_per_year / self.false_alarms_per_year))

    @property
    def words(self) -> str:
        """The promise."""
        many = f"{self.false_alarms_per_year:g} false alarm{'' if self.false_alarms_per_year == 1 else 's'}"
        return f"at most {many} a year over all columns, at {self.windows_per_year:,.0f} windows a year"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnEvidence:
    """One column after a window.

    log_m: log of the detector's value, to be compared with the threshold; log_e: this window's own share of it.
    feature, direction: the bet that won most in this window ("level", "spread", "missing", "unseen", "category x", "out
    of contract"; +1 more, −1 less); features: log e-value of each one's best bet. began: the window (its number) since
    which the evidence has grown. Effects: shift_sd, wasserstein in sds of the training data, psi in nats; None where
    there is no such number. missing, unseen: shares before and now.
    """

    column: str
    log_m: float
    log_e: float
    alarm: bool
    feature: str
    direction: int
    features: Mapping[str, float]
    began: int
    shift_sd: float | None = None
    psi: float | None = None
    jensen_shannon: float | None = None
    wasserstein_sd: float | None = None
    missing: tuple[float, float] = (0.0, 0.0)
    unseen: tuple[float, float] = (0.0, 0.0)

    @property
    def strength(self) -> float:
        """What columns are ranked by: log M, which is held down above the threshold, and what this window adds."""
        return self.log_m + max(self.log_e, 0.0)

    def to_json(self) -> dict[str, object]:
        """Every field under its own name."""
        return {"column": self.column, "log_m": self.log_m, "log_e": self.log_e, "alarm": self.alarm,
                "feature": self.feature, "direction": self.direction, "features": dict(self.features),
                "began": self.began, "shift_sd": self.shift_sd, "psi": self.psi,
                "jensen_shannon": self.jensen_shannon, "wasserstein_sd": self.wasserstein_sd,
                "missing": list(self.missing), "unseen": list(self.unseen)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ColumnEvidence:
        """The inverse of `to_json`."""
        pairs = {name: (float(stored[name][0]), float(stored[name][1])) for name in ("missing", "unseen")}
        return cls(**{**stored, **pairs})

    @property
    def words(self) -> str:
        """`rate: mean +0.52 sd, PSI 0.271`."""
        sizes = [] if self.shift_sd is None else [f"mean {self.shift_sd:+.2f} sd"]
        sizes += [] if self.psi is None else [f"PSI {self.psi:.3f}"]
        for what, (before, now) in (("missing", self.missing), ("unseen", self.unseen)):
            if abs(now - before) > 0.001:
                sizes.append(f"{what} {before:.1%} → {now:.1%}")
        if not sizes:
            sizes.append(f"{'more' if self.direction > 0 else 'fewer'} {self.feature}")
        return f"{self.column}: {', '.join(sizes)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the detector holds after a window: columns by evidence, the strongest first."""

    window: int                               # its number, from 1
    rows: int
    log_threshold: float
    rate: Rate
    columns: tuple[ColumnEvidence, ...]

    @property
    def alarmed(self) -> tuple[ColumnEvidence, ...]:
        """The columns whose evidence reaches the threshold."""
        return tuple(one for one in self.columns if one.alarm)

    @property
    def words(self) -> str:
        """One line a column that moved, then what the evidence is worth."""
        head = [one.words for one in self.alarmed] or ["no drift that evidence carries"]
        return "\n".join([*head, f"({self.rate.words})"])

    def to_json(self) -> dict[str, object]:
        """As it is stored and printed."""
        return {"window": self.window, "rows": self.rows, "log_threshold": self.log_threshold,
                "false_alarms_per_year": self.rate.false_alarms_per_year,
                "windows_per_year": self.rate.windows_per_year, "columns": [one.to_json() for one in self.columns]}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Evidence:
        """The inverse of `to_json`. Raises Malformed."""
        try:
            return cls(window=stored["window"], rows=stored["rows"], log_threshold=stored["log_threshold"],
                       rate=Rate(false_alarms_per_year=stored["false_alarms_per_year"],
                                 windows_per_year=stored["windows_per_year"]),
                       columns=tuple(ColumnEvidence.from_json(one) for one in stored["columns"]))
        except (KeyError, TypeError, ValueError, IndexError) as problem:
            raise Malformed(f"stored evidence can't be read: {problem!r}") from None


@dataclass(slots=True)
class _State:
    log_m: float = -math.inf
    log_c: float = -math.inf                   # the best product of e-values that ends now; its start is `began`
    began: int = 1


class Detector:
    """Watches windows against one baseline; its state goes in and comes out as JSON.

    baseline: a sketch a column, `PREDICTION` among them where the answers are watched. effects: design effects by
    column. Windows are stepped in the order of time, each once; they may differ in size.
    """

    def __init__(self, baseline: Mapping[str, Sketch], rate: Rate, *, ignore_below_sd: float = 0.1,
                 effects: Mapping[str, float] | None = None, state: Mapping[str, Any] | None = None,
                 z: float = Z) -> None:
        self.rate, self._baseline = rate, baseline
        self._bets = {name: Bets.on(counts_of(before), features_of(before, ignore_below_sd=ignore_below_sd),
                                    z=z,
                                    deff=max(1.0, (effects or {}).get(name, 1.0))) for name, before in baseline.items()}
        rows = max((before.rows for before in baseline.values()), default=1)
        self._bets[CONTRACT] = contract_bets(0, rows, ignore_below_sd=ignore_below_sd)
        self._windows = 0
        self._states = {name: _State() for name in self._bets}
        if state is not None:
            self._take(state)

    @property
    def log_threshold(self) -> float:
        """log A: the same for every column."""
        return self.rate.log_threshold(len(self._bets))

    def step(self, window: Window) -> Evidence:
        """Take the next window in and say what is known after it."""
        self._windows += 1
        found = [self._step(name, window) for name in self._bets]
        found.sort(key=lambda one: (-one.strength, one.column))
        return Evidence(window=self._windows, rows=window.rows, log_threshold=self.log_threshold, rate=self.rate,
                        columns=tuple(found))

    def restart(self, columns: Iterable[str]) -> None:
        """Forget the evidence on these columns: what comes now has to show itself anew."""
        for name in columns:
            if name in self._states:
                self._states[name] = _State(began=self._windows + 1)

    def state(self) -> dict[str, object]:
        """Everything that the next `Detector(…, state=…)` needs, as JSON."""
        return {"schema": SCHEMA, "windows": self._windows, "columns": {
            name: {"log_m": _or_none(one.log_m), "log_c": _or_none(one.log_c), "began": one.began}
            for name, one in self._states.items()}}

    def _take(self, state: Mapping[str, Any]) -> None:
        if state.get("schema") != SCHEMA:
            raise Malformed(f"a detector's state is not of the form {SCHEMA}; it was written by another trimtab")
        self._windows = int(state["windows"])
        for name, one in state["columns"].items():
            if name in self._states:
                self._states[name] = _State(_or_never(one["log_m"]), _or_never(one["log_c"]), int(one["began"]))

    def _step(self, name: str, window: Window) -> ColumnEvidence:
        state, column = self._states[name], window.columns.get(name)
        if name == CONTRACT:
            counts = np.array([window.rows - window.broken, window.broken], dtype=np.float64)
        elif column is None:
            counts = np.zeros(self._bets[name].log_factors.shape[1])
        else:
            counts = counts_of(column.sketch)
        log_e, features = self._bets[name].score(counts)
        threshold = self.log_threshold
        state.log_m = min(log_e + float(np.logaddexp(state.log_m, 0.0)), threshold + _CEILING)
        if state.log_c <= 0:
            state.began = self._windows
        state.log_c = min(log_e + max(state.log_c, 0.0), threshold + _CEILING)
        best = max(features, key=lambda feature: features[feature][0], default="")
        sizes = {} if column is None or name == CONTRACT else _effects(self._baseline[name], column)
        if name == CONTRACT:
            sizes = {"missing": (0.0, 0.0), "psi": None}
        return ColumnEvidence(column=name, log_m=state.log_m, log_e=log_e, alarm=state.log_m >= threshold, feature=best,
                              direction=features[best][1] if best else 1, began=state.began,
                              features={feature: value for feature, (value, _) in features.items()}, **sizes)


def _effects(before: Sketch, now: ColumnWindow) -> dict[str, Any]:
    """How far the column moved, in the sizes that people read."""
    a, b = before.count_array(), now.sketch.count_array()
    lost = before.missing + (before.infinite if isinstance(before, NumericSketch) else 0)
    few = coarsened(a, b) if isinstance(before, NumericSketch) else (a, b)     # 100 bins of few rows measure noise
    sizes: dict[str, Any] = {
        "psi": _number(distances.psi(*few)), "jensen_shannon": _number(distances.jensen_shannon(*few)),
        "missing": (lost / max(before.rows, 1), now.missing)}
    if isinstance(before, CategorySketch):
        sizes["unseen"] = (before.categories.other / max(before.categories.rows, 1), now.unseen)
        return sizes
    if isinstance(now.sketch, NumericSketch):
        sd, then, mean = before.moments.sd, before.moments.mean, now.sketch.moments.mean
        if sd and then is not None and mean is not None:
            sizes["shift_sd"] = _number((mean - then) / sd)
            sizes["wasserstein_sd"] = _number(distances.wasserstein(a, b, before.centres(now.sketch), sd))
    return sizes


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _or_none(value: float) -> float | None:
    return None if value == -math.inf else value


def _or_never(value: float | None) -> float:
    return -math.inf if value is None else float(value)
