"""Which steps does a project's pipeline have, and how is one run from its references alone?

A step is a plain typed function: keyword arguments annotated `Digest` are inputs (blobs), all others are parameters;
it stores its outputs as blobs and returns their digests. `run_step` finds everything by import path, so that a worker
in another process or container runs the same step from a few strings.
"""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from trimtab import config
from trimtab.canon import Digest
from trimtab.errors import NotFound, UsageError
from trimtab.pipeline import artifacts
from trimtab.pipeline.budget import OnProgress, Stopwatch
from trimtab.pipeline.candidates import resolve
from trimtab.pipeline.model import CandidateResult
from trimtab.pipeline.training import train_one
from trimtab.store.blobs import BlobStore, put_bytes, put_json, read_json

_TRAIN_CODE = ("trimtab.flavors.sklearn", *(f"trimtab.pipeline.{module}" for module in (
    "steps", "training", "crossval", "folds", "fitting", "candidates", "recipes", "preprocess", "kernel", "kernel_fit",
    "nystroem", "machine", "formula", "custom", "model")))
_READ_CODE = ("trimtab.pipeline.prepare", "trimtab.pipeline.quarantine", "trimtab.pipeline.agreed", *(
    f"trimtab.data.{module}" for module in (
        "readers", "csvfile", "encodings", "cells", "table", "check", "rules", "moments", "versions")))
_SPLIT_CODE = ("trimtab.pipeline.prepare", "trimtab.data.split")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a step works with besides its inputs and parameters; none of it is part of its cache key.

    memo: values that this process holds already, by the digest of what their blob would be.
    """

    blobs: BlobStore
    root: Path
    watch: Stopwatch = field(default_factory=lambda: Stopwatch(minutes=60 * 24))
    on_progress: OnProgress | None = None
    memo: dict[Digest, Any] = field(default_factory=dict)

    def value(self, digest: Digest, load: Callable[[BlobStore, Digest], Any]) -> Any:
        """The value of an input: at hand, or loaded from its blob."""
        if digest not in self.memo:
            self.memo[digest] = load(self.blobs, digest)
        return self.memo[digest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. function: import path; modules: trimtab's own code that it depends on.

    Steps with side effects (register, deploy) are no steps of this kind: they are never cached.
    """

    name: str
    function: str
    after: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    def load(self) -> Callable[..., dict[str, Digest]]:
        """The function itself."""
        module, _, name = self.function.partition(":")
        function: Callable[..., dict[str, Digest]] = getattr(importlib.import_module(module), name)
        return function


PROJECT: dict[str, Step] = {
    "read": Step(name="read", function="trimtab.pipeline.prepare:read", modules=_READ_CODE),
    "split": Step(name="split", function="trimtab.pipeline.prepare:split", after=("read",), modules=_SPLIT_CODE),
    "encode": Step(name="encode", function="trimtab.pipeline.prepare:encode", after=("read",)),
    "train": Step(name="train", function="trimtab.pipeline.steps:train", after=("split", "encode"),
                  modules=_TRAIN_CODE),
    "evaluate": Step(name="evaluate", function="trimtab.pipeline.evaluate:evaluate", after=("train",)),
}


def train(bench: Bench, *, learnable: Digest, split: Digest, candidate: str, pinned: Mapping[str, Any], folds: int,
          threads: int, memory_bytes: int, rules: Mapping[str, Any], minutes: float | None = None) -> dict[str, Digest]:
    """Search, cross-validate and fit one candidate: outputs "result" (JSON), "model" (skops), "timing" (JSON).

    Raises FitFailed, OverBudget, ConfigInvalid, UsageError (an estimator that can't be saved without pickle).
    """
    from trimtab.flavors import sklearn as flavor

    data = bench.value(learnable, artifacts.load_learnable)
    rows = bench.value(split, artifacts.load_split)
    found = resolve(candidate, data.task, root=bench.root, params=pinned)
    made = train_one(
        data, rows, found, k=folds, threads=threads, memory_bytes=memory_bytes, watch=bench.watch,
        rules=msgspec.convert(rules, dict[str, config.FeatureRule]), on_progress=bench.on_progress)
    saved = flavor.save(made.estimator)
    model = put_bytes(bench.blobs, saved.files[flavor.FILE])
    result = CandidateResult(
        name=candidate, family=found.family, params=made.params, folds=made.scores.losses, mean=made.scores.mean,
        se=made.scores.se, model=model, types=saved.types, formula=made.formula, preprocessing=made.preprocessing,
        notes=made.notes)
    return {"result": artifacts.save_result(bench.blobs, result), "model": model,
            "timing": put_json(bench.blobs, {"fit_s": made.fit_s})}


def step_of(name: str, pipeline: Mapping[str, Step] | None = None) -> Step:
    """The step that a name like "split" or "train:ridge" means. Raises NotFound with the names that exist."""
    steps = PROJECT if pipeline is None else pipeline
    if (found := steps.get(name.partition(":")[0])) is None:
        raise NotFound(f"there is no step {name!r}{config.suggest(name, list(steps))}")
    return found


def from_step(name: str, pipeline: Mapping[str, Step] | None = None) -> frozenset[str]:
    """The step and all that come after it: what `--from STEP` does afresh. "train:ridge" means that one candidate."""
    steps = PROJECT if pipeline is None else pipeline
    step_of(name, steps)
    fresh = {name}
    for step in steps.values():                # listed in order
        if any(before in fresh or any(one.startswith(f"{before}:") for one in fresh) for before in step.after):
            fresh.add(step.name)
    return frozenset(fresh)


def run_step(pipeline: str, step: str, parameters: Mapping[str, object], inputs: Mapping[str, str], *,
             blobs: str, root: str = ".") -> dict[str, str]:
    """Run one step from references: what a worker calls.

    pipeline: import path of the steps, e.g. "trimtab.pipeline.steps:PROJECT"; inputs: name → digest of a blob;
    blobs: folder of the blob store; root: the project's folder. Returns the outputs, name → digest.
    """
    from trimtab.store.blobs_local import LocalBlobs

    module, _, name = pipeline.partition(":")
    try:
        steps = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as problem:
        raise UsageError(f"{pipeline!r} is not a pipeline: {problem}; write module:NAME, e.g. "
                         "trimtab.pipeline.steps:PROJECT") from problem
    found = step_of(step, steps)
    bench = Bench(blobs=LocalBlobs(Path(blobs)), root=Path(root), watch=Stopwatch(60 * 24, time.perf_counter))
    function, given = found.load(), {**{key: Digest(value) for key, value in inputs.items()}, **parameters}
    try:
        inspect.signature(function).bind(bench, **given)
    except TypeError as problem:
        takes = ", ".join(list(inspect.signature(function).parameters)[1:])
        raise UsageError(f"step {step}: {problem}; it takes {takes}") from problem
    done = function(bench, **given)
    return {key: str(value) for key, value in done.items()}


def load_result(blobs: BlobStore, outputs: Mapping[str, Digest]) -> CandidateResult:
    """A train step's outputs as a result; `fit_s` is the measured one, also when it comes from the cache."""
    timing: Any = read_json(blobs, outputs["timing"])
    return artifacts.load_result(blobs, outputs["result"], fit_s=float(timing["fit_s"]))
