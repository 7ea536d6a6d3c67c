"""How is a training run judged and registered?  Opens the held-out rows once, writes the report, makes a version."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from trimtab.canon import Digest
from trimtab.errors import Conflict, NotFound
from trimtab.ids import shown_run
from trimtab.pipeline import artifacts, report
from trimtab.pipeline.evaluate import Champion, Evaluated, evaluate
from trimtab.pipeline.evaluation import Evaluation
from trimtab.pipeline.model import TrainReport
from trimtab.pipeline.prepare import Prepared
from trimtab.project import registering
from trimtab.project.folder import Folder
from trimtab.project.handles import ModelVersion
from trimtab.registry.bundle import load_bundle
from trimtab.store.blobs import put_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An evaluation, and the version that was registered for it (None with `register=False`)."""

    evaluation: Evaluation
    version: ModelVersion | None
    is_new: bool                              # False: the same bytes and the same measurement were registered before
    report_file: str


def judge(project: Folder, *, run: str | TrainReport | None, register: bool, note: str) -> Judged:
    """See `Project.evaluate`."""
    workspace = project.workspace
    trained = replace(run, model=project.name) if isinstance(run, TrainReport) else load_trained(project, run)
    prepared = project.pipeline.prepare()
    if (prepared.dataset, prepared.split.digest) != (trained.dataset, trained.split):
        raise Conflict(f"the data, its contract or its split changed since {shown_run(trained.run)} was trained; "
                       "trimtab train first")
    return judged(project, trained, prepared, champion(project, prepared), register=register, note=note,
                  by=workspace.actor, timer=workspace.timer)


def judged(project: Folder, trained: TrainReport, prepared: Prepared, champion: Champion | None, *, register: bool,
           note: str, by: str, facts: Mapping[str, object] | None = None, rows: Digest | None = None,
           timer: Callable[[], float] = time.perf_counter) -> Judged:
    """Judge what was trained on `prepared`, beside a champion.

    facts: more to be said of the version; rows: the blob of a split that trimtab.toml does not give. Raises as
    `pipeline.evaluate`.
    """
    workspace = project.workspace
    judging = workspace.runs.start("evaluate", project.name, by=by, inputs={
        "report": workspace.runs.get(trained.run).outputs["report"], "dataset": trained.dataset,
        "split": trained.split}, tags={"of": trained.run})
    done = evaluate(trained, prepared.learnable, prepared.split, project.config, blobs=workspace.blobs, db=workspace.db,
                    clock=workspace.clock, by=by, champion=champion, timer=timer,
                    rng=np.random.default_rng(project.config.model.split.seed))
    found = done.evaluation
    workspace.runs.log(judging.id, {name: one.value for name, one in found.metrics.items()})
    workspace.runs.finish(judging.id, outputs={"evaluation": put_json(workspace.blobs, found.to_json()),
                                               "predictions": found.predictions})
    version, is_new = _register(project, trained, done, prepared, note, by, facts or {}, rows) if register \
        else (None, False)
    html = report.render(trained, found, done.held_out, explained=done.explained,
                         made_at=project.shown_now())
    return Judged(evaluation=found, version=version, is_new=is_new,
                  report_file=project.write_report(trained.run, html))


def load_trained(project: Folder, run: str | None) -> TrainReport:
    """The report of a training run, by default the newest. Raises NotFound."""
    runs = project.workspace.runs
    found = runs.get(run) if run else runs.latest(project.name, "train")
    if found is None:
        raise NotFound(f"{project.name} has no finished training run yet; trimtab train first")
    if "report" not in found.outputs or found.model != project.name:
        raise NotFound(f"{found.shown} is no finished training run of {project.name}; trimtab train makes one")
    return artifacts.load_report(project.workspace.blobs, Digest(found.outputs["report"]))


def champion(project: Folder, prepared: Prepared) -> Champion | None:
    """The version that is live, to be scored on the same rows; None where none is."""
    workspace = project.workspace
    live = workspace.rollouts.current(project.name)
    if live is None:
        return None
    version = workspace.versions.get(project.name, live.version)
    evaluation = workspace.versions.evaluation(version) or {}
    split = evaluation.get("split")
    return Champion(bundle=load_bundle(workspace.versions, version), frame=prepared.frame,
                    split=split if isinstance(split, str) else None)


def _register(project: Folder, trained: TrainReport, done: Evaluated, prepared: Prepared, note: str, by: str,
              facts: Mapping[str, object], rows: Digest | None) -> tuple[ModelVersion, bool]:
    workspace, found = project.workspace, done.evaluation
    parts = registering.parts(
        trained, project.config, prepared.contract, workspace.blobs, threshold=found.threshold,
        rows=prepared.learnable.X[prepared.split.test], kept_split=rows,
        positive=found.decision.positive if found.decision else None)
    before = workspace.journal.head().seq
    version = workspace.versions.register(
        project.name, parts.files, flavor=parts.flavor, types=parts.types, ingredients=parts.ingredients,
        facts={**parts.facts, **facts}, evaluation=found.to_json(), gates="passed" if found.gates.passed else "failed",
        run=trained.run, note=note, by=by)
    return ModelVersion(workspace, version), workspace.journal.head().seq > before
