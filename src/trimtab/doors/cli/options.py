"""What do all commands share?  `--workspace`, `--json`, and how a command finds its workspace and project."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.doors.cli.screen import print_json
from trimtab.errors import NotFound

if TYPE_CHECKING:
    from trimtab.project.project import Project
    from trimtab.workspace import Workspace


class Call:
    """One call of a command: where its workspace is, and how its result is shown."""

    def __init__(self, workspace: Path | None, as_json: bool) -> None:
        self._folder, self.as_json = workspace, as_json

    @property
    def folder(self) -> Path:
        """The workspace's folder; it need not exist."""
        from trimtab.workspace import locate

        return locate(self._folder)

    def workspace(self, *, create: bool = False, database: str | None = None) -> Workspace:
        """The workspace; closed when the command ends."""
        from trimtab.workspace import Workspace

        opened = Workspace.open(self.folder, create=create, database=database)
        click.get_current_context().call_on_close(opened.close)
        return opened

    def project(self, *, create: bool = True) -> Project:
        """The project of the current folder (its trimtab.toml, looked for upwards) on this call's workspace."""
        from trimtab.project.files import find_root
        from trimtab.project.project import Project

        root = find_root()
        if root is None:
            raise NotFound("there is no trimtab.toml in this folder or above it; begin with trimtab init data.csv")
        return Project.open(root, self.workspace(create=create))

    def model(self, named: str | None) -> str:
        """The model's name as given, else the project's, else the only one of the workspace."""
        if named:
            return named.split("@")[0]
        from trimtab import config
        from trimtab.project.files import find_root

        root = find_root()
        if root is not None:
            return config.load(root / "trimtab.toml").model.name
        models = self.workspace().versions.models()
        if len(models) != 1:
            raise NotFound("which model? " + (f"This workspace has {', '.join(models)}." if models
                                              else "This workspace has none yet; begin with trimtab run data.csv"))
        return models[0]

    def known(self, workspace: Workspace, named: str | None) -> str:
        """As `model`; one that was named has to be in the workspace. Raises NotFound."""
        name = self.model(named)
        if named:
            workspace.versions.list(name, deleted=True)
        return name

    def show(self, value: dict[str, object], render: Callable[[], object]) -> None:
        """Print the value as JSON, or render it for people."""
        if self.as_json:
            print_json(value)
        else:
            render()


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Add the shared options; the function's first argument becomes the `Call`."""

    @click.option("--workspace", "workspace_dir", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
                  help="The workspace's folder (default: the nearest .trimtab/ upwards).")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
    @functools.wraps(function)
    def called(*, workspace_dir: Path | None, as_json: bool, **options: Any) -> None:
        function(Call(workspace_dir, as_json), **options)

    return called
