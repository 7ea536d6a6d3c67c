"""What do the held-out rows say about a run's candidates?  One counted opening answers for all of them.

The chosen candidate's metrics with their intervals, every candidate's scores, paired comparisons, slices, stability,
latency and the gates' verdicts. The decision threshold is chosen before, on training rows only. Rows that depend on
each other (groups, time) are resampled together.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    HeldOut,
    Latency,
    ScoreCard,
    answered_codes,
)
from trimtab.pipeline.explain import explain
from trimtab.pipeline.fitting import FitFailed, answers
from trimtab.pipeline.held_out import HeldOutRows, Role
from trimtab.pipeline.machine import unwrap
from trimtab.pipeline.model import Array, CandidateResult, Label, Learnable, Split, Task, TrainReport
from trimtab.pipeline.openings import open_held_out
from trimtab.pipeline.report import Explained
from trimtab.pipeline.stability import Refit, Refits
from trimtab.pipeline.training import refitter
from trimtab.registry.bundle import Bundle
from trimtab.stats.interval import Interval
from trimtab.stats.threshold import choose_threshold
from trimtab.store.blobs import BlobStore, put_bytes, read_bytes
from trimtab.store.db import Database

BUDGET_S = 120.0
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
             refit: Refit | None = None, models: Mapping[str, Any] | None = None, decide: bool = True,
             budget_s: float = BUDGET_S, resamples: int = 1000, timer: Callable[[], float] = time.perf_counter,
             say: Callable[[str], None] = lambda _: None) -> Evaluated:
    """Open the held-out rows of `split` for the run `train` and judge its candidates.

    data, split: those that `train` was made from. refit: how the chosen candidate is fitted on other rows; by default
    as it was trained. models: candidates that are asked otherwise than through their file, by name. decide: choose a
    threshold for two classes by what errors cost; without it the more probable class is the answer. budget_s: seconds
    for those refits. say: told what is being done. Raises ConfigInvalid for gates that can't be (before anything is
    opened), UntrustedModel, FitFailed or CheckFailed where the chosen model can't be judged.
    """
    from threadpoolctl import threadpool_limits

    gate.check_names(project.gates, task=train.task, candidates=[one.name for one in train.candidates])
    if len(split.test) == 0:
        raise CheckFailed("no row is held out, so nothing can be evaluated; set split = { test = 0.2 } in trimtab.toml")
    with threadpool_limits(limits=project.train.threads):
        chosen = next(one for one in train.candidates if one.name == train.chosen)
        models = {one.name: load_candidate(one, blobs, project) for one in train.candidates if one.model is not None} \
            | dict(models or {})
        model = models.get(train.chosen)
        if not hasattr(model, "predict"):
            raise CheckFailed(f"{train.chosen} can't be judged: {model or chosen.error or 'it has no model'}")
        say("refitting on other splits of the training rows")
        refits = stability.refit_elsewhere(data, split, refit or _refitter(chosen, data, split, project), rng=rng,
                                           budget_s=budget_s, forecast_s=chosen.fit_s)
        positive = _positive(project.model.positive, data.classes)
        threshold = _threshold(refits, model, data, split, project, positive) if decide else None
        opening = open_held_out(db, clock, dataset=train.dataset, split=train.split, run=train.run, by=by)
        rows = HeldOutRows.of(data, split, positive=positive, rng=rng, resamples=resamples)
        say(f"scoring {len(models)} candidates on {len(rows.rows):,} held-out rows")
        guesses, errors = _answers(train, models, rows)
        losses = {name: rows.losses(guess) for name, guess in guesses.items()}
        metrics = rows.scores(guesses[train.chosen], threshold=threshold.value if threshold else None)
        cards = {one.name: _card(one, metrics if one.name == train.chosen else
                                 rows.scores(guesses[one.name]) if one.name in guesses else {},
                                 train.metric, errors.get(one.name, "")) for one in train.candidates}
        say("comparing, slicing and shaking the chosen model")
        paired = _comparisons(train, project, errors, losses, rows, champion)
        found = slices.find_slices(
            rows.X, losses[train.chosen], data.features, metric=train.metric, reference=data.X[split.train], rng=rng,
            clusters=rows.clusters(losses[train.chosen]))
        shaken = stability.shake(
            task=data.task, predict=lambda X: answers(model, X, data.task, len(data.classes)), X=rows.X, y=rows.y,
            reference=data.X[split.train], features=data.features, refits=refits, kind=split.kind, rng=rng,
            rounding=_rounding(model, data.task))
        timed = _latency(model, rows.X, project, timer)
        verdicts = gate.judge(project.gates, task=train.task, chosen=train.chosen, candidates=list(cards),
                              metrics=metrics, paired=paired, latency=timed)
        decision = _decision(threshold, rows, guesses[train.chosen], project) if threshold else None
        held_out = HeldOut(rows=rows.rows, y=rows.y, answers=guesses[train.chosen])
        evaluation = Evaluation(
            run=train.run, model=train.model, task=train.task, metric=train.metric, chosen=train.chosen,
            classes=data.classes, rows=len(rows.rows), metrics=metrics, candidates=cards, paired=paired, slices=found,
            stability=shaken, latency=timed, decision=decision, gates=verdicts, openings=opening.count,
            newly_opened=opening.new, predictions=_store_predictions(blobs, data.classes, held_out, decision),
            dataset=train.dataset, split=train.split, intervals=rows.words(losses[train.chosen]))
        return Evaluated(evaluation=evaluation, held_out=held_out, explained=explain(model, data, split, held_out))


def _positive(asked: Label | None, classes: Sequence[Label]) -> int:
    """The code of the positive class: the one that was asked for, else the last."""
    return list(classes).index(asked) if asked is not None and asked in classes else max(len(classes) - 1, 1)


def _refitter(chosen: CandidateResult, data: Learnable, split: Split, project: ProjectConfig) -> Refit:
    train = project.train
    found = resolve(chosen.name, data.task, root=project.root, params=train.params.get(chosen.name))
    return refitter(data, split, found, chosen.params, threads=train.threads, memory_bytes=train.budget.memory_bytes,
                    rules=project.features)


def load_candidate(one: CandidateResult, blobs: BlobStore, project: ProjectConfig) -> Any:
    """The fitted pipeline, or the sentence that says why it can't be loaded."""
    assert one.model is not None
    if ":" in one.name:
        load_function(one.name, project.root)  # so that the model's own types can be found
    try:
        return flavor.load(read_bytes(blobs, one.model), trusted=project.model.trusted)
    except UntrustedModel as problem:
        return str(problem)


def _answers(train: TrainReport, models: Mapping[str, Any],
             rows: HeldOutRows) -> tuple[dict[str, Array], dict[str, str]]:
    """What each candidate answers, and why some don't. Raises FitFailed where the chosen one doesn't."""
    guesses, errors = dict[str, Array](), dict[str, str]()
    for one in train.candidates:
        model = models.get(one.name)
        if not hasattr(model, "predict"):
            errors[one.name] = model or one.error or "it has no model"
            continue
        try:
            guesses[one.name] = answers(model, rows.X, rows.data.task, len(rows.data.classes))
        except FitFailed as problem:
            if one.name == train.chosen:
                raise
            errors[one.name] = str(problem)
    return guesses, errors


def _card(one: CandidateResult, scores: Mapping[str, Interval], metric: str, error: str) -> ScoreCard:
    return ScoreCard(name=one.name, cv_mean=one.mean, cv_se=one.se, error=error, interval=scores.get(metric),
                     test={name: interval.value for name, interval in scores.items()})


@dataclass(frozen=True, slots=True)
class _Threshold:
    value: float
    chosen_on: str


def _threshold(refits: Refits, model: Any, data: Learnable, split: Split, project: ProjectConfig,
               positive: int) -> _Threshold | None:
    """The decision threshold of a binary classifier, from training rows alone, and which of them."""
    if data.task != "binary":
        return None
    if refits.rows is not None and refits.predictions is not None:
        rows, guess = refits.rows, refits.predictions
        where = f"out-of-fold predictions of {len(rows):,} training rows"
    else:
        rows, guess = split.train, answers(model, data.X[split.train], data.task, len(data.classes))
        where = f"the model's own training rows, which flatter it ({refits.why_not})"
    found = choose_threshold(data.y[rows] == positive, guess[:, positive], project.decision.cost_false_negative,
                             project.decision.cost_false_positive)
    return _Threshold(found.value, where)


def _decision(threshold: _Threshold, rows: HeldOutRows, guess: Array, project: ProjectConfig) -> Decision:
    missed, alarm = project.decision.cost_false_negative, project.decision.cost_false_positive
    truth, p = rows.y == rows.positive, guess[:, rows.positive]

    def cost(at: float) -> Array:
        return np.where(truth, missed * (p < at), alarm * (p >= at)).astype(np.float64)

    return Decision(threshold=threshold.value, chosen_on=threshold.chosen_on, cost_false_negative=missed,
                    cost_false_positive=alarm, cost=rows.mean(cost(threshold.value)),
                    half_cost=float(cost(0.5).mean()), positive=rows.data.classes[rows.positive])


def _comparisons(train: TrainReport, project: ProjectConfig, errors: Mapping[str, str], losses: Mapping[str, Array],
                 rows: HeldOutRows, champion: Champion | None) -> tuple[Comparison, ...]:
    """Against every other candidate (the baseline and the one of `beats` in their roles), and against the champion."""
    beats = project.gates.beats.baseline if project.gates.beats else None
    found = []
    for one in train.candidates:
        role: Role = "baseline" if one.name == BASELINE else "beats" if one.name == beats else "candidate"
        if one.name in losses and one.name != train.chosen:
            found.append(rows.compare(losses[train.chosen], losses[one.name], role=role, against=one.name,
                                      metric=train.metric))
        elif one.name != train.chosen:
            found.append(Comparison(role=role, against=one.name, metric=train.metric, note=errors[one.name]))
    if champion is not None:
        found.append(_champion(train, champion, losses[train.chosen], rows))
    return tuple(found)


def _champion(train: TrainReport, champion: Champion, chosen: Array, rows: HeldOutRows) -> Comparison:
    bundle, data = champion.bundle, rows.data
    name = f"champion {bundle.name}".strip()

    def not_tested(why: str) -> Comparison:
        return Comparison(role="champion", against=name, metric=train.metric, note=why)

    if bundle.task != data.task or set(bundle.classes) != set(data.classes):
        return not_tested("the champion answers another question (task or classes differ)")
    try:
        answered = bundle.predict_frame(champion.frame[rows.rows.tolist()])
    except (ContractViolation, UsageError, ValueError) as problem:
        return not_tested(f"the champion can't read these rows: {str(problem).splitlines()[0]}")
    if data.task == "regression":
        guess = np.asarray(answered.values, dtype=np.float64)
    elif answered.probabilities is None:
        return not_tested("the champion gives no probabilities")
    else:
        guess = answered.probabilities[:, [bundle.classes.index(label) for label in data.classes]]
    losses = rows.losses(guess)
    if not np.isfinite(losses).all():
        return not_tested("the champion's answers are not all finite")
    fair = champion.split == train.split
    return rows.compare(chosen, losses, role="champion", against=name, metric=train.metric, fair=fair, note="" if fair
                        else "not the split that the champion was trained on, so it may have seen these rows")


def _rounding(model: Any, task: Task) -> Callable[[Array], float]:
    """Known of regressions by kernel machines: sums of many terms that cancel."""
    machine = unwrap(model) if task == "regression" else None
    return (lambda X: 0.0) if machine is None else machine.rounding


def _latency(model: Any, X: Array, project: ProjectConfig, timer: Callable[[], float]) -> Latency:
    ask = getattr(model, "predict_proba", model.predict)
    asked = project.gates.latency_p99_ms is not None
    return latency.measure(ask, X, now_s=timer, calls=latency.CALLS if asked else latency.LEAST_CALLS,
                           budget_s=30.0 if asked else _LATENCY_S)


def _store_predictions(blobs: BlobStore, classes: Sequence[Label], held_out: HeldOut,
                       decision: Decision | None) -> Digest:
    """One Parquet table: row (position in the dataset, from 0), y, prediction, and p_<class> for classes."""
    import polars as pl

    columns: dict[str, Any] = {"row": held_out.rows}
    if not classes:
        columns |= {"y": held_out.y, "prediction": held_out.answers}
    else:
        labels = pl.Series(list(classes))
        columns |= {"y": labels.gather(held_out.y.astype(np.int64)),
                    "prediction": labels.gather(answered_codes(classes, held_out.answers, decision))}
        columns |= {f"p_{label}": held_out.answers[:, code] for code, label in enumerate(classes)}
    out = io.BytesIO()
    pl.DataFrame(columns).write_parquet(out, compression="zstd")
    return put_bytes(blobs, out.getvalue())
