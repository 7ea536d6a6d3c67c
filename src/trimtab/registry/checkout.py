"""How does a version come back as a folder that can be worked in?

`checkout` lays out its source files, configuration, contract, lock, data and model files in an empty folder; nothing is
written unless every byte was verified first, and nothing outside that folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab import canon
from trimtab.canon import Digest
from trimtab.config import ProjectConfig, parse
from trimtab.errors import Conflict, TrimtabError, UsageError
from trimtab.registry.environment import lock_lines
from trimtab.registry.ingredients import MASK
from trimtab.registry.model import Version
from trimtab.registry.names import contained, file_path
from trimtab.registry.sources import ORIGIN_FILE
from trimtab.registry.versions import Versions

if TYPE_CHECKING:
    import polars as pl

LOCK_FILE = "requirements.lock"
DATA_FILE = "data.parquet"
_TEXT_DATA = {".csv": ",", ".txt": ",", ".tsv": "\t", ".tab": "\t"}

Frames = Callable[[Digest], "pl.DataFrame"]    # a dataset version's rows by digest; raises NotFound or BlobMissing


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """What was laid out. `files`: relative paths, in order; `notes`: what a person has to know or do."""

    folder: Path
    version: str
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """`{"schema", "version", "files", "notes"}`."""
        return {"schema": "trimtab.checkout/1", "version": self.version, "files": list(self.files),
                "notes": list(self.notes)}


def checkout(versions: Versions, version: Version, folder: Path, *, frames: Frames | None = None) -> Checkout:
    """Lay `version` out in `folder`, which is made, or is empty.

    frames: how a dataset's rows are read; without it, or where the rows are not stored, the data is left out and
    `notes` says so. Raises UsageError (the folder holds something, or is a file), Conflict (deleted version),
    DigestMismatch, SignatureInvalid, BlobMissing.
    """
    if version.deleted_at is not None:
        raise Conflict(f"{version.name} was deleted on {version.deleted_at[:10]} and can't be checked out",
                       version=version.name)
    _refuse_used(folder)
    versions.verify(version)
    notes: list[str] = []
    files = _files(versions, version)
    config = _config(files, folder, notes)
    data = _data(versions, version, config, frames, notes)
    for path in {**files, **data}:
        file_path(path)
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        _write(folder, path, content)
    for path, (frame, separator) in data.items():
        _write_frame(folder, path, frame, separator)
    return Checkout(folder=folder, version=version.name, files=tuple(sorted({**files, **data})), notes=tuple(notes))


def _files(versions: Versions, version: Version) -> dict[str, bytes]:
    code = versions.ingredient(version, "code")
    listed: Any = code["files"]
    settings: Any = versions.ingredient(version, "config")["files"]
    files = {path: versions.blob(version, path, Digest(file["digest"])) for path, file in listed.items()}
    files |= {path: text.encode() for path, text in settings.items() if text is not None}
    files[LOCK_FILE] = lock_lines(versions.ingredient(version, "environment")).encode()
    files |= {f"{version.name}/{path}": versions.read(version, path) for path in version.manifest.files}
    files[ORIGIN_FILE] = canon.dumps({
        "schema": "trimtab.origin/1", "version": version.name, "digest": version.digest, "folder": version.name,
        "git": code.get("git"), "skipped": code.get("skipped", {}),
        "files": {path: file["digest"] for path, file in listed.items()}})
    return files


def _config(files: dict[str, bytes], folder: Path, notes: list[str]) -> ProjectConfig | None:
    text = files.get("trimtab.toml", b"").decode()
    if f":{MASK}@" in text:
        notes.append(f"a password in trimtab.toml was never stored: put it in the place of {MASK}")
    try:
        return parse(text, root=folder)
    except TrimtabError as problem:
        notes.append(f"this trimtab can't read the version's trimtab.toml: {problem}")
        return None


def _data(versions: Versions, version: Version, config: ProjectConfig | None, frames: Frames | None,
          notes: list[str]) -> dict[str, tuple[pl.DataFrame, str]]:
    """Relative path → (rows, separator; empty for Parquet): where the configuration expects the data, if it can be."""
    dataset = Digest(str(versions.ingredient(version, "data")["dataset"]))
    if frames is None:
        notes.append(f"the data ({dataset.short}) was not laid out: nobody said how it is read")
        return {}
    try:
        frame = frames(dataset)
    except TrimtabError as problem:
        notes.append(f"the data ({dataset.short}) was not laid out: {problem}")
        return {}
    wanted = config.model.data if config is not None else DATA_FILE
    if not isinstance(wanted, str):
        notes.append(f"trimtab.toml asks a database; the rows as they were then are in {DATA_FILE}")
        return {DATA_FILE: (frame, "")}
    wanted = wanted.removeprefix("./")
    try:
        separator = _TEXT_DATA.get(Path(file_path(wanted)).suffix.lower(), "")
    except UsageError:
        notes.append(f"trimtab.toml reads {wanted!r}, which is not a plain path in the project; the rows are in "
                     f"{DATA_FILE}")
        return {DATA_FILE: (frame, "")}
    if separator and not _survives_text(frame, separator):
        notes.append(f"the rows can't be written as {wanted} without a loss, so that file holds Parquet; trimtab reads "
                     "it all the same")
        separator = ""
    return {wanted: (frame, separator)}


def _survives_text(frame: pl.DataFrame, separator: str) -> bool:
    """Does our own reader make the same frame of the text?"""
    import tempfile

    from trimtab.data.readers import read_table

    with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
        path = Path(folder) / "data.csv"
        frame.write_csv(path, separator=separator)
        try:
            table = read_table(path)
        except TrimtabError:
            return False
    return not table.quarantined and table.frame.schema == frame.schema and table.frame.equals(frame)


def _refuse_used(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder.name} is not a folder; name a new or empty one")
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"the folder {folder.resolve().name}/ is not empty; name a new or empty one, nothing was "
                         "written")


def _write(folder: Path, relative: str, data: bytes) -> None:
    path = contained(folder, relative)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(contained(folder, relative), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(handle, "wb") as out:
        out.write(data)


def _write_frame(folder: Path, relative: str, frame: pl.DataFrame, separator: str) -> None:
    _write(folder, relative, b"")
    path = contained(folder, relative)
    if separator:
        frame.write_csv(path, separator=separator)
    else:
        frame.write_parquet(path)
