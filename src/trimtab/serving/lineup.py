"""Which version answers a request, and which one only computes along?

The lineup of an endpoint is the champion and what is tried beside it, in one value: a request reads it once. Of a
canary the same key, or the same row where rows have no key, is answered by the same side throughout the trial, also
when the share grows. Pure, but for the hash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Literal, get_args

import msgspec

from trimtab.data.contract import Contract
from trimtab.errors import Malformed
from trimtab.registry.bundle import Bundle
from trimtab.serving.fallback import Fallback
from trimtab.serving.shadow import Shadow
from trimtab.serving.source import Place
from trimtab.serving.stages import Stage

Side = Literal["champion", "canary"]
_SPAN = 2.0 ** 64
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What is tried beside a champion; shadow: where the side that does not answer computes."""

    bundle: Bundle
    stage: Stage
    shadow: Shadow = field(compare=False)

    @cached_property
    def salt(self) -> bytes:
        """What draws the sides of this trial independently of every other."""
        return f"{self.stage.model}\0{self.stage.endpoint}\0{self.stage.trial}\0".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineup:
    """What serves at a place. live: is `champion` what is live there, and not a version asked for by number? fallback:
    what is answered in place of a champion that is live, where its configuration declares that."""

    place: Place
    champion: Bundle
    beside: Beside | None = None
    live: bool = True
    fallback: Fallback | None = None

    def holds(self, number: int) -> Bundle | None:
        """Its bundle of that version, where it has one."""
        if self.champion.number == number:
            return self.champion
        return self.beside.bundle if self.beside is not None and self.beside.bundle.number == number else None


def side_of(beside: Beside, contract: Contract, rows: Sequence[Mapping[str, object]]) -> Side:
    """Who answers these rows, by the first one's key (its id column), or by the row itself where it has none."""
    share = beside.stage.share
    if not share:
        return "champion"
    row = rows[0]
    named = contract.id_column
    key = None if named is None else row.get(named)
    told = [row.get(column.name) for column in contract.features] if key is None else str(key)
    drawn = int.from_bytes(blake2b(beside.salt + _encode(told), digest_size=8).digest())
    return "canary" if drawn / _SPAN < share else "champion"


def read_side(text: str | None) -> Side | None:
    """The side that a request asks for (`x-trimtab-version`). Raises Malformed."""
    if text is None or text in get_args(Side):
        return text  # type: ignore[return-value]
    raise Malformed(f"x-trimtab-version: {text[:40]!r} is neither 'champion' nor 'canary'; a version by number is "
                    "asked in the path", field="x-trimtab-version")
