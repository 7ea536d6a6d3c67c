"""Which candidates were trained, how good are they in cross-validation, and which one is taken?

One parent run, and a child run for each candidate with its parameters, its score on each fold and its model file. A
candidate that can't be trained says why and the others go on. Each candidate is one step of the cache.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from trimtab.canon import Digest
from trimtab.config import CLASSIFICATION_CANDIDATES, REGRESSION_CANDIDATES, ProjectConfig, suggest
from trimtab.errors import ConfigInvalid, OverBudget, UsageError
from trimtab.pipeline import artifacts, gate, preprocess
from trimtab.pipeline.budget import OnProgress, Stopwatch, Timer
from trimtab.pipeline.cache import Components, StepCache, flat_environment
from trimtab.pipeline.candidates import Candidate, resolve
from trimtab.pipeline.choice import BASELINE, choose
from trimtab.pipeline.code import function_code, modules_code
from trimtab.pipeline.fitting import FitFailed
from trimtab.pipeline.model import CandidateResult, Learnable, Split, Task, TrainReport
from trimtab.pipeline.recipes import RECIPES
from trimtab.pipeline.steps import Bench, load_result, step_of
from trimtab.store.blobs import BlobStore
from trimtab.tracking.runs import Runs


def metric_of(task: Task) -> str:
    """What candidates are compared by."""
    return "mse" if task == "regression" else "log_loss"


def train(learnable: Learnable, split: Split, project: ProjectConfig, *, blobs: BlobStore, runs: Runs, by: str,
          candidates: Sequence[str] | None = None, on_progress: OnProgress | None = None,
          timer: Timer = time.perf_counter, cache: StepCache | None = None,
          fresh: Collection[str] = ()) -> TrainReport:
    """Train every candidate on `split.train` and choose one.

    candidates: instead of the configured ones. cache: where done steps are kept; none is used without it. fresh: steps
    that are done again all the same ("train", "train:ridge"; see `steps.from_step`). The report is also a blob, output
    "report" of the parent run. Raises ConfigInvalid before anything is run, CheckFailed when no candidate was trained.
    """
    names, named_baseline = names_of(candidates, project, learnable.task)
    wanted = [_resolve(name, learnable.task, project) for name in names]
    _check_settings(project, learnable, names)
    dataset = learnable.dataset or artifacts.learnable_digest(learnable)
    model, metric = project.model.name, metric_of(learnable.task)
    parent = runs.start("train", model, by=by, inputs={"dataset": dataset, "split": split.digest}, params={
        "candidates": list(names), "folds": project.train.folds, "threads": project.train.threads, "metric": metric,
        "split": split.kind, "seed": split.seed, "minutes": project.train.budget.minutes,
        "memory": project.train.budget.memory})
    status: Any = "killed"
    try:
        bench = Bench(blobs=blobs, root=project.root, on_progress=on_progress,
                      watch=Stopwatch(project.train.budget.minutes, timer))
        inputs = {"learnable": artifacts.learnable_digest(learnable), "split": artifacts.split_digest(split)}
        bench.memo.update({inputs["learnable"]: learnable, inputs["split"]: split})
        done = {}
        for candidate in [wanted[-1], *wanted[:-1]]:   # the baseline first: there is always something to compare with
            done[candidate.name] = _one(candidate, project, bench, inputs, cache, fresh)
            _record(runs, parent.id, model, by, metric, done[candidate.name][0])
        status = "failed"
        results = tuple(done[name][0] for name in names)
        chosen, reason = choose(results, metric, baseline_competes=named_baseline)
        report = TrainReport(
            run=parent.id, model=model, task=learnable.task, metric=metric, candidates=results, chosen=chosen,
            reason=reason, dataset=dataset, split=split.digest, classes=learnable.classes, features=learnable.features,
            preprocessing=_preprocessing(results),
            cached=tuple(f"train:{name}" for name in names if done[name][1]))
        outputs = {"report": artifacts.save_report(blobs, report)}
        outputs |= {f"model.{r.name}": r.model for r in results if r.model is not None}
        runs.log(parent.id, {f"cv_{metric}": r.mean for r in results if r.name == chosen and r.mean is not None})
        status = "finished"
    finally:
        runs.finish(parent.id, status=status, outputs=outputs if status == "finished" else {})
    return report


def _check_settings(project: ProjectConfig, learnable: Learnable, names: Sequence[str]) -> None:
    """What can only be checked once the task and the columns are known; before any fit. Raises ConfigInvalid."""
    gate.check_names(project.gates, task=learnable.task, candidates=(*project.train.candidates, *names))
    preprocess.check_rules(project.features, learnable.features)
    known = tuple(dict.fromkeys((*RECIPES, *project.train.candidates, *names)))
    for name in project.train.params:
        if name not in known:
            raise ConfigInvalid(f"trimtab.toml: [train.params.{name}]: there is no candidate {name!r}"
                                f"{suggest(name, known)}", key=f"train.params.{name}")


def components(candidate: str, project: ProjectConfig, inputs: dict[str, Digest], *,
               environment: dict[str, str] | None = None, family: str = "") -> Components:
    """What the step `train:<candidate>` depends on; `inputs`: digests of "learnable" and "split"."""
    from trimtab.registry.environment import capture_environment

    code: dict[str, str] = dict(modules_code(step_of("train").modules))
    if ":" in candidate:
        code |= function_code(candidate, project.root)
    told = _parameters(candidate, project, family)
    pinned, rules = project.train.params.get(candidate, {}), told["rules"]
    assert isinstance(rules, dict)
    flat = {key: value for key, value in told.items() if key not in ("pinned", "rules", "candidate")}
    flat |= {f"{candidate}.{key}": value for key, value in pinned.items()}
    flat |= {f"features.{column}": rule for column, rule in rules.items()}
    return Components(
        step=f"train:{candidate}", code=code, inputs=inputs, parameters=flat,
        environment=environment if environment is not None else flat_environment(capture_environment()))


def _parameters(candidate: str, project: ProjectConfig, family: str) -> dict[str, object]:
    """Time decides about a kernel machine's approximation, so only there it is a parameter of the result."""
    train = project.train
    found: dict[str, object] = {
        "candidate": candidate, "pinned": train.params.get(candidate, {}), "folds": train.folds,
        "threads": train.threads, "memory_bytes": train.budget.memory_bytes,
        "rules": msgspec.to_builtins(project.features)}
    return found | ({"minutes": train.budget.minutes} if family == "kernel" else {})


def _one(candidate: Candidate, project: ProjectConfig, bench: Bench, inputs: dict[str, Digest],
         cache: StepCache | None, fresh: Collection[str]) -> tuple[CandidateResult, bool]:
    """(the result, whether it came from the cache)."""
    step = step_of("train")
    parameters = _parameters(candidate.name, project, candidate.family)

    def work() -> dict[str, Digest]:
        return step.load()(bench, **inputs, **parameters)

    try:
        if cache is None:
            return load_result(bench.blobs, work()), False
        outcome = cache.run(components(candidate.name, project, inputs, family=candidate.family), work,
                            fresh="train" in fresh or f"train:{candidate.name}" in fresh)
        return load_result(bench.blobs, outcome.outputs), outcome.hit
    except (FitFailed, OverBudget, UsageError, ConfigInvalid) as problem:
        sentence = str(problem)
        if isinstance(problem, OverBudget):
            sentence = f"not trained: {sentence}"
        return CandidateResult(name=candidate.name, family=candidate.family, error=sentence), False


def names_of(candidates: Sequence[str] | None, project: ProjectConfig, task: str) -> tuple[tuple[str, ...], bool]:
    """The names in order with the baseline last, and whether the baseline was asked for."""
    asked = tuple(candidates or project.train.candidates) or (
        REGRESSION_CANDIDATES if task == "regression" else CLASSIFICATION_CANDIDATES)
    if len(set(asked)) < len(asked):
        raise UsageError("a candidate is named twice; name each once")
    return (*(name for name in asked if name != BASELINE), BASELINE), BASELINE in asked


def _resolve(name: str, task: Task, project: ProjectConfig) -> Candidate:
    found = resolve(name, task, root=project.root, params=project.train.params.get(name))
    return replace(found, name=name)


def _record(runs: Runs, parent: str, model: str, by: str, metric: str, result: CandidateResult) -> None:
    run = runs.start("candidate", model, by=by, parent=parent,
                     params={"candidate": result.name, **result.params}, tags={"error": result.error} if result.error
                     else {})
    for fold, value in enumerate(result.folds):
        runs.log(run.id, {f"fold_{metric}": value}, step=fold)
    if result.mean is not None:
        runs.log(run.id, {f"cv_{metric}": result.mean, "fit_s": result.fit_s,
                          **({f"cv_{metric}_se": result.se} if result.se is not None else {})})
    runs.finish(run.id, status="failed" if result.error else "finished",
                outputs={"model.skops": result.model} if result.model is not None else {})


def _preprocessing(results: Sequence[CandidateResult]) -> tuple[str, ...]:
    """One line per group of columns, headed by the candidates that share the treatment."""
    by_lines: dict[tuple[str, ...], list[str]] = {}
    for result in results:
        if result.preprocessing:
            by_lines.setdefault(result.preprocessing, []).append(result.name)
    if len(by_lines) == 1:
        return next(iter(by_lines))
    return tuple(f"{', '.join(names)} · {line}" for lines, names in by_lines.items() for line in lines)
