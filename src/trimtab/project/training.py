"""How does a project train?  Prepare, train through the step cache, write the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.ids import shown_run
from trimtab.pipeline import artifacts, report
from trimtab.pipeline.budget import OnProgress
from trimtab.pipeline.model import CandidateResult, TrainReport
from trimtab.pipeline.prepare import Prepared
from trimtab.project.folder import Folder

if TYPE_CHECKING:
    from trimtab.project.handles import ModelVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRun:
    """A finished training run of a project."""

    project: Folder
    report: TrainReport
    prepared: Prepared
    report_file: str

    @property
    def chosen(self) -> CandidateResult:
        """The candidate that was taken."""
        return next(one for one in self.report.candidates if one.name == self.report.chosen)

    @property
    def best(self) -> Best:
        """The chosen candidate, ready to be registered."""
        return Best(self)

    @property
    def preprocessing(self) -> tuple[str, ...]:
        """How the columns are treated, a line a group of columns."""
        return self.report.preprocessing

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about the data that was used."""
        bad = self.prepared.rejected
        told = (f"{len(bad):,} rows were set aside, the first: {bad[0]} (trimtab check tells all)",) if bad else ()
        return (*self.prepared.notes, *told)

    def to_json(self) -> dict[str, object]:
        """As `train --json` prints it."""
        return {**artifacts.report_json(self.report), "schema": "trimtab.train/1", "report": self.report_file,
                "set_aside": len(self.prepared.rejected), "notes": list(self.notes)}

    def __repr__(self) -> str:
        return f"<run {shown_run(self.report.run)}: {self.report.chosen}, {self.report.reason}>"


@dataclass(frozen=True, slots=True)
class Best:
    """The chosen candidate of a run."""

    run: TrainRun

    def register(self, name: str | None = None, *, note: str = "") -> ModelVersion:
        """Judge it on the held-out rows and register it. `name` must be the project's model, if given."""
        from trimtab.errors import UsageError
        from trimtab.project import judging

        project = self.run.project
        if name is not None and name != project.name:
            raise UsageError(f"this project makes {project.name!r}, not {name!r}; change [model] name in trimtab.toml")
        judged = judging.judge(project, run=self.run.report.run, register=True, note=note)
        assert judged.version is not None
        return judged.version


def train(project: Folder, candidates: Sequence[str] | None, *, on_progress: OnProgress | None = None,
          no_cache: bool = False, from_step: str | None = None, prepared: Prepared | None = None) -> TrainRun:
    """See `Project.train`. prepared: data at hand, instead of the project's."""
    made, prepared = project.pipeline.train(candidates, no_cache=no_cache, start=from_step, on_progress=on_progress,
                                            prepared=prepared, timer=project.workspace.timer)
    file = project.write_report(made.run, report.render(made, made_at=project.shown_now()))
    return TrainRun(project=project, report=made, prepared=prepared, report_file=file)
