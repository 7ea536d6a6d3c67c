"""What is wrong with this installation or this workspace, and what mends it?"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trimtab import __version__
from trimtab.errors import NotFound, TrimtabError
from trimtab.project import audit
from trimtab.store.blobs_local import LocalBlobs
from trimtab.workspace import Workspace

_DAY_S = 86_400
_LOW_DISK_BYTES = 500_000_000
_NEEDED = ("scikit-learn", "polars", "skops", "sqlalchemy", "starlette", "uvicorn", "cryptography", "datasketches")
_OPTIONAL = {"psycopg": "PostgreSQL workspaces: pip install 'trimtab[postgres]'", "pandas": "pandas frames in and out"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    text: str

    def to_json(self) -> dict[str, object]:
        """The check by field name."""
        return {"name": self.name, "ok": self.ok, "text": self.text}


def examine(folder: Path, *, fix: bool = False) -> list[Check]:
    """Look at Python, the packages, the workspace in `folder`, its space and its record; `fix` removes leftovers."""
    return [*_installation(), *_workspace(folder, fix)]


def _installation() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    tested = "" if sys.version_info[:2] == (3, 11) else " (only 3.11 is tested)"
    yield Check(name="Python", ok=sys.version_info >= (3, 11), text=f"{version}{tested}, trimtab {__version__}")
    missing = [name for name in _NEEDED if _version(name) is None]
    found = ", ".join(f"{name} {_version(name)}" for name in _NEEDED if name not in missing)
    yield Check(name="Packages", ok=not missing, text=f"missing: {', '.join(missing)}; pip install -U trimtab"
                if missing else found)
    absent = [f"{name} ({why})" for name, why in _OPTIONAL.items() if _version(name) is None]
    yield Check(name="Optional", ok=True, text=f"not installed: {'; '.join(absent)}" if absent else "all there")


def _workspace(folder: Path, fix: bool) -> Iterator[Check]:
    try:
        workspace = Workspace.open(folder)
    except NotFound:
        yield Check(name="Workspace", ok=True, text=f"none at {folder.name}/ yet; trimtab init data.csv makes one")
        return
    except TrimtabError as problem:
        yield Check(name="Workspace", ok=False, text=str(problem))
        return
    with workspace:
        yield Check(name="Workspace", ok=True, text=f"{folder.name}/ on "
                    f"{'SQLite' if workspace.db.is_sqlite else workspace.db.shown_url}")
        free = shutil.disk_usage(folder).free
        yield Check(name="Space", ok=free > _LOW_DISK_BYTES, text=f"{free / 1e9:.1f} GB free")
        yield _private_key(folder)
        yield _leftovers(workspace.blobs, fix)
        yield _notices(workspace)
        try:
            report = audit.verify(workspace)
        except TrimtabError as problem:
            yield Check(name="Record", ok=False, text=str(problem))
        else:
            yield Check(name="Record", ok=True,
                        text=f"{report.rows} journal rows and {report.versions} versions verified")


def _private_key(folder: Path) -> Check:
    path = folder / "keys" / "signing.pem"
    if not path.exists():
        return Check(name="Key", ok=True, text="no signing key yet; one is made with the first journal row")
    mode = path.stat().st_mode & 0o077
    return Check(name="Key", ok=mode == 0, text="readable by its owner only" if mode == 0 else
                 f"others can read keys/signing.pem; chmod 600 {path.name}")


def _notices(workspace: Workspace) -> Check:
    lost = workspace.notices.list(state="gave_up", limit=1000)
    return Check(name="Notices", ok=not lost, text="nothing given up" if not lost else
                 f"{len(lost)} could not be told ({lost[0].why}); trimtab notify list, then trimtab notify retry")


def _leftovers(blobs: LocalBlobs, fix: bool) -> Check:
    old = [path for path in blobs.leftovers() if path.stat().st_mtime < time.time() - _DAY_S]
    if fix:
        for path in old:
            os.unlink(path)
    return Check(name="Leftovers", ok=fix or not old, text="none" if not old else
                 f"{len(old)} temporary files of killed processes {'removed' if fix else '; trimtab doctor --fix'}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
