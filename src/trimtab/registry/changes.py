"""What is written differently in two versions?  (parameters, features, contract, packages, configuration, code)

Pure comparisons of values and texts; what the two models *do* differently is `compare.py`.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_DIFF_LINES = 400
ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """One thing that differs. `kind`: "added" (in b only), "removed" (in a only), "changed"."""

    key: str
    a: object = None
    b: object = None
    kind: str = "changed"

    @property
    def words(self) -> str:
        """`age.max: 79.0 → 85.0`."""
        before, after = (ABSENT if self.kind == gone else _short(value)
                         for gone, value in (("added", self.a), ("removed", self.b)))
        return f"{self.key}: {before} → {after}"

    def to_json(self) -> dict[str, object]:
        """All fields."""
        return {"key": self.key, "a": self.a, "b": self.b, "kind": self.kind}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One text file that differs, as a unified diff of at most `MAX_DIFF_LINES` lines."""

    path: str
    kind: str                                 # "added", "removed", "changed"
    diff: str
    cut: int = 0                              # lines of the diff that are not shown

    def to_json(self) -> dict[str, object]:
        """All fields."""
        return {"path": self.path, "kind": self.kind, "diff": self.diff, "lines_not_shown": self.cut}


def changed(a: object, b: object) -> tuple[Changed, ...]:
    """Every leaf at which two JSON-like values differ, by dotted key, in order. Lists of named tables go by name.

    >>> [one.words for one in changed({"alpha": 1.0, "kernel": "rbf"}, {"alpha": 3.0, "gamma": 0.1, "kernel": "rbf"})]
    ['alpha: 1.0 → 3.0', 'gamma: absent → 0.1']
    """
    before, after = dict(_leaves(a, "")), dict(_leaves(b, ""))
    found = []
    for key in [*before, *(key for key in after if key not in before)]:
        if key not in after:
            found.append(Changed(key=key, a=before[key], kind="removed"))
        elif key not in before:
            found.append(Changed(key=key, b=after[key], kind="added"))
        elif before[key] != after[key] or type(before[key]) is not type(after[key]):
            found.append(Changed(key=key, a=before[key], b=after[key]))
    return tuple(found)


def changed_toml(a: str | None, b: str | None) -> tuple[Changed, ...]:
    """The same for two TOML texts: for a contract, column by column. What is not TOML counts as one text."""
    return changed(_toml(a), _toml(b))


def changed_files(a: Mapping[str, bytes | None], b: Mapping[str, bytes | None], *,
                  differing: Iterable[str]) -> tuple[FileChange, ...]:
    """Unified diffs of the files named, bounded together. Bytes None: the file is not there; not UTF-8: no diff."""
    found, left = [], MAX_DIFF_LINES
    for path in sorted(differing):
        before, after = a.get(path), b.get(path)
        kind = "added" if before is None else "removed" if after is None else "changed"
        lines = _unified(path, before, after)
        found.append(FileChange(path=path, kind=kind, diff="\n".join(lines[:left]), cut=max(0, len(lines) - left)))
        left = max(0, left - len(lines))
    return tuple(found)


def _unified(path: str, before: bytes | None, after: bytes | None) -> list[str]:
    try:
        old, new = ((data or b"").decode("utf-8").splitlines() for data in (before, after))
    except UnicodeDecodeError:
        return [f"{path} is not UTF-8 text"]
    return list(difflib.unified_diff(old, new, f"a/{path}", f"b/{path}", lineterm=""))


def _leaves(value: object, prefix: str) -> Iterable[tuple[str, object]]:
    dot = f"{prefix}." if prefix else ""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{dot}{key}")
    elif isinstance(value, list) and value and all(isinstance(one, dict) and "name" in one for one in value):
        for one in value:
            yield f"{dot}{one['name']}", "present"
            yield from _leaves({key: inner for key, inner in one.items() if key != "name"}, f"{dot}{one['name']}")
    elif value is not None:
        yield prefix, value


def _toml(text: str | None) -> object:
    if text is None:
        return {}
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {"text": text}


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"
