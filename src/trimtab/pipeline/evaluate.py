"""What do the held-out rows say about a run's candidates?  One counted opening answers for all of them.

The chosen candidate's metrics with their intervals, every candidate's scores, paired comparisons, slices, stability,
latency and the gates' verdicts. The decision threshold is chosen before, on training rows only. Rows that depend on
each other (groups, time) are resampled together.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trimtab.canon import Digest
from trimtab.clock import Clock
from trimtab.config import ProjectConfig
from trimtab.errors import CheckFailed, ContractViolation, UntrustedModel, UsageError
from trimtab.flavors import sklearn as flavor
from trimtab.pipeline import gate, latency, slices, stability
from trimtab.pipeline.candidates import resolve
from trimtab.pipeline.choice import BASELINE
from trimtab.pipeline.custom import load_function
from trimtab.pipeline.evaluation import (
    Comparison,
    Decision,
    Evaluation,
    GateReport,
    HeldOut,
    Latency,
    ScoreCard,
)
from trimtab.pipeline.explain import explain
from trimtab.pipeline.figures import answered_codes
from trimtab.pipeline.fitting import FitFailed, answers
from trimtab.pipeline.model import Array, CandidateResult, Index, Label, Learnable, Split, TrainReport
from trimtab.pipeline.openings import open_held_out
from trimtab.pipeline.report import Explained
from trimtab.pipeline.stability import Refit, Refits
from trimtab.pipeline.training import refitter
from trimtab.registry.bundle import Bundle
from trimtab.stats.bootstrap import score_intervals
from trimtab.stats.interval import Interval
from trimtab.stats.losses import row_losses
from trimtab.stats.paired import paired_difference
from trimtab.stats.resample import Units, block_length
from trimtab.stats.threshold import choose_threshold
from trimtab.store.blobs import BlobStore, put_bytes, read_bytes
from trimtab.store.db import Database

BUDGET_S = 120.0
_LEAST_UNITS = 20                             # blocks of time, where the series allows it
_LATENCY_S = 5.0                              # where no gate asks for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The version that serves now. frame: the dataset's raw columns, all rows; split: that of its own evaluation."""

    bundle: Bundle
    frame: Any                                # polars.DataFrame
    split: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """An evaluation, and what the report draws besides: answers of the chosen model, and reasons for some."""

    evaluation: Evaluation
    held_out: HeldOut
    explained: tuple[Explained, ...] = ()


def evaluate(train: TrainReport, data: Learnable, split: Split, project: ProjectConfig, *, blobs: BlobStore,
             db: Database, clock: Clock, by: str, rng: np.random.Generator, champion: Champion | None = None,
             refit: Refit | None = None, budget_s: float = BUDGET_S, resamples: int = 1000,
             timer: Callable[[], float] = time.perf_counter, say: Callable[[str], None] = lambda _: None) -> Evaluated:
    """Open the held-out rows of `split` for the run `train` and judge its candidates.

    data, split: those that `train` was made from. refit: how the chosen candidate is fitted on other rows; by default
    as it was trained. budget_s: seconds for those refits. say: told what is being done. Raises ConfigInvalid for gates
    that can't be (before anything is opened), UntrustedModel, FitFailed or CheckFailed where the chosen model can't be
    judged.
    """
    names = [one.name for one in train.candidates]
    gate.check_names(project.gates, task=train.task, candidates=names)
    if len(split.test) == 0:
        raise CheckFailed("no row is held out, so nothing can be evaluated; set split = { test = 0.2 } in trimtab.toml")
    chosen = next(one for one in train.candidates if one.name == train.chosen)
    positive = _positive(project.model.positive, data.classes)
    say("refitting on other splits of the training rows")
    refits = stability.refit_elsewhere(data, split, refit or _refitter(chosen, data, split, project), rng=rng,
                                       budget_s=budget_s, forecast_s=chosen.fit_s)
    models = {one.name: _load(one, blobs, project) for one in train.candidates if one.model is not None}
    model = models.get(train.chosen)
    if not hasattr(model, "predict"):
        raise CheckFailed(f"{train.chosen} can't be judged: {model or chosen.error or 'it has no model'}")
    threshold, chosen_on = _threshold(refits, model, data, split, project, positive)

    opening = open_held_out(db, clock, dataset=train.dataset, split=train.split, run=train.run, by=by)
    test = split.test
    if split.kind == "time" and data.times is not None:
        test = test[np.argsort(data.times[test], kind="stable")]
    X, y = data.X[test], data.y[test]
    groups = data.groups[test] if split.kind == "group" and data.groups is not None else None

    def predict(rows: Array) -> Array:
        return answers(model, rows, data.task, len(data.classes))

    def score(guess: Array, at: float | None) -> dict[str, Interval]:
        return score_intervals(data.task, y, guess, rng=rng, resamples=resamples, groups=groups, blocks=blocks,
                               threshold=at, positive=positive)

    say(f"scoring {len(models)} candidates on {len(test):,} held-out rows")
    guesses = {train.chosen: predict(X)}
    losses = {train.chosen: row_losses(data.task, y, guesses[train.chosen])}
    blocks = block_length(losses[train.chosen]) if split.kind == "time" else None
    metrics = score(guesses[train.chosen], threshold)
    cards = {}
    for one in train.candidates:
        made, failed = models.get(one.name), one.error
        if one.name != train.chosen and hasattr(made, "predict"):
            try:
                guesses[one.name] = answers(made, X, data.task, len(data.classes))
                losses[one.name] = row_losses(data.task, y, guesses[one.name])
            except FitFailed as problem:
                failed = str(problem)
        elif isinstance(made, str):
            failed = made
        found = metrics if one.name == train.chosen else score(guesses[one.name], None) if one.name in guesses else {}
        cards[one.name] = ScoreCard(name=one.name, cv_mean=one.mean, cv_se=one.se, error=failed,
                                    interval=found.get(train.metric),
                                    test={name: interval.value for name, interval in found.items()})
    say("comparing, slicing and shaking the chosen model")
    versus = _Paired(train.metric, losses[train.chosen], split.kind, groups)
    clusters = groups if split.kind != "time" else _clusters(losses[train.chosen])
    partial = Evaluation(
        run=train.run, model=train.model, task=train.task, metric=train.metric, chosen=train.chosen,
        classes=data.classes, rows=len(test), metrics=metrics, candidates=cards,
        paired=_comparisons(train, project, cards, losses, versus, champion, data, test),
        slices=slices.find_slices(X, losses[train.chosen], data.features, metric=train.metric,
                                  reference=data.X[split.train], rng=rng, clusters=clusters),
        stability=stability.shake(task=data.task, predict=predict, X=X, y=y, reference=data.X[split.train],
                                  features=data.features, refits=refits, kind=split.kind, rng=rng),
        latency=_latency(model, X, project, timer),
        decision=None if threshold is None else _decision(
            threshold, chosen_on, y == positive, guesses[train.chosen][:, positive], project, data.classes[positive],
            lambda cost: _mean_interval(cost, rng, resamples, groups, blocks)),
        gates=GateReport(gates=()), openings=opening.count, newly_opened=opening.new, predictions=train.dataset,
        dataset=train.dataset, split=train.split, intervals=_how(split.kind, len(test), groups, blocks))
    judged = gate.judge(project.gates, task=train.task, chosen=train.chosen, candidates=names, metrics=metrics,
                        paired=partial.paired, latency=partial.latency)
    table = _store_predictions(blobs, partial, test, y, guesses[train.chosen])
    held_out = HeldOut(rows=test, y=y, answers=guesses[train.chosen])
    return Evaluated(evaluation=replace(partial, gates=judged, predictions=table), held_out=held_out,
                     explained=explain(model, data, split, held_out))


def _positive(asked: Label | None, classes: Sequence[Label]) -> int:
    """The code of the positive class: the one that was asked for, else the last."""
    return list(classes).index(asked) if asked is not None and asked in classes else max(len(classes) - 1, 1)


def _refitter(chosen: CandidateResult, data: Learnable, split: Split, project: ProjectConfig) -> Refit:
    train = project.train
    found = resolve(chosen.name, data.task, root=project.root, params=train.params.get(chosen.name))
    return refitter(data, split, found, chosen.params, threads=train.threads, memory_bytes=train.budget.memory_bytes,
                    rules=project.features)


def _load(one: CandidateResult, blobs: BlobStore, project: ProjectConfig) -> Any:
    """The fitted pipeline, or the sentence that says why it can't be loaded."""
    assert one.model is not None
    if ":" in one.name:
        load_function(one.name, project.root)  # so that the model's own types can be found
    try:
        return flavor.load(read_bytes(blobs, one.model), trusted=project.model.trusted)
    except UntrustedModel as problem:
        return str(problem)


def _threshold(refits: Refits, model: Any, data: Learnable, split: Split, project: ProjectConfig,
               positive: int) -> tuple[float | None, str]:
    """The decision threshold of a binary classifier, from training rows alone, and which of them."""
    if data.task != "binary":
        return None, ""
    if refits.rows is not None and refits.predictions is not None:
        rows, guess = refits.rows, refits.predictions
        where = f"out-of-fold predictions of {len(rows):,} training rows"
    else:
        rows, guess = split.train, answers(model, data.X[split.train], data.task, len(data.classes))
        where = f"the model's own training rows, which flatter it ({refits.why_not})"
    found = choose_threshold(data.y[rows] == positive, guess[:, positive], project.decision.cost_false_negative,
                             project.decision.cost_false_positive)
    return found.value, where


def _decision(threshold: float, chosen_on: str, truth: Any, p: Array, project: ProjectConfig, label: Label,
              interval: Callable[[Array], Interval]) -> Decision:
    missed, alarm = project.decision.cost_false_negative, project.decision.cost_false_positive

    def cost(at: float) -> Array:
        return np.where(truth, missed * (p < at), alarm * (p >= at)).astype(np.float64)

    return Decision(threshold=threshold, chosen_on=chosen_on, cost_false_negative=missed, cost_false_positive=alarm,
                    cost=interval(cost(threshold)), half_cost=float(cost(0.5).mean()), positive=label)


def _mean_interval(values: Array, rng: np.random.Generator, resamples: int, groups: Index | None,
                   blocks: int | None) -> Interval:
    """The mean of values ≥ 0 with its bootstrap interval: the MAE of predicting 0 for them."""
    return score_intervals("regression", values, np.zeros(len(values)), rng=rng, resamples=resamples, groups=groups,
                           blocks=blocks)["mae"]


@dataclass(frozen=True, slots=True)
class _Paired:
    """Compares row losses with those of the chosen model."""

    metric: str
    chosen: Array
    kind: str
    groups: Index | None

    def against(self, role: Any, name: str, losses: Array, note: str = "", fair: bool = True) -> Comparison:
        found = paired_difference(losses, self.chosen, groups=self.groups, blocks=_stretch(losses - self.chosen)
                                  if self.kind == "time" else None)
        return Comparison(role=role, against=name, metric=self.metric, mean=found.mean, low=found.low, high=found.high,
                          p=found.p, n=found.n, note=note, fair=fair)


def _stretch(series: Array) -> int:
    """Rows of a block whose mean is taken as independent of the next one's: three times what hangs together."""
    least = block_length(series)
    return max(least, min(3 * least, len(series) // _LEAST_UNITS), 1)


def _clusters(losses: Array) -> Index:
    return Units(len(losses), blocks=_stretch(losses)).clusters()


def _comparisons(train: TrainReport, project: ProjectConfig, cards: dict[str, ScoreCard], losses: dict[str, Array],
                 versus: _Paired, champion: Champion | None, data: Learnable, test: Index) -> tuple[Comparison, ...]:
    """Against every other candidate (the baseline and the one of `beats` in their roles), and against the champion."""
    beats = project.gates.beats.baseline if project.gates.beats else None
    found = []
    for name in cards:
        if name == train.chosen:
            continue
        role: Any = "baseline" if name == BASELINE else "beats" if name == beats else "candidate"
        if name in losses:
            found.append(versus.against(role, name, losses[name]))
        else:
            found.append(Comparison(role=role, against=name, metric=train.metric,
                                    note=f"{name} has no model: {cards[name].error or 'it was not trained'}"))
    if champion is not None:
        found.append(_champion(train, champion, versus, data, test))
    return tuple(found)


def _champion(train: TrainReport, champion: Champion, versus: _Paired, data: Learnable, test: Index) -> Comparison:
    bundle = champion.bundle
    name = f"champion {bundle.name}".strip()

    def not_tested(why: str) -> Comparison:
        return Comparison(role="champion", against=name, metric=train.metric, note=why)

    if bundle.task != data.task or set(bundle.classes) != set(data.classes):
        return not_tested("the champion answers another question (task or classes differ)")
    try:
        answered = bundle.predict_frame(champion.frame[test.tolist()])
    except (ContractViolation, UsageError) as problem:
        return not_tested(f"the champion can't read these rows: {problem}")
    if data.task == "regression":
        guess = np.asarray(answered.values, dtype=np.float64)
    elif answered.probabilities is None:
        return not_tested("the champion gives no probabilities")
    else:
        guess = answered.probabilities[:, [bundle.classes.index(label) for label in data.classes]]
    losses = row_losses(data.task, data.y[test], guess)
    if not np.isfinite(losses).all():
        return not_tested("the champion's answers are not all finite")
    fair = champion.split == train.split
    return versus.against("champion", name, losses, fair=fair, note="" if fair else
                          "not the split that the champion was trained on, so it may have seen these rows")


def _latency(model: Any, X: Array, project: ProjectConfig, timer: Callable[[], float]) -> Latency:
    ask = getattr(model, "predict_proba", model.predict)
    asked = project.gates.latency_p99_ms is not None
    return latency.measure(ask, X, now_s=timer, calls=latency.CALLS if asked else latency.LEAST_CALLS,
                           budget_s=30.0 if asked else _LATENCY_S)


def _how(kind: str, rows: int, groups: Index | None, blocks: int | None) -> str:
    if groups is not None:
        return f"Intervals are 95%, from a bootstrap that draws whole groups ({len(np.unique(groups)):,} of them)."
    if blocks is not None:
        return f"Intervals are 95%, from a bootstrap that draws stretches of {blocks} rows in time order."
    return "Intervals are 95%, from a bootstrap over rows (Wilson's for plain shares of rows)."


def _store_predictions(blobs: BlobStore, evaluation: Evaluation, test: Index, y: Any, guess: Array) -> Digest:
    """One Parquet table: row (position in the dataset, from 0), y, prediction, and p_<class> for classes."""
    import polars as pl

    columns: dict[str, Any] = {"row": test}
    if evaluation.task == "regression":
        columns |= {"y": y, "prediction": guess}
    else:
        labels = pl.Series(list(evaluation.classes))
        columns |= {"y": labels.gather(y.astype(np.int64)),
                    "prediction": labels.gather(answered_codes(evaluation, guess))}
        columns |= {f"p_{label}": guess[:, code] for code, label in enumerate(evaluation.classes)}
    out = io.BytesIO()
    pl.DataFrame(columns).write_parquet(out, compression="zstd")
    return put_bytes(blobs, out.getvalue())
