"""Which names may things have?

One allow-list for everything that a person or a client names: letters and digits of any script, and `-`, `_`, `.`.
A name never becomes a path, but it could pass for one nowhere either.
"""

from __future__ import annotations

import re
import unicodedata

from trimtab.errors import UsageError

_NAME = re.compile(r"\w[\w.\-]{0,99}")


def check_name(kind: str, text: str) -> str:
    """`text` in Unicode NFC when it may name a `kind` ("model", "alias", "endpoint"). Raises UsageError.

    >>> check_name("model", "风险-2")
    '风险-2'
    """
    name = unicodedata.normalize("NFC", text)
    if not _NAME.fullmatch(name) or ".." in name:
        raise UsageError(f"{text[:100]!r} can't name the {kind}: use 1 to 100 letters, digits, '-', '_' or '.', "
                         "beginning with a letter or digit")
    return name
