"""What time is it?

The clock is handed in, so that a test can hold it. Stored times are UTC text of fixed width, which sorts as time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

from trimtab.errors import UsageError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_second = 0, -1, ""                            # the one that `to_text` wrote last: most moments are in it


class Clock(Protocol):
    """Tells the time. Promises: aware, UTC, never naive."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The present moment in UTC."""
        return datetime.now(UTC)


class FixedClock:
    """A clock that stands still until it is moved; for tests and simulations."""

    def __init__(self, at: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._at = at.astimezone(UTC)

    def now(self) -> datetime:
        """The moment it was set to."""
        return self._at

    def advance(self, **by: float) -> None:
        """Move forward by `timedelta(**by)`."""
        self._at += timedelta(**by)

    def to(self, moment: datetime) -> None:
        """Move forward to a moment; one that is past changes nothing."""
        self._at = max(self._at, moment.astimezone(UTC))


def to_text(moment: datetime) -> str:
    """Fixed-width UTC text, microseconds included.

    >>> to_text(datetime(2026, 3, 3, 14, 5, tzinfo=UTC))
    '2026-03-03T14:05:00.000000Z'
    """
    if moment.tzinfo is None:
        raise ValueError("a time without a zone can't be stored; use an aware datetime")
    global _second
    since, (days, seconds, text) = moment - _EPOCH, _second
    if since.seconds != seconds or since.days != days:
        text = moment.astimezone(UTC).isoformat(timespec="seconds")[:-6]
        _second = since.days, since.seconds, text            # one reference: threads see a second with its own text
    return f"{text}.{since.microseconds:06d}Z"


def from_text(text: str) -> datetime:
    """Read `to_text`'s form, or any ISO 8601 date or time (UTC where no zone is given). Raises UsageError."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{text!r} is not a date or time; write it as 2026-03-03 or 2026-03-03T14:05") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
