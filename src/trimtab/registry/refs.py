"""Which version does a person mean?

`risk` (the newest version that was not deleted) · `risk@latest` · `risk@v2` · `risk@2` · `risk@champion` ·
`risk@sha256:49d7` (any prefix of four or more hex digits). This module only reads the words;
`Versions.resolve` looks them up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from trimtab.errors import UsageError
from trimtab.registry.names import alias_name, model_name

MAX_NUMBER = 2**31 - 1
_NUMBER = re.compile(r"[vV]?([0-9]{1,10})")
_DIGEST = re.compile(r"(?:sha256:)([0-9a-fA-F]{4,64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """A model and at most one of: a number, an alias, a digest prefix. None of them means the newest version."""

    model: str
    number: int | None = None
    alias: str | None = None
    digest: str | None = None                 # "sha256:" and 4 to 64 lower-case hex digits

    def __str__(self) -> str:
        if self.number is not None:
            return f"{self.model}@v{self.number}"
        return f"{self.model}@{self.alias or self.digest or 'latest'}"


def parse(text: str) -> Ref:
    """Read a reference. Raises UsageError that shows the forms.

    >>> parse("risk@v2").number, parse("risk@2").number, parse("风险@champion").alias
    (2, 2, 'champion')
    >>> parse("risk@sha256:49D7").digest
    'sha256:49d7'
    """
    name, at, wanted = text.strip().partition("@")
    model = model_name(name)
    if not at or wanted == "latest":
        return Ref(model=model)
    if found := _NUMBER.fullmatch(wanted):
        number = int(found[1])
        if not 1 <= number <= MAX_NUMBER:
            raise UsageError(f"{text.strip()[:120]!r}: versions are numbered from 1; write {model}@v1")
        return Ref(model=model, number=number)
    if found := _DIGEST.fullmatch(wanted):
        return Ref(model=model, digest="sha256:" + found[1].lower())
    if not wanted or ":" in wanted:
        raise UsageError(f"{text.strip()[:120]!r} is not a version; write {model}, {model}@v2, {model}@champion or "
                         f"{model}@sha256: and at least four hex digits")
    return Ref(model=model, alias=alias_name(wanted))
