"""How do the steps of a project run, in order, each only if something that it depends on has changed?

The one place that puts reading, splitting and training together; evaluation, registration and deployment follow from
their own rooms. `why` answers for any cached step without running it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from trimtab.config import ProjectConfig
from trimtab.data.contract import Contract
from trimtab.data.table import Table
from trimtab.data.versions import Datasets
from trimtab.errors import UsageError
from trimtab.pipeline import artifacts
from trimtab.pipeline.budget import OnProgress, Timer
from trimtab.pipeline.cache import StepCache, Why
from trimtab.pipeline.candidates import resolve
from trimtab.pipeline.model import TrainReport
from trimtab.pipeline.prepare import Prepared, prepare, why_data
from trimtab.pipeline.steps import PROJECT, from_step, step_of
from trimtab.pipeline.train import components, names_of, train
from trimtab.store.blobs import BlobStore
from trimtab.tracking.runs import Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A project bound to the rooms that its steps need. `cache`: None does every step each time and keeps none."""

    project: ProjectConfig
    contract: Contract
    datasets: Datasets
    blobs: BlobStore
    runs: Runs
    by: str
    cache: StepCache | None = None

    def prepare(self, *, fresh: frozenset[str] = frozenset(), table: Table | None = None,
                dataset: str | None = None) -> Prepared:
        """Read, check, split and encode. See `prepare.prepare`."""
        return prepare(self.project, self.contract, datasets=self.datasets, blobs=self.blobs, by=self.by,
                       cache=self.cache, fresh=fresh, table=table, dataset=dataset)

    def train(self, candidates: Sequence[str] | None = None, *, no_cache: bool = False, start: str | None = None,
              on_progress: OnProgress | None = None, timer: Timer = time.perf_counter,
              prepared: Prepared | None = None) -> tuple[TrainReport, Prepared]:
        """Train the candidates on the project's data; `TrainReport.cached` names the steps that were not run again.

        no_cache: do every step; start: this step and all that follow (`--from STEP`); prepared: data at hand.
        """
        fresh = fresh_steps(no_cache=no_cache, start=start)
        data = prepared or self.prepare(fresh=fresh)
        report = train(data.learnable, data.split, self.project, blobs=self.blobs, runs=self.runs, by=self.by,
                       candidates=candidates, on_progress=on_progress, timer=timer, cache=self.cache, fresh=fresh)
        return replace(report, cached=(*data.cached, *report.cached)), data

    def why(self, step: str) -> tuple[Why, ...]:
        """Would the step run now, and what changed? "train" answers for each candidate, "train:ridge" for one.

        Reads the data only where its own steps would come from the cache. Raises NotFound, UsageError.
        """
        step_of(step)
        if self.cache is None:
            raise UsageError("there is no step cache here, so every step runs each time")
        if step in ("read", "split"):
            return (why_data(step, self.project, self.contract, self.cache),)
        if step.partition(":")[0] != "train":
            return (Why(step=step, hit=False, reasons=("it is run each time it is asked for",)),)
        data = why_data("split", self.project, self.contract, self.cache)
        names = [step.partition(":")[2]] if ":" in step else list(names_of(None, self.project, self._task())[0])
        if not data.hit:
            reasons = tuple(reason if "must run first" in reason else f"split must run first: {reason}"
                            for reason in data.reasons)
            return tuple(Why(step=f"train:{name}", hit=False, reasons=reasons) for name in names)
        prepared = self.prepare()
        inputs = {"learnable": artifacts.learnable_digest(prepared.learnable),
                  "split": artifacts.split_digest(prepared.split)}
        found = []
        for name in names:
            candidate = resolve(name, prepared.task, root=self.project.root, params=self.project.train.params.get(name))
            found.append(self.cache.why(components(name, self.project, inputs, family=candidate.family)))
        return tuple(found)

    def _task(self) -> str:
        return self.project.model.task or self.prepare().task


def fresh_steps(*, no_cache: bool = False, start: str | None = None) -> frozenset[str]:
    """Which steps are done again whatever the cache holds: `--no-cache`, `--from STEP`. Raises NotFound."""
    if no_cache:
        return frozenset(PROJECT)
    return from_step(start) if start is not None else frozenset()
