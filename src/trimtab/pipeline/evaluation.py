"""What does an evaluation say?  The nouns: intervals, comparisons, slices, stability, gates, and their JSON.

Frozen values, no store and no chance. How each is found is `evaluate.py`, `slices.py`, `stability.py`, `gate.py` and
`latency.py`; how it looks to people is `report.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from trimtab.canon import Digest, finite
from trimtab.pipeline.model import Array, Index, Label, Task
from trimtab.stats.inputs import BINARY, MULTICLASS, REGRESSION
from trimtab.stats.interval import Interval

SCHEMA = "trimtab.evaluation/1"

_NAMES = {"mse": "MSE", "rmse": "RMSE", "mae": "MAE", "r2": "R²", "auc": "AUC", "f1": "F1", "log_loss": "log loss",
          "brier": "Brier score", "calibration": "calibration error"}


def metrics_of(task: Task) -> tuple[str, ...]:
    """The metric names that a task has, as gates spell them."""
    return {"regression": REGRESSION, "binary": BINARY, "multiclass": MULTICLASS}[task]


def shown_metric(metric: str) -> str:
    """How people see a metric's name.

    >>> shown_metric("mse"), shown_metric("log_loss"), shown_metric("recall")
    ('MSE', 'log loss', 'recall')
    """
    return _NAMES.get(metric, metric)


def number(value: float | None) -> str:
    """A figure with three to four significant digits, as every screen and report prints it.

    >>> [number(v) for v in (10.4512, 2961.31, 0.92549, 1234567.0, 0.000123456, 0.0, None)]
    ['10.45', '2,961', '0.9255', '1.235e+06', '0.0001235', '0', 'n/a']
    """
    if value is None or not math.isfinite(value):
        return "n/a"
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e6 or size < 1e-4:
        return f"{value:.4g}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 3 - math.floor(math.log10(size)))}f}"


def plus_minus(value: float, half: float) -> str:
    """A figure and its half-width, the half-width with two significant digits.

    >>> plus_minus(8.1234, 2.134), plus_minus(23.2, 16.4), plus_minus(2961.4, 455.2), plus_minus(1.0, 0.0)
    ('8.1 ± 2.1', '23 ± 16', '2,961 ± 455', '1.000 ± 0')
    """
    if not (math.isfinite(value) and math.isfinite(half)) or not 1e-6 < abs(half) < 1e6:
        return f"{number(value)} ± {number(half)}"
    places = max(0, 1 - math.floor(math.log10(abs(half))))
    return f"{value:,.{places}f} ± {half:,.{places}f}".replace("-", "−")


def bounds(interval: Interval) -> str:
    """`[9.02, 12.64]`: the two ends, with as many decimals as their value has.

    >>> bounds(Interval(value=10.452, low=9.02, high=12.641))
    '[9.02, 12.64]'
    """
    ends = (interval.low, interval.high)
    size = abs(interval.value)
    if not all(math.isfinite(end) for end in (*ends, size)) or not 1e-4 < size < 1e6:
        return f"[{number(ends[0])}, {number(ends[1])}]"
    places = min(6, max(0, 3 - math.floor(math.log10(size))))
    return f"[{ends[0]:,.{places}f}, {ends[1]:,.{places}f}]"


def p_value(p: float) -> str:
    """A p-value as people read it.

    >>> p_value(0.0312), p_value(1e-9)
    ('p = 0.031', 'p < 0.0001')
    """
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCard:
    """One candidate: what cross-validation said and what the held-out rows say."""

    name: str
    cv_mean: float | None
    cv_se: float | None
    test: Mapping[str, float] = field(default_factory=dict)
    interval: Interval | None = None          # of the selection metric
    error: str = ""                           # why it was not scored

    def to_json(self) -> dict[str, object]:
        """`{"cv": {mean, se}, "test": {metric: value}}`, with the interval of the selection metric."""
        return {"cv": {"mean": self.cv_mean, "se": self.cv_se}, "test": dict(self.test), "error": self.error,
                "interval": None if self.interval is None else self.interval.to_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The chosen model against another on the same rows. Positive `mean`: the chosen one is better.

    mean, low, high: in the selection metric's unit; p: two-sided; n: paired rows. Where `note` says why it was not
    tested, the numbers are NaN.
    """

    role: Literal["baseline", "beats", "candidate", "champion"]
    against: str
    metric: str
    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    n: int = 0
    note: str = ""
    fair: bool = True                         # False: the other model may have been trained on these rows

    @property
    def tested(self) -> bool:
        """Was there anything to compare?"""
        return math.isfinite(self.mean) and math.isfinite(self.p)

    @property
    def verdict(self) -> Literal["better", "worse", "tie", "not tested"]:
        """What the interval allows us to say: a tie where it holds zero."""
        if not self.tested:
            return "not tested"
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "tie"

    @property
    def words(self) -> str:
        """The comparison in one sentence.

        >>> Comparison(role="beats", against="linear", metric="mse", mean=8.1, low=6.0, high=10.2, p=1e-9, n=1000).words
        'MSE improves by 8.1 ± 2.1 (paired, n = 1,000)'
        """
        if not self.tested:
            return f"not tested: {self.note}" if self.note else "not tested"
        half = (self.high - self.low) / 2
        tail = f"(paired, n = {self.n:,})" + (f"; {self.note}" if self.note else "")
        name = shown_metric(self.metric)
        if self.verdict == "tie":
            return f"tie: {name} differs by {plus_minus(self.mean, half)} {tail}"
        verb = "improves" if self.verdict == "better" else "worsens"
        return f"{name} {verb} by {plus_minus(abs(self.mean), half)} {tail}"

    def to_json(self) -> dict[str, object]:
        """All fields, the verdict and the words."""
        return {"role": self.role, "against": self.against, "metric": self.metric, "mean": self.mean, "low": self.low,
                "high": self.high, "p": self.p, "n": self.n, "verdict": self.verdict, "words": self.words,
                "note": self.note, "fair": self.fair}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Rows that share something, and the mean loss on them.

    interval: simultaneous over all slices searched (so that the worst of many is not called by chance);
    p: adjusted for the search; overall: the mean loss of all rows.
    """

    where: str
    features: tuple[str, ...]
    metric: str
    interval: Interval
    overall: float
    p: float

    @property
    def verdict(self) -> Literal["worse", "too wide to call"]:
        """Worse only where both the interval and the adjusted p separate from the rest."""
        return "worse" if self.interval.low > self.overall and self.p <= 1 - self.interval.level \
            else "too wide to call"

    @property
    def words(self) -> str:
        """`vol_30d top decile   MSE 23 ± 16 (n = 100)   too wide to call; noted`."""
        half = (self.interval.high - self.interval.low) / 2
        ending = f"worse than overall {number(self.overall)}, {p_value(self.p)} over all slices" \
            if self.verdict == "worse" else "too wide to call; noted"
        figure = f"{shown_metric(self.metric)} {plus_minus(self.interval.value, half)} (n = {self.interval.n:,})"
        return f"{self.where}   {figure}   {ending}"

    def to_json(self) -> dict[str, object]:
        """All fields, the verdict and the words."""
        return {"where": self.where, "features": list(self.features), "metric": self.metric,
                **self.interval.to_json(), "overall": self.overall, "p": self.p, "verdict": self.verdict}


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceReport:
    """The slices searched, worst first, and what was not searched."""

    slices: tuple[Slice, ...] = ()
    searched: int = 0
    note: str = ""                            # what was not searched, and why

    @property
    def worst(self) -> Slice | None:
        """The slice with the strongest evidence of a larger loss."""
        return self.slices[0] if self.slices else None

    @property
    def words(self) -> str:
        """One line for the screen."""
        return f"worst: {self.worst.words}" if self.worst else f"not tested: {self.note}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StabilityCheck:
    """One way of shaking the model. `tested` False: `words` says why."""

    name: Literal["other splits", "input noise", "missing values", "row order"]
    tested: bool
    words: str
    values: tuple[float, ...] = ()

    def to_json(self) -> dict[str, object]:
        """All fields."""
        return {"tested": self.tested, "words": self.words, "values": list(self.values)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """The whole battery, in the order it is printed."""

    checks: tuple[StabilityCheck, ...] = ()

    def get(self, name: str) -> StabilityCheck:
        """One check by name. Raises LookupError."""
        for check in self.checks:
            if check.name == name:
                return check
        raise LookupError(f"no stability check {name!r}")

    @property
    def words(self) -> str:
        """`5 other splits 9.15–10.02 · 1% input noise +0.02 · …`."""
        return " · ".join(check.words for check in self.checks)

    def to_json(self) -> dict[str, object]:
        """Check by check."""
        return {check.name: check.to_json() for check in self.checks}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """One gate: its verdict, and why. `interval`: what was compared with `limit`; None where nothing was."""

    name: str
    verdict: Literal["pass", "fail", "not applicable"]
    reason: str
    interval: Interval | None = None
    limit: str = ""

    def to_json(self) -> dict[str, object]:
        """All fields."""
        return {"name": self.name, "verdict": self.verdict, "reason": self.reason, "limit": self.limit,
                "interval": None if self.interval is None else self.interval.to_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """All gates of one evaluation. `configured`: how many came from `trimtab.toml`."""

    gates: tuple[GateResult, ...]
    configured: int = 0

    @property
    def passed(self) -> bool:
        """True where no gate failed."""
        return all(gate.verdict != "fail" for gate in self.gates)

    @property
    def first_failure(self) -> str | None:
        """The first failing gate and its reason."""
        return next((f"{gate.name}: {gate.reason}" for gate in self.gates if gate.verdict == "fail"), None)

    @property
    def words(self) -> str:
        """`4 passed, 0 failed, 1 not applicable`, and a word where `trimtab.toml` names none."""
        count = {verdict: sum(gate.verdict == verdict for gate in self.gates)
                 for verdict in ("pass", "fail", "not applicable")}
        tail = "" if self.configured else "   (trimtab.toml names none: only beats_baseline and champion were checked)"
        return f"{count['pass']} passed, {count['fail']} failed, {count['not applicable']} not applicable{tail}"

    def to_json(self) -> dict[str, object]:
        """`{"passed", "configured", "first_failure", "gates": […]}`."""
        return {"passed": self.passed, "configured": self.configured, "first_failure": self.first_failure,
                "gates": [gate.to_json() for gate in self.gates]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The model's own predict on single rows, in milliseconds. `p99`: with its order-statistics interval."""

    p50_ms: float
    p99: Interval

    def to_json(self) -> dict[str, object]:
        """`{"p50_ms", "p99_ms", "p99_low_ms", "p99_high_ms", "calls"}`."""
        return {"p50_ms": self.p50_ms, "p99_ms": self.p99.value, "p99_low_ms": self.p99.low,
                "p99_high_ms": self.p99.high, "calls": self.p99.n}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The threshold above which the positive class is answered (binary only). Never chosen on held-out rows.

    cost: mean cost a held-out row at this threshold, with its interval; half_cost: the same at 0.5.
    """

    threshold: float
    chosen_on: str                            # "out-of-fold predictions of the training rows", …
    cost_false_negative: float
    cost_false_positive: float
    cost: Interval
    half_cost: float
    positive: Label

    def to_json(self) -> dict[str, object]:
        """All fields."""
        return {"threshold": self.threshold, "chosen_on": self.chosen_on, "positive": self.positive,
                "cost_false_negative": self.cost_false_negative, "cost_false_positive": self.cost_false_positive,
                "cost": self.cost.to_json(), "cost_at_half": self.half_cost}


def answered_codes(classes: Sequence[Label], answers: Array, decision: Decision | None) -> Index:
    """The class code that is answered for each row: the likeliest, or by the chosen threshold for two classes.

    answers: class probabilities, shape (rows, classes).
    """
    if decision is None:
        return np.asarray(answers.argmax(1), dtype=np.int64)
    positive = list(classes).index(decision.positive)
    return np.where(answers[:, positive] >= decision.threshold, positive, 1 - positive)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What the chosen model answered on the held-out rows.

    rows: shape (n,), rows of the dataset; y: shape (n,), values or class codes; answers: shape (n,) or (n, classes).
    """

    rows: Index
    y: Array | Index
    answers: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Everything that one opening of the held-out rows said about a run's candidates."""

    run: str
    model: str
    task: Task
    metric: str                               # the selection metric
    chosen: str
    classes: tuple[Label, ...]
    rows: int                                 # held out
    metrics: Mapping[str, Interval]           # of the chosen candidate
    candidates: Mapping[str, ScoreCard]
    paired: tuple[Comparison, ...]
    slices: SliceReport
    stability: Stability
    latency: Latency | None
    decision: Decision | None
    gates: GateReport
    openings: int                             # of these held-out rows, this one included
    newly_opened: bool
    predictions: Digest                       # blob: Parquet
    dataset: Digest
    split: Digest
    intervals: str                            # how they were found, in words

    @property
    def threshold(self) -> float | None:
        """The decision threshold for the positive class; None where there is none."""
        return self.decision.threshold if self.decision else None

    def to_json(self) -> dict[str, object]:
        """The evaluation as it is stored with a version. NaN becomes null."""
        value = finite({
            "schema": SCHEMA, "run": self.run, "model": self.model, "task": self.task, "metric": self.metric,
            "chosen": self.chosen, "classes": list(self.classes),
            "test": {"rows": self.rows, "intervals": self.intervals,
                     "metrics": {name: interval.to_json() for name, interval in self.metrics.items()}},
            "candidates": {name: card.to_json() for name, card in self.candidates.items()},
            "paired": [comparison.to_json() for comparison in self.paired],
            "slices": [part.to_json() for part in self.slices.slices],
            "slices_searched": self.slices.searched, "slices_note": self.slices.note,
            "stability": self.stability.to_json(),
            "latency": self.latency.to_json() if self.latency else None,
            "decision": self.decision.to_json() if self.decision else None,
            "gates": self.gates.to_json(), "openings": self.openings, "newly_opened": self.newly_opened,
            "predictions": self.predictions, "dataset": self.dataset, "split": self.split,
        })
        assert isinstance(value, dict)
        return value
