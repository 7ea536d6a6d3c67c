"""What is a new thing called?

Runs have 32 hex digits (MLflow's ids survive import); people see `r-` and the first few. Predictions are named
in the order of time. Randomness is handed in, so that a simulation gives the same names twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]

RandomBytes = Callable[[int], bytes]


class Ids:
    """Makes new ids. `random_bytes(n)` defaults to the operating system's."""

    def __init__(self, random_bytes: RandomBytes = os.urandom) -> None:
        self._random_bytes = random_bytes
        self._moment = -1, ""

    def run(self) -> str:
        """A run's id: 32 hex digits."""
        return self._random_bytes(16).hex()

    def prediction(self, now: datetime) -> str:
        """A prediction's id: `p-` and 26 Crockford base-32 digits, 48 bits of milliseconds first (ULID order)."""
        moment, text = int(now.timestamp() * 1000), self._moment
        if moment != text[0]:
            self._moment = text = moment, "p-" + _base32(moment, 10)
        return text[1] + _base32(int.from_bytes(self._random_bytes(10)), 16)

    def short(self, letter: str) -> str:
        """A short id for a thing people name by hand (`q-…`, `a-…`, `d-…`): 40 random bits."""
        return f"{letter}-" + _base32(int.from_bytes(self._random_bytes(5)), 8).lower()


def short_of(letter: str, digest: str) -> str:
    """A short id that follows from a digest (`sha256:…`): 40 of its bits.

    >>> short_of("a", "sha256:" + "0" * 63 + "1")
    'a-00000000'
    """
    return f"{letter}-" + _base32(int(digest.removeprefix("sha256:")[:10], 16), 8).lower()


def shown_run(run_id: str) -> str:
    """How a run is shown to people.

    >>> shown_run("7c2f00aa51d94e0b8f6d1c2b3a495867")
    'r-7c2f00aa'
    """
    return "r-" + run_id[:8]


def prediction_moment(name: str) -> datetime | None:
    """When a prediction was named, to the millisecond; None for what is not a prediction's id.

    >>> prediction_moment(Ids().prediction(datetime(2026, 3, 3, 14, 5, tzinfo=UTC)))
    datetime.datetime(2026, 3, 3, 14, 5, tzinfo=datetime.timezone.utc)
    >>> prediction_moment("p-1")
    """
    if len(name) != 28 or not name.startswith("p-") or any(digit not in _CROCKFORD for digit in name[2:]):
        return None
    number = 0
    for digit in name[2:]:
        number = number * 32 + _CROCKFORD.index(digit)
    milliseconds = number >> 80
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds) if milliseconds < 1 << 47 else None


def _base32(number: int, width: int) -> str:
    """`width`, an even number, of digits."""
    return "".join([_PAIRS[number >> place & 1023] for place in range(5 * width - 10, -1, -10)])
