"""Which names may an alias or a stored file have, and where does a stored file go?

An allow-list, never a block-list (`trimtab.names` has the one for every name; here is what aliases and paths add).
`contained` is the only function of the registry that turns a recorded relative path into a file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from trimtab.errors import Forbidden, UsageError
from trimtab.names import check_name

MAX_PATH_CHARS = 400
CHAMPION = "champion"

_PATH_MARKS = "-_. +=@,()[]"
_NUMBER = re.compile(r"[vV]?\d+")


def model_name(text: str) -> str:
    """`text` in NFC if it may name a model. Raises UsageError.

    >>> model_name("风险-2026")
    '风险-2026'
    """
    return check_name("model", text)


def alias_name(text: str) -> str:
    """`text` in NFC if it may name an alias; `latest`, `v7` and `7` are taken. Raises UsageError.

    >>> alias_name("challenger")
    'challenger'
    """
    name = check_name("alias", text)
    if name.casefold() == "latest":
        raise UsageError("'latest' always means the newest version and can't be an alias; choose another name")
    if _NUMBER.fullmatch(name):
        raise UsageError(f"{name!r} reads as a version number and can't be an alias; choose another name")
    return name


def file_path(text: str) -> str:
    """`text` if it is a relative path of plain parts, as `code/features.py`. Raises UsageError.

    Refused: absolute paths, `..`, empty or hidden parts, back-slashes, control characters, anything not listed.

    >>> file_path("code/features.py")
    'code/features.py'
    """
    reason = ""
    if not text or len(text) > MAX_PATH_CHARS:
        reason = f"it has {len(text)} characters, 1 to {MAX_PATH_CHARS} are allowed"
    elif unicodedata.normalize("NFC", text) != text:
        reason = "it is not in Unicode normal form C"
    else:
        for part in text.split("/"):
            if not part or part[0] in ".- " or part[-1] in ". ":
                reason = f"the part {part!r} is empty, hidden, or ends in a dot or space"
            elif bad := _first_bad(part, _PATH_MARKS):
                reason = f"{bad!r} is not allowed"
            if reason:
                break
    if reason:
        raise UsageError(f"{text[:80]!r} can't be a file of a version: {reason}. Use a relative path such as "
                         "'code/features.py'.")
    return text


def contained(folder: Path, relative: str) -> Path:
    """The file `relative` inside `folder`, after every link is resolved. Raises UsageError or Forbidden."""
    root = folder.resolve()
    target = (root / file_path(relative)).resolve()
    if not target.is_relative_to(root) or target == root:
        raise Forbidden(f"{relative!r} leads out of {folder.name}/ through a link; nothing was written")
    return target


def near(wanted: str, known: Iterable[str]) -> str:
    """A sentence with the names closest to `wanted`, or with some that exist, or that there are none.

    >>> near("rsik", ["risk", "churn"])
    "Did you mean 'risk'?"
    """
    names = sorted(set(known))
    close = get_close_matches(wanted, names, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(repr(name) for name in close)}?"
    if not names:
        return "There are none yet."
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"Known: {', '.join(names[:5])}{more}."


def _first_bad(text: str, marks: str) -> str:
    """The first character that is neither a letter, a decimal digit nor one of `marks`; or the empty string."""
    for char in text:
        category = unicodedata.category(char)
        if not (category[0] == "L" or category == "Nd" or char in marks):
            return char
    return ""
