"""What does one candidate come to: its parameters, its score, its fitted model?

Pure but for time: no store. `train.py` runs it for each candidate, records and saves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from trimtab.config import FeatureRule
from trimtab.errors import OverBudget
from trimtab.pipeline import preprocess
from trimtab.pipeline.budget import OnProgress, Stopwatch, shown_bytes, shown_seconds
from trimtab.pipeline.candidates import Candidate
from trimtab.pipeline.crossval import Found, Scores, Steps, Trial, pilot, score, search, trial
from trimtab.pipeline.fitting import FitFailed, answers, fitted
from trimtab.pipeline.folds import Fold, folds
from trimtab.pipeline.formula import formula
from trimtab.pipeline.kernel import Forecast, KernelFamily, Pilot, forecast
from trimtab.pipeline.model import Array, Index, Learnable, Split
from trimtab.pipeline.nystroem import FEWEST, approximated, landmarks, nystroem_forecast, sentence

_PILOT_FROM = 4                               # a fit on this many times the search's rows is forecast first


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A candidate that made it. `estimator`: Pipeline over the encoded matrix, fitted on all training rows."""

    estimator: Any
    params: dict[str, Any]
    scores: Scores
    formula: str
    preprocessing: tuple[str, ...]
    notes: tuple[str, ...] = ()
    fit_s: float = 0.0                        # wall seconds of the fit on all training rows


def train_one(learnable: Learnable, split: Split, candidate: Candidate, *, k: int = 5, threads: int = 1,
              memory_bytes: int = 2**31, rules: Mapping[str, FeatureRule] | None = None, watch: Stopwatch,
              on_progress: OnProgress | None = None) -> Trained:
    """Search, cross-validate and refit one candidate on the training rows.

    Raises FitFailed or OverBudget with the sentence that is shown instead of a result.
    """
    from threadpoolctl import threadpool_limits

    watch.check(f"{candidate.name} was begun")
    with threadpool_limits(limits=threads):
        made, notes = folds(learnable, split, k)
        at = trial(learnable, split, candidate, rules=rules, threads=threads)
        found = search(at, made, watch=watch, on_progress=on_progress)
        at, found, said = _within(at, found, made, memory_bytes, watch)
        scores = found.scores
        if scores is None:
            scores = score(at, found.params, made, Steps(candidate.name, "folds", len(made), watch, on_progress))
        steps = Steps(candidate.name, "refit", 1, watch, on_progress)
        steps.begin()
        began = watch.timer()
        try:
            estimator, warned = fitted(at.pipeline(found.params), learnable.X[split.train], learnable.y[split.train])
        except FitFailed as problem:
            raise FitFailed(f"all training rows: {problem}") from problem
        fit_s = watch.timer() - began
        steps.end()
    return Trained(
        fit_s=fit_s, estimator=estimator, scores=scores,
        params={key: _plain(value) for key, value in found.params.items()},
        formula=formula(estimator, learnable.features, learnable.classes),
        preprocessing=preprocess.lines(at.treatments) if candidate.style != "none" else (),
        notes=tuple(dict.fromkeys([*notes, *said, *found.notes, *scores.notes, *warned])))


Predict = Callable[[Array], Array]
Refit = Callable[[Index, int], Predict]


def refitter(learnable: Learnable, split: Split, candidate: Candidate, params: Mapping[str, Any], *, threads: int = 1,
             memory_bytes: int = 2**31, rules: Mapping[str, FeatureRule] | None = None) -> Refit:
    """(rows to train on, seed) → the fitted model's answers: what the stability checks of `stability.py` ask for."""
    def again(rows: Index, seed: int) -> Predict:
        model = refit(learnable, replace(split, train=rows, seed=seed), candidate, params, threads=threads,
                      memory_bytes=memory_bytes, rules=rules)
        return lambda X: answers(model, X, learnable.task, len(learnable.classes))
    return again


def refit(learnable: Learnable, split: Split, candidate: Candidate, params: Mapping[str, Any], *, threads: int = 1,
          memory_bytes: int = 2**31, rules: Mapping[str, FeatureRule] | None = None) -> Any:
    """The candidate with known parameters, fitted on `split.train` (another split's, say): for stability checks.

    `params` as in CandidateResult.params ("landmarks" means Nyström's approximation again). Raises FitFailed.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=threads):
        at = trial(learnable, split, candidate, rules=rules, threads=threads)
        if "landmarks" in params:
            count = min(int(params["landmarks"]), max(1, len(split.train) // 2))
            at = _through_nystroem(at, cast(KernelFamily, candidate.kernel), count)
        return fitted(at.pipeline(params), learnable.X[split.train], learnable.y[split.train])[0]


def _within(at: Trial, found: Found, made: tuple[Fold, ...], memory_bytes: int,
            watch: Stopwatch) -> tuple[Trial, Found, list[str]]:
    """Forecast what is to come; a kernel machine over budget is approximated, another is given up (OverBudget)."""
    candidate, rows = at.candidate, at.situation.rows
    if candidate.kernel:
        return _kernel_within(at, found, made, memory_bytes, watch)
    if found.scores is None and candidate.family != "baseline" and rows > _PILOT_FROM * candidate.search_rows:
        measured = pilot(at, found.params, made, watch)
        seconds = _grown(measured, rows, 1.1)
        watch.afford(_all(seconds, rows, made), f"{candidate.name} on {rows:,} rows")
    return at, found, []


def _kernel_within(at: Trial, found: Found, made: tuple[Fold, ...], memory_bytes: int,
                   watch: Stopwatch) -> tuple[Trial, Found, list[str]]:
    family, rows = cast(KernelFamily, at.candidate.kernel), at.situation.rows
    measured = None if family == "kernel_ridge" else pilot(at, found.params, made, watch)
    expected = forecast(rows, at.situation.width, family, measured)
    seconds = _all(expected.seconds, rows, made) if found.scores is None else expected.seconds
    if expected.memory_bytes > memory_bytes:
        because = (f"one fit on {rows:,} rows needs {shown_bytes(expected.memory_bytes)}, over [train.budget] memory "
                   f"({shown_bytes(memory_bytes)})")
    elif seconds > watch.left_s:
        because = (f"{rows:,} rows need about {shown_seconds(seconds)}, over what is left of [train.budget] minutes "
                   f"({shown_seconds(max(watch.left_s, 0))})")
    else:
        fits = f"{shown_bytes(expected.memory_bytes)} a fit, budget {shown_bytes(memory_bytes)}"
        return at, found, [f"{expected.what}, forecast ok: {fits}"]
    count, expected = _affordable(family, at, made, memory_bytes, watch)
    watch.afford(_all(expected.seconds, rows, made), f"{at.candidate.name}, even approximated,")
    return (_through_nystroem(at, family, count), Found(params={**found.params, "landmarks": count}, notes=found.notes),
            [sentence(because, family, expected, count)])


def _affordable(family: KernelFamily, at: Trial, made: tuple[Fold, ...], memory_bytes: int,
                watch: Stopwatch) -> tuple[int, Forecast]:
    """As many landmark rows as memory and the time that is left allow. Raises OverBudget where these are too few."""
    rows, width = at.situation.rows, at.situation.width
    some = max(1, min(len(fold.fit) for fold in made) // 2)    # the first fold of a time split is small
    count = min(landmarks(rows, memory_bytes), some)
    if count < min(FEWEST, some):
        least = nystroem_forecast(rows, width, family, FEWEST).memory_bytes
        raise OverBudget(f"{at.candidate.name} on {rows:,} rows, even approximated with {FEWEST} landmark rows, needs "
                         f"{shown_bytes(least)}, over [train.budget] memory ({shown_bytes(memory_bytes)}); raise it, "
                         "or use fewer rows")
    expected = nystroem_forecast(rows, width, family, count)
    while count // 2 >= FEWEST and _all(expected.seconds, rows, made) > watch.left_s:
        count //= 2
        expected = nystroem_forecast(rows, width, family, count)
    return count, expected


def _through_nystroem(at: Trial, family: KernelFamily, count: int) -> Trial:
    return at.through(lambda params: approximated(family, params, at.situation, count))


def _grown(measured: Pilot, rows: int, power: float) -> float:
    return measured.seconds * float((rows / measured.rows) ** power)


def _all(seconds: float, rows: int, made: tuple[Fold, ...]) -> float:
    """Seconds of every fold and the refit, when one fit on all rows takes `seconds`."""
    return seconds * (1 + sum(len(fold.fit) / rows for fold in made))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
