"""How good is a candidate on rows that it has not seen, and with which parameters?

The search for parameters and the score use the same folds of the training rows; the held-out test rows are never
touched. On many rows the search looks at a sample of each fold. The winner's score is therefore slightly optimistic
where a grid was searched; the honest number is the evaluation's, on the test rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trimtab.config import FeatureRule
from trimtab.pipeline import preprocess
from trimtab.pipeline.budget import OnProgress, Progress, Stopwatch
from trimtab.pipeline.candidates import Candidate
from trimtab.pipeline.fitting import FitFailed, answers, fitted, fold_loss
from trimtab.pipeline.folds import Fold, thin
from trimtab.pipeline.kernel import Pilot
from trimtab.pipeline.model import Learnable, Split
from trimtab.pipeline.preprocess import Treatment
from trimtab.pipeline.recipes import Situation

Params = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A candidate on the training rows of a dataset. `make(params)`: the unfitted estimator after preprocessing."""

    learnable: Learnable
    candidate: Candidate
    treatments: tuple[Treatment, ...]
    situation: Situation
    make: Callable[[Params], Any]

    def pipeline(self, params: Params) -> Any:
        """Preprocessing and estimator as one unfitted scikit-learn Pipeline over the encoded matrix."""
        from sklearn.pipeline import Pipeline

        return Pipeline([("prepare", preprocess.build(self.treatments)), ("model", self.make(params))])

    def through(self, make: Callable[[Params], Any]) -> Trial:
        """The same trial with another estimator."""
        return replace(self, make=make)


def trial(learnable: Learnable, split: Split, candidate: Candidate, *, rules: Mapping[str, FeatureRule] | None = None,
          threads: int = 1) -> Trial:
    """Set a candidate before the training rows: its preprocessing and what its grid depends on."""
    X, y = learnable.X[split.train], learnable.y[split.train]
    treatments = preprocess.plan(learnable.features, X, candidate.style, rules)
    target_sd = float(np.std(y)) if learnable.task == "regression" else 1.0
    situation = Situation(task=learnable.task, rows=len(X), width=preprocess.width(treatments), seed=split.seed,
                          target_sd=target_sd or 1.0, threads=threads)
    return Trial(learnable=learnable, candidate=candidate, treatments=treatments, situation=situation,
                 make=lambda params: candidate.build(params, situation))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Mean loss on each fold, and the sentences that the fits left behind."""

    losses: tuple[float, ...]
    notes: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """Mean over folds."""
        return float(np.mean(self.losses))

    @property
    def se(self) -> float | None:
        """Standard error of the mean over folds: sd / √folds. Folds share rows, so it is a guide, not a bound."""
        return float(np.std(self.losses, ddof=1) / np.sqrt(len(self.losses))) if len(self.losses) > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the search settled on. `scores` where it has already scored the winner on the full folds."""

    params: dict[str, Any]
    scores: Scores | None = None
    notes: tuple[str, ...] = ()


class Steps:
    """Counts the fits of one stage of one candidate and tells how far it is."""

    def __init__(self, name: str, stage: str, total: int, watch: Stopwatch, on_progress: OnProgress | None) -> None:
        self._name, self._stage, self._total, self._watch, self._tell = name, stage, total, watch, on_progress
        self._done, self._began = 0, watch.timer()

    def begin(self) -> None:
        """Before a fit. Raises OverBudget when no time is left."""
        self._watch.check(f"{self._name} was through ({self._done} of {self._total} fits of its {self._stage})")
        if self._done == 0:
            self._say(None)

    def end(self) -> None:
        """After a fit."""
        self._done += 1
        took = self._watch.timer() - self._began
        self._say(took / self._done * (self._total - self._done))

    def _say(self, eta_s: float | None) -> None:
        if self._tell is not None:
            self._tell(Progress(candidate=self._name, done=self._done, total=self._total, eta_s=eta_s,
                                stage=self._stage))


def score(at: Trial, params: Params, folds: Sequence[Fold], steps: Steps) -> Scores:
    """Fit and score on each fold. Raises FitFailed naming the fold, OverBudget between folds."""
    data, losses, notes = at.learnable, list[float](), list[str]()
    for number, fold in enumerate(folds, 1):
        steps.begin()
        try:
            pipeline, said = fitted(at.pipeline(params), data.X[fold.fit], data.y[fold.fit])
            answered = answers(pipeline, data.X[fold.score], data.task, len(data.classes))
        except FitFailed as problem:
            raise FitFailed(f"fold {number} of {len(folds)}: {problem}") from problem
        losses.append(fold_loss(data.task, data.y[fold.score], answered))
        notes.extend(said)
        if data.task != "regression" and len(absent := _absent(data, fold)) > 0:
            notes.append(f"fold {number}: no training row of class {', '.join(absent)}")
        steps.end()
    return Scores(losses=tuple(losses), notes=tuple(dict.fromkeys(notes)))


def search(at: Trial, folds: tuple[Fold, ...], *, watch: Stopwatch, on_progress: OnProgress | None = None) -> Found:
    """Choose among the candidate's settings by mean loss; on a draw the earlier, milder one.

    Looks at no more than the recipe's `search_rows` rows of a fold, drawn with the split's seed. A setting whose fit
    fails is passed over with a note; FitFailed when all of them fail.
    """
    candidate = at.candidate
    settings = candidate.settings(at.situation)
    if len(settings) == 1:
        return Found(params=settings[0])
    rng = np.random.default_rng(at.situation.seed)
    small = thin(folds, candidate.search_rows, rng, candidate.search_folds)
    whole = not candidate.quick and len(small) == len(folds) and all(
        len(a.fit) == len(b.fit) and len(a.score) == len(b.score) for a, b in zip(small, folds, strict=True))
    steps = Steps(candidate.name, "search", len(settings) * len(small), watch, on_progress)
    best: tuple[dict[str, Any], Scores] | None = None
    failed: list[FitFailed] = []
    for setting in settings:
        quick = {key: value for key, value in candidate.quick.items() if key not in candidate.pinned}
        try:
            scores = score(at, {**setting, **quick}, small, steps)
        except FitFailed as problem:
            failed.append(problem)
            continue
        if best is None or scores.mean < best[1].mean:
            best = setting, scores
    if best is None:
        raise failed[0]
    notes = (f"{len(failed)} of {len(settings)} settings could not be fitted: {failed[0]}",) if failed else ()
    return Found(params=best[0], scores=best[1] if whole else None, notes=notes)


def pilot(at: Trial, params: Params, folds: tuple[Fold, ...], watch: Stopwatch) -> Pilot:
    """Time one fit on a sample of the last fold. Raises FitFailed."""
    rng = np.random.default_rng(at.situation.seed)
    rows = thin(folds, at.candidate.search_rows, rng, 1)[0].fit
    start = watch.timer()
    fitted(at.pipeline(params), at.learnable.X[rows], at.learnable.y[rows])
    return Pilot(rows=len(rows), seconds=watch.timer() - start)


def _absent(data: Learnable, fold: Fold) -> list[str]:
    present = np.unique(data.y[fold.fit]).astype(np.int64)
    return [str(data.classes[c]) for c in range(len(data.classes)) if c not in present]
