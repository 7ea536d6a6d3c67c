"""What is in a project's folder?  Its configuration, its contract, its data, its steps; no verbs.

The verbs (`training`, `judging` …) take a `Folder`; `project.Project` is a folder with the verbs on it.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from trimtab import config as configuration
from trimtab.config import ProjectConfig
from trimtab.data import contract_toml
from trimtab.data.contract import Contract
from trimtab.errors import ConfigInvalid, UsageError
from trimtab.ids import shown_run
from trimtab.project.files import CONTRACT, TOML, write_text
from trimtab.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from trimtab.pipeline.runner import Pipeline

_NAME = re.compile(r"""(?m)(^\[model\]\s*(?:^[^\[\n]*\n)*?^name\s*=\s*)(?:"[^"\n]*"|'[^'\n]*')""")


class Folder:
    """A folder with `trimtab.toml` and `contract.toml`, on a workspace."""

    def __init__(self, root: Path, workspace: Workspace, config: ProjectConfig) -> None:
        self.root, self.workspace, self.config = root, workspace, config

    @classmethod
    def open(cls, root: Path, workspace: Workspace) -> Self:
        """Read the folder's trimtab.toml. Raises ConfigInvalid."""
        return cls(root, workspace, configuration.load(root / TOML))

    def __repr__(self) -> str:
        return f"<project {self.name} in {self.root.name}/, workspace {self.workspace.folder.name}/>"

    @property
    def name(self) -> str:
        """The model's name."""
        return self.config.model.name

    def take_name(self, name: str) -> None:
        """Let the project make this model, in trimtab.toml too; `init` only guessed a name. Raises UsageError where
        versions are registered under the present one, ConfigInvalid where `name` can't be one."""
        if name == self.name:
            return
        text = (self.root / TOML).read_text(encoding="utf-8")
        named, found = _NAME.subn(lambda line: line[1] + configuration.quote(name), text, count=1)
        if not found or self.name in self.workspace.versions.models():
            raise UsageError(f"this project makes {self.name!r}, not {name!r}; change [model] name in {TOML}")
        self.config = configuration.parse(named, root=self.root)
        write_text(self.root / TOML, named)

    @cached_property
    def contract(self) -> Contract:
        """The contract that belongs to the project. Raises ConfigInvalid."""
        path = self.root / CONTRACT
        try:
            return contract_toml.parse(path.read_text(encoding="utf-8-sig"), name=CONTRACT)
        except FileNotFoundError:
            raise ConfigInvalid(f"there is no {CONTRACT} beside {TOML}; bring it back from version control or from a "
                                "version (trimtab checkout), or write both anew: trimtab init --force") from None
        except UnicodeDecodeError:
            raise ConfigInvalid(f"{CONTRACT} is not UTF-8 text; save it as UTF-8") from None

    @cached_property
    def data(self) -> pl.DataFrame:
        """The rows that keep the contract, in raw columns (a Polars frame)."""
        return self.pipeline.prepare().frame

    @property
    def X(self) -> pl.DataFrame:
        """The feature columns of `data`, shape (rows, features)."""
        return self.data.select([column.name for column in self.contract.features])

    @property
    def y(self) -> pl.Series:
        """The target column of `data`, shape (rows,)."""
        return self.data[self.contract.target.name]

    @property
    def pipeline(self) -> Pipeline:
        """The project's steps, with its own cache of what was done."""
        from trimtab.pipeline.cache import StepCache
        from trimtab.pipeline.runner import Pipeline

        space = self.workspace
        return Pipeline(project=self.config, contract=self.contract, datasets=space.datasets, blobs=space.blobs,
                        runs=space.runs, by=space.actor,
                        cache=StepCache(space.db, space.blobs, space.clock, project=self.name))

    def shown_now(self) -> str:
        """This moment, for a report's head."""
        return self.workspace.clock.now().strftime("%Y-%m-%d %H:%M UTC")

    def write_report(self, run: str, html: str) -> str:
        """Write a run's report into the workspace; returns its path as people type it."""
        folder = self.workspace.folder / "reports"
        folder.mkdir(exist_ok=True)
        path = folder / f"{shown_run(run)}.html"
        write_text(path, html)
        here = Path.cwd()
        return path.relative_to(here).as_posix() if path.is_relative_to(here) else str(path)
