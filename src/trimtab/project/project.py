"""What is a project, and which verbs does it have?  A folder with `trimtab.toml`, bound to a workspace.

This is the library's front door; the command line and the HTTP door call the same verbs. Each verb is one call into a
module beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.data import contract_toml
from trimtab.data.contract import Column
from trimtab.errors import ConfigInvalid, NotFound
from trimtab.project.files import CONTRACT, TOML, find_root, write_text
from trimtab.project.folder import Folder
from trimtab.project.initialise import initialise
from trimtab.workspace import Workspace, locate

if TYPE_CHECKING:
    from trimtab.data.check import CheckReport
    from trimtab.data.quality import Finding
    from trimtab.data.table import BadRow
    from trimtab.loop.model import Stored
    from trimtab.loop.reconciler import Step
    from trimtab.monitor.batch import BatchReport
    from trimtab.pipeline.budget import OnProgress
    from trimtab.pipeline.cache import Why
    from trimtab.project.endpoint import Endpoint
    from trimtab.project.handles import ModelVersion
    from trimtab.project.judging import Judged
    from trimtab.project.steering import Steered
    from trimtab.project.training import TrainRun
    from trimtab.traffic.labels import Told


def open_project(source: Any = None, *, workspace: str | Path | None = None, **options: Any) -> Project:
    """The project that the command line sees: `trimtab.open("data.csv")`, `trimtab.open("folder")`, `trimtab.open()`.

    source: a table (path or frame), which makes a project in the current folder where there is none yet (`options` as
    `initialise` takes them); a folder with trimtab.toml; nothing: the nearest project upwards. Raises NotFound,
    ConfigInvalid (the folder's project is about another table), DataUnreadable.
    """
    is_path = isinstance(source, str | Path)
    if is_path and Path(source).is_dir():
        return Project.open(Path(source).resolve(), Workspace.open(locate(workspace, Path(source)), create=True))
    root = find_root()
    if source is None:
        if root is None:
            raise NotFound("there is no trimtab.toml in this folder or above it; give a table: "
                           "trimtab.open(\"data.csv\")")
        return Project.open(root, Workspace.open(locate(workspace), create=True))
    root = Path.cwd() if root is None or not (Path.cwd() / TOML).exists() else root
    opened = Workspace.open(locate(workspace), create=True)
    if not (root / TOML).exists():
        initialise(source, root, opened, **options)
    project = Project.open(root, opened)
    if is_path:
        project.require_source(Path(source))
    return project


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check of a table against the contract found."""

    source: str
    report: CheckReport
    quarantined: tuple[BadRow, ...]           # rows that could not even be read
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Could every row be read, and does it keep the contract?"""
        return self.report.ok and not self.quarantined

    def to_json(self) -> dict[str, object]:
        """As `check --json` prints it."""
        return {"schema": "trimtab.check/1", "source": self.source, "ok": self.ok, "rows": self.report.rows,
                "bad_rows": self.report.bad,
                "counts": [{"column": column, "rule": rule, "count": number}
                           for (column, rule), number in self.report.counts.items()],
                "violations": [violation.to_json() for violation in self.report.violations],
                "quarantined": [{"line": bad.line, "reason": bad.reason} for bad in self.quarantined],
                "findings": [{"column": one.column, "kind": one.kind, "text": one.text} for one in self.findings]}


class Project(Folder):
    """A folder with `trimtab.toml` and `contract.toml`, on a workspace, and its verbs."""

    def check(self, source: Any = None) -> Checked:
        """Check the project's table, or another one, against the contract."""
        from trimtab.data import quality
        from trimtab.data.readers import read_table
        from trimtab.data.rules import CHECKED, UNLABELLED
        from trimtab.pipeline.agreed import agreed, check_agreed

        table = read_table(source if source is not None else self.config.model.data,
                           root=self.root if source is None else None)
        given = agreed(table, self.contract)
        report = check_agreed(self.contract, given, roles=CHECKED if self.contract.target.name in table.frame.columns
                              else UNLABELLED)
        whole = [name for (name, rule), count in report.counts.items() if rule == "type" and count == report.rows]
        return Checked(source=table.source, report=report, quarantined=table.quarantined,
                       findings=quality.findings(given.table.frame.drop(whole, strict=False), self.contract))

    def edit_contract(self, column: str, *, confirmed: bool = False, add_category: Sequence[str] = (),
                      low: str | None = None, high: str | None = None, **changes: Any) -> Column:
        """Change what the contract says of a column and write it; returns the column. Raises UsageError.

        low, high: new bounds as text ("none" lifts one); changes: missing, unseen, unit, note, role, log.
        """
        from trimtab.data.edit import edit_text

        edited = edit_text(self.contract, column, low=low, high=high, add_categories=add_category, confirmed=confirmed,
                           **changes)
        write_text(self.root / CONTRACT, contract_toml.render(edited))
        self.__dict__.pop("contract", None)
        return next(one for one in edited.columns if one.name == column)

    def train(self, candidates: Sequence[str] | None = None, *, on_progress: OnProgress | None = None,
              no_cache: bool = False, from_step: str | None = None) -> TrainRun:
        """Train the candidates (default: those of trimtab.toml). Raises ConfigInvalid, DataUnreadable, CheckFailed."""
        from trimtab.project import training

        return training.train(self, candidates, on_progress=on_progress, no_cache=no_cache, from_step=from_step)

    def evaluate(self, *, run: str | None = None, register: bool = True, note: str = "") -> Judged:
        """Judge a training run on the held-out rows, and register its chosen candidate.

        Raises NotFound (nothing trained yet), Conflict (the data changed since).
        """
        from trimtab.project import judging

        return judging.judge(self, run=run, register=register, note=note)

    def why(self, step: str | None = None) -> list[Why]:
        """Would the steps run again, and why?"""
        return [why for name in ([step] if step else ["read", "split", "train"]) for why in self.pipeline.why(name)]

    def version(self, reference: str | int | None = None) -> ModelVersion:
        """A version of the project's model: a number, an alias, or the newest. Raises NotFound."""
        from trimtab.project.handles import ModelVersion

        text = self.name if reference is None else f"{self.name}@{reference}"
        return ModelVersion(self.workspace, self.workspace.versions.resolve(text))

    def monitor(self, X: Any, y: Any = None) -> BatchReport:
        """Hold a batch of rows against what the live version was trained on; with `y` also score it.

        One batch, looked at once: it says what differs, it does not watch. Where the project's own model is not live,
        the one live model with this target is meant. Raises NotFound (no such version is live).
        """
        from trimtab.project import watching

        return watching.batch(self.workspace, watching.live_model(self), X, y)

    def label(self, source: Any, *, key: str | None = None, truth: str | None = None) -> Told:
        """Tell what later turned out true of recorded predictions: a table (path or frame) of ids and true values.

        key: join by this column, the rows' id, instead of by prediction ids; truth: the column of true values (default:
        the target, else the last). Raises UsageError (no such column), NotFound, DataUnreadable.
        """
        from trimtab.project import labelling

        return labelling.label(self.workspace, self.name, source, key=key, truth=truth)

    def endpoint(self, name: str = "production") -> Endpoint:
        """An endpoint of the project's model, to be asked from Python. Raises NotFound (no version yet)."""
        from trimtab.project.endpoint import Endpoint

        return Endpoint(self.workspace, self.name, name)

    def policy(self, *, why: str = "", dry_run: bool = False, **settings: Any) -> Steered:
        """What the loop may do for the model; with settings (`on_drift="retrain"`, `cooldown="6h"`) it is changed.

        Raises NotFound (no version yet), UsageError (an unknown setting, or out of its range).
        """
        from trimtab.project import steering

        if not settings:
            return steering.shown(self.workspace, self.name)
        return steering.change(self.workspace, self.name, settings, why=why, dry_run=dry_run)

    def pause(self, why: str) -> None:
        """The kill switch: the loop does nothing for the model until `resume`. Raises UsageError without a reason."""
        from trimtab.project import steering

        steering.pause(self.workspace, self.name, why=why)

    def resume(self, why: str = "") -> None:
        """Let the loop go on."""
        from trimtab.project import steering

        steering.resume(self.workspace, self.name, why=why)

    def decide(self, *, dry_run: bool = False) -> Step:
        """The one thing that is to be done for the model now, done, or (`dry_run`) only said."""
        from trimtab.project import steering

        return steering.decide(self.workspace, self.name, dry_run=dry_run)

    def decisions(self, *, limit: int | None = None) -> list[Stored]:
        """What the loop decided for the model, the newest first, and what became of it."""
        return self.workspace.decisions.list(self.name, limit=limit)

    def require_source(self, source: Path) -> None:
        """Raises ConfigInvalid unless trimtab.toml is about this table."""
        data = self.config.model.data
        if not isinstance(data, str) or (self.root / data).resolve() != source.resolve():
            shown = data if isinstance(data, str) else "a query"
            raise ConfigInvalid(f"this folder's trimtab.toml is about {shown}, not {source.name}; work in another "
                                "folder, or make it anew with trimtab init --force")
