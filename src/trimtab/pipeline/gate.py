"""May this candidate be registered as good enough?  Pure: values in, verdicts with reasons out.

A limit is compared with the conservative end of the metric's interval: `upper` with the upper end, `lower` with the
lower one, so that a lucky sample does not pass. Two gates are always there: `beats_baseline` (a model that can't be
told from the trivial one is not a model) and `champion` (not worse than what serves now, on the same rows).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from trimtab.config import Gates, Limit, suggest
from trimtab.errors import ConfigInvalid
from trimtab.pipeline.choice import BASELINE
from trimtab.pipeline.evaluation import (
    Comparison,
    GateReport,
    GateResult,
    Latency,
    bounds,
    metrics_of,
    number,
    p_value,
)
from trimtab.pipeline.model import Task
from trimtab.stats.interval import Interval

DEFAULT_P = 0.05


def check_names(gates: Gates, *, task: Task, candidates: Sequence[str]) -> None:
    """Refuse a gate that names no metric of `task`, or no candidate, before any work. Raises ConfigInvalid."""
    known = (*metrics_of(task), "beats", "latency_p99_ms")
    for name in gates.limits:
        if name not in known:
            raise ConfigInvalid(f"trimtab.toml: [gates] {name!r} is not a metric of a {task} model"
                                f"{suggest(name, known)}", key=f"gates.{name}")
    names = tuple(dict.fromkeys((*candidates, BASELINE)))
    if gates.beats is not None and gates.beats.baseline not in names:
        raise ConfigInvalid(f"trimtab.toml: [gates] beats: {gates.beats.baseline!r} is not a candidate"
                            f"{suggest(gates.beats.baseline, names)}", key="gates.beats.baseline")


def judge(gates: Gates, *, task: Task, chosen: str, candidates: Sequence[str], metrics: Mapping[str, Interval],
          paired: Sequence[Comparison], latency: Latency | None) -> GateReport:
    """All gates on one evaluation.

    metrics: of the chosen candidate on the held-out rows; paired: the comparisons that were made; latency: None where
    it was not measured. Raises ConfigInvalid as `check_names` does.
    """
    check_names(gates, task=task, candidates=candidates)
    results = [_limit(name, limit, metrics.get(name)) for name, limit in gates.limits.items()]
    if gates.beats is not None:
        results.append(_beats("beats", gates.beats.baseline, gates.beats.p, chosen, paired))
    if gates.latency_p99_ms is not None:
        results.append(_latency(gates.latency_p99_ms, latency))
    configured = len(results)
    results.append(_beats("beats_baseline", BASELINE, DEFAULT_P, chosen, paired))
    results.append(_champion(paired))
    return GateReport(gates=tuple(results), configured=configured)


def _limit(name: str, limit: Limit, interval: Interval | None) -> GateResult:
    asked = " and ".join(f"{sign} {value:g}" for sign, value in (("≥", limit.lower), ("≤", limit.upper))
                         if value is not None)
    if interval is None or not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return GateResult(name=name, verdict="fail", interval=interval, limit=asked,
                          reason=f"{name} could not be computed on these rows, so the limit can't be shown to hold")
    shown = f"{number(interval.value)} {bounds(interval)}"
    if limit.upper is not None and interval.high > limit.upper:
        return _over(name, interval, asked, f"{shown}: the interval's upper end {number(interval.high)} is above the "
                                            f"limit {limit.upper:g}")
    if limit.lower is not None and interval.low < limit.lower:
        return _over(name, interval, asked, f"{shown}: the interval's lower end {number(interval.low)} is below the "
                                            f"limit {limit.lower:g}")
    return GateResult(name=name, verdict="pass", interval=interval, limit=asked,
                      reason=f"{shown}: the whole interval is {asked}")


def _over(name: str, interval: Interval, asked: str, reason: str) -> GateResult:
    return GateResult(name=name, verdict="fail", interval=interval, limit=asked, reason=reason)


def _beats(name: str, baseline: str, p: float, chosen: str, paired: Sequence[Comparison]) -> GateResult:
    asked = f"better than {baseline} at p ≤ {p:g}"
    if chosen == baseline:
        trivial = baseline == BASELINE
        return GateResult(name=name, verdict="fail" if trivial else "not applicable", limit=asked,
                          reason="the trivial baseline itself was chosen: no candidate learned anything"
                          if trivial else f"{baseline} is itself the chosen candidate")
    found = next((one for one in paired if one.against == baseline and one.role != "champion"), None)
    if found is None or not found.tested:
        why = found.note if found is not None and found.note else "it was not scored"
        return GateResult(name=name, verdict="fail", limit=asked, reason=f"can't be compared with {baseline}: {why}")
    interval = Interval(value=found.mean, low=found.low, high=found.high, n=found.n)
    good = found.mean > 0 and found.p <= p
    reason = f"{found.words}, {p_value(found.p)}"
    return GateResult(name=name, verdict="pass" if good else "fail", interval=interval, limit=asked,
                      reason=reason if good else f"{reason}; asked was p ≤ {p:g}")


def _latency(limit_ms: float, latency: Latency | None) -> GateResult:
    asked = f"≤ {limit_ms:g} ms"
    if latency is None:
        return GateResult(name="latency_p99_ms", verdict="fail", limit=asked, reason="latency was not measured")
    p99 = latency.p99
    good = p99.high <= limit_ms
    return GateResult(
        name="latency_p99_ms", verdict="pass" if good else "fail", interval=p99, limit=asked,
        reason=f"p99 {number(p99.value)} ms {bounds(p99)} over {p99.n:,} single rows: the interval's upper end is "
               f"{'within' if good else 'above'} {limit_ms:g} ms")


def _champion(paired: Sequence[Comparison]) -> GateResult:
    asked = "not worse than the champion"
    found = next((one for one in paired if one.role == "champion"), None)
    if found is None:
        return GateResult(name="champion", verdict="not applicable", limit=asked, reason="there is no champion yet")
    if not found.tested:
        return GateResult(name="champion", verdict="not applicable", limit=asked, reason=found.words)
    interval = Interval(value=found.mean, low=found.low, high=found.high, n=found.n)
    if not found.fair:
        return GateResult(name="champion", verdict="not applicable", limit=asked, interval=interval,
                          reason=f"{found.against}: {found.words}")
    bad = found.verdict == "worse"
    return GateResult(name="champion", verdict="fail" if bad else "pass", limit=asked, interval=interval,
                      reason=f"{found.against}: {found.words}, {p_value(found.p)}")

