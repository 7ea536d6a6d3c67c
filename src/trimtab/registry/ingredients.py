"""What was a version made from?  Code, data, configuration, environment: one canonical JSON blob each.

The bytes that `checkout` needs (source files, the diff, the contract) are blobs too. The code's blob names the git
commit and the dirty diff where there is git, and every file's digest always. Secrets are left out (see `sources.py`);
passwords in URLs of `trimtab.toml` are masked.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab import canon
from trimtab import config as configuration
from trimtab.canon import Digest
from trimtab.config import ProjectConfig
from trimtab.errors import ConfigInvalid
from trimtab.registry.environment import capture_environment
from trimtab.registry.model import Ingredients
from trimtab.registry.sources import NOT_CODE, ORIGIN_FILE, Sources, capture_sources, digests
from trimtab.store.blobs import BlobStore, put_bytes, put_json

if TYPE_CHECKING:
    from trimtab.registry.model import Version
    from trimtab.registry.versions import Versions

MASK = "***"
_PASSWORD = re.compile(r"(?P<before>://[^\s/@:\"']*:)(?P<secret>[^\s/\"']+)(?P<after>@)")
_MAX_CONTRACT_BYTES = _MAX_ORIGIN_BYTES = 8 << 20


def capture(root: Path, config: ProjectConfig, *, blobs: BlobStore, dataset: Digest, split: Digest,
            rows: Digest | None = None) -> Ingredients:
    """Store what a model in the project `root` is made from, and name it.

    dataset: the dataset version's digest; split: which of its rows train and which are held out; rows: the blob that
    lists them, where the configuration alone does not give that split.
    """
    data: dict[str, object] = {"schema": "trimtab.data/1", "dataset": dataset, "split": split}
    return Ingredients(
        code=capture_code(root, blobs), config=capture_config(root, config, blobs),
        data=put_json(blobs, data if rows is None else {**data, "rows": rows}),
        environment=put_json(blobs, capture_environment()))


def capture_code(root: Path, blobs: BlobStore) -> Digest:
    """Store the project's source files; the digest is of the list that names them."""
    origin = _origin(root)
    beside = str(origin["folder"]) if origin else ""
    sources = capture_sources(root, ask_git=origin is None, leave_out=beside)
    if origin is not None and origin["files"] == digests(sources.files):
        git, skipped = origin["git"], origin["skipped"]
    else:
        git, skipped = _git_facts(sources, blobs), sources.skipped
    for data in sources.files.values():
        put_bytes(blobs, data)
    return put_json(blobs, {
        "schema": "trimtab.code/1", "git": git, "skipped": skipped,
        "files": {name: {"digest": digest, "bytes": len(sources.files[name])}
                  for name, digest in digests(sources.files).items()}})


def capture_config(root: Path, config: ProjectConfig, blobs: BlobStore) -> Digest:
    """Store `trimtab.toml` as it was read, and the contract beside it."""
    contract = root / NOT_CODE[1]
    text: str | None = None
    if contract.is_file() and contract.stat().st_size <= _MAX_CONTRACT_BYTES:
        text = contract.read_text(encoding="utf-8-sig", errors="replace")
    return put_json(blobs, {"schema": "trimtab.config/1",
                            "files": {NOT_CODE[0]: mask_passwords(config.text), NOT_CODE[1]: text}})


def config_of(versions: Versions, version: Version) -> ProjectConfig | None:
    """The `trimtab.toml` that a version was made from; None where it has none, or one of another trimtab."""
    files = versions.ingredient(version, "config").get("files")
    text = files.get(NOT_CODE[0]) if isinstance(files, dict) else None
    try:
        return configuration.parse(text, root=Path()) if isinstance(text, str) else None
    except ConfigInvalid:
        return None


def mask_passwords(text: str) -> str:
    """`text` with the password of every URL in it replaced.

    >>> mask_passwords('url = "postgresql://ada:s3cret@db/risk"')
    'url = "postgresql://ada:***@db/risk"'
    """
    return _PASSWORD.sub(rf"\g<before>{MASK}\g<after>", text)


def _git_facts(sources: Sources, blobs: BlobStore) -> object:
    git = sources.git
    if git is None:
        return None
    return {"commit": git.commit, "dirty": git.dirty, "untracked": list(git.untracked),
            "diff": put_bytes(blobs, git.diff) if git.diff else None}


def _origin(root: Path) -> dict[str, object] | None:
    """What `checkout` wrote about the files that it laid out here: git's facts are believed while no file differs."""
    path = root / ORIGIN_FILE
    if not path.is_file() or path.stat().st_size > _MAX_ORIGIN_BYTES:
        return None
    try:
        told = canon.loads(path.read_bytes())
    except ValueError:
        return None
    if not isinstance(told, dict) or told.get("schema") != "trimtab.origin/1":
        return None
    return told if {"git", "skipped", "files", "folder"} <= set(told) else None
