"""How does a table become a live model in one go?  `trimtab run`: init, train, evaluate, register, deploy.

Each step tells its result to `say`, so that the command line shows it while the next one works.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import CheckFailed, UsageError
from trimtab.project.files import TOML
from trimtab.project.initialise import Initialised, initialise
from trimtab.project.judging import Judged
from trimtab.project.project import Project
from trimtab.project.training import TrainRun
from trimtab.workspace import Workspace

if TYPE_CHECKING:
    from trimtab.pipeline.budget import OnProgress
    from trimtab.serving.rollout import Change

Step = Initialised | TrainRun | Judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything that one run made."""

    initialised: Initialised | None           # None where the project was there already
    run: TrainRun
    judged: Judged
    change: Change

    def to_json(self) -> dict[str, object]:
        """As `run --json` prints it: the fixed names that scripts rely on, and the steps behind them."""
        evaluation, version = self.judged.evaluation, self.judged.version
        assert version is not None
        told: Any = evaluation.to_json()
        cv = {one.name: {"mean": one.mean, "se": one.se, "error": one.error or None, "notes": list(one.notes)}
              for one in self.run.report.candidates}
        candidates = {name: {**told["candidates"].get(name, {}), "cv": cv[name]} for name in cv}
        return {
            "schema": "trimtab.run/1", "model": version.model, "version": version.number, "digest": version.digest,
            "task": evaluation.task, "metric": evaluation.metric, "chosen": evaluation.chosen,
            "metrics": told["test"]["metrics"], "candidates": candidates, "gates": told["gates"],
            "endpoint": self.change.endpoint, "url": f"/v2/models/{version.model}/infer", "live": True,
            "run": self.run.report.run, "report": self.judged.report_file, "dataset": self.run.report.dataset,
            "rows": {"train": len(self.run.prepared.split.train), "test": len(self.run.prepared.split.test),
                     "set_aside": len(self.run.prepared.rejected)}}


def run(source: Any, root: Path, workspace: Workspace, *, say: Callable[[Step], None] = lambda _: None,
        on_progress: OnProgress | None = None, **options: Any) -> Story:
    """From a table to a live model. options: as `initialise` takes them, for a folder without a project.

    source: None for the table that the project in `root` names. Raises what its steps raise; UsageError where there is
    neither a project nor a source; CheckFailed where a gate failed (the version is registered, nothing is deployed).
    """
    initialised = None
    if not (root / TOML).exists():
        if source is None:
            raise UsageError("there is no trimtab.toml in this folder; name a table: trimtab run data.csv")
        initialised = initialise(source, root, workspace, **options)
        say(initialised)
    project = Project.open(root, workspace)
    if initialised is None and isinstance(source, str | Path):
        project.require_source(Path(source))
    trained = project.train(on_progress=on_progress)
    say(trained)
    judged = project.evaluate(run=trained.report.run)
    say(judged)
    assert judged.version is not None
    if not judged.evaluation.gates.passed:
        raise CheckFailed(f"{judged.version.record.name} was registered and not deployed: "
                          f"{judged.evaluation.gates.first_failure}", version=judged.version.record.name,
                          report=judged.report_file)
    change = judged.version.deploy(why="trimtab run")
    return Story(initialised=initialised, run=trained, judged=judged, change=change)
