"""Which source files was a model made with?  (git commit and dirty diff where there is git; always the bytes)

Only the project's own Python and TOML files, never what could hold a secret: hidden files, names and contents that look
like keys, files that git ignores. Git is asked with a time limit, without hooks, optional locks, external diffs or a
file-system monitor; where it is absent, refuses or is slow, the files alone are the answer.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trimtab import canon
from trimtab.canon import Digest
from trimtab.errors import UsageError
from trimtab.registry.names import file_path

ORIGIN_FILE = "trimtab.origin.json"            # left by `checkout`: where the files came from
NOT_CODE = ("trimtab.toml", "contract.toml")   # the configuration, an ingredient of its own
MAX_FILES, MAX_FILE_BYTES, MAX_TOTAL_BYTES = 2_000, 1 << 20, 32 << 20
MAX_DIFF_BYTES = 1 << 20
_MAX_LOOKED_AT = 50_000                        # directory entries, where git can't list them
_GIT_S = 10.0
_KINDS = (".py", ".toml")
_NOT_OURS = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages", "build", "dist", "venv", "env"})
_SECRET_NAME = re.compile(r"(?i)(^|[^a-z])(secrets?|credentials?|passwords?|passwd|tokens?|apikeys?|api_keys?)"
                          r"([^a-z]|$)|^id_(rsa|dsa|ecdsa|ed25519)|\.(pem|key|p12|pfx)$")
_SECRET_TEXT = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """Where a working copy stood. `diff`: of the captured files against the commit; empty when they are clean."""

    commit: str
    diff: bytes
    untracked: tuple[str, ...] = ()

    @property
    def dirty(self) -> bool:
        """Do the captured files differ from the commit?"""
        return bool(self.diff or self.untracked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Relative path → bytes, what was left out and why, and the git state where there is one."""

    files: dict[str, bytes]
    skipped: dict[str, str] = field(default_factory=dict)
    git: Git | None = None


def capture_sources(root: Path, *, ask_git: bool = True, leave_out: str = "") -> Sources:
    """The project's own source files under `root`. The same files give the same answer, in order.

    leave_out: a folder that is none of the project's, as `checkout` makes one for a version's files.
    """
    root = root.resolve()
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--",
                  *(f"*{kind}" for kind in _KINDS)) if ask_git else None
    skipped: dict[str, str] = {}
    if listed is None:
        names = list(_walk(root, skipped))
    else:
        names = sorted({name for name in listed.decode("utf-8", "replace").split("\0") if name})
        names = [name for name in names if (root / name).exists()]          # a deletion is told by the diff
    names = [name for name in names if not (leave_out and name.startswith(f"{leave_out}/"))]
    files = _read(root, names, skipped)
    return Sources(files=files, skipped=skipped, git=None if listed is None else _state(root, list(files)))


def looks_secret(name: str) -> bool:
    """Would a file of this name hold secrets?

    >>> [looks_secret(name) for name in ("secrets.toml", "my_token.py", "id_rsa", "features.py", "tokenizer.py")]
    [True, True, True, False, False]
    """
    return name.startswith(".") or _SECRET_NAME.search(name) is not None


def _read(root: Path, names: list[str], skipped: dict[str, str]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    total = 0
    for name in names:
        reason, data = _one(root, name)
        if not reason and (len(files) >= MAX_FILES or total + len(data) > MAX_TOTAL_BYTES):
            reason = f"over the bound of {MAX_FILES:,} files or {MAX_TOTAL_BYTES >> 20} MiB"
        if reason == "configuration":
            continue
        if reason:
            skipped[name] = reason
        else:
            files[name] = data
            total += len(data)
    return files


def _one(root: Path, name: str) -> tuple[str, bytes]:
    """(why it is left out, its bytes)."""
    if name in NOT_CODE:
        return "configuration", b""
    try:
        file_path(name)
    except UsageError:
        return "hidden, or a name that can't be stored", b""
    if any(looks_secret(part) for part in name.split("/")):
        return "its name looks like a secret", b""
    path = root / name
    try:
        if path.is_symlink() or not path.resolve().is_relative_to(root) or not path.is_file():
            return "a link, or not a file", b""
        with path.open("rb") as source:
            data = source.read(MAX_FILE_BYTES + 1)
    except OSError as problem:
        return f"can't be read: {problem.strerror}", b""
    if len(data) > MAX_FILE_BYTES:
        return f"over {MAX_FILE_BYTES >> 20} MiB", b""
    if _SECRET_TEXT.search(data):
        return "it holds what looks like a key", b""
    return "", data


def _walk(root: Path, skipped: dict[str, str]) -> Iterator[str]:
    """Python and TOML files below `root` in order, without hidden, generated and installed ones; bounded."""
    left = _MAX_LOOKED_AT
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        if any(entry.name == "pyvenv.cfg" for entry in entries):
            continue
        below = []
        for entry in entries:
            left -= 1
            if left < 0:
                skipped["…"] = f"more than {_MAX_LOOKED_AT:,} files and folders; the rest was not looked at"
                return
            if entry.is_symlink() or entry.name.startswith("."):
                continue
            if entry.is_dir():
                if entry.name not in _NOT_OURS and not entry.name.endswith((".egg-info", ".dist-info")):
                    below.append(Path(entry.path))
            elif entry.name.endswith(_KINDS):
                yield Path(entry.path).relative_to(root).as_posix()
        folders.extend(reversed(below))


def _state(root: Path, names: list[str]) -> Git | None:
    commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if commit is None:
        return None
    tracked = _git(root, "ls-files", "-z", "--cached")
    known = set((tracked or b"").decode("utf-8", "replace").split("\0"))
    changed = _git(root, "diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", "--relative", "HEAD", "--",
                   *(f"*{kind}" for kind in _KINDS))
    wanted = [name for name in (changed or b"").decode("utf-8", "replace").split("\0")
              if name in names or (name and _may_tell(root, name))][:MAX_FILES]
    diff = _git(root, "diff", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--full-index",
                "--relative", "--src-prefix=a/", "--dst-prefix=b/", "HEAD", "--",
                *(f":(literal){name}" for name in wanted)) if wanted else b""
    if diff is None or len(diff) > MAX_DIFF_BYTES:
        diff = b"the difference is too large or could not be had; the files themselves are stored\n"
    return Git(commit=commit.decode().strip(), diff=diff,
               untracked=tuple(name for name in names if name not in known))


def _may_tell(root: Path, name: str) -> bool:
    """Was it deleted, and may its old text be shown in a diff?"""
    return name not in NOT_CODE and not (root / name).exists() and not any(map(looks_secret, name.split("/")))


def _git(root: Path, *arguments: str) -> bytes | None:
    """What git prints, or None where it is absent, refuses, or takes too long."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    command = ["git", "--no-optional-locks", "--no-pager", "-c", f"core.hooksPath={os.devnull}", "-c",
               "core.fsmonitor=false", "-c", "core.quotePath=false", "-c", "diff.external=", *arguments]
    try:
        done = subprocess.run(command, cwd=root, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=_GIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def digests(files: dict[str, bytes]) -> dict[str, Digest]:
    """Path → digest."""
    return {name: canon.digest_bytes(data) for name, data in files.items()}
