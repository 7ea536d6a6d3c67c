"""Which moment does this text or value mean?  One reading of dates, shared by tables and single requests.

ISO 8601 dates and times; without a zone UTC is meant. In the encoded matrix a moment is days since 1970-01-01 UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
DAY_US = 86_400_000_000


def moment(text: str) -> datetime | None:
    """The moment that an ISO text means, naive and in UTC; None where it is none.

    >>> moment("2026-03-03T14:05+08:00")
    datetime.datetime(2026, 3, 3, 6, 5)
    >>> moment("3 March 2026") is None
    True
    """
    if not _ISO.fullmatch(text):
        return None
    try:
        found = datetime.fromisoformat(text)
        return found if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def days(value: object) -> float | None:
    """Days since 1970-01-01 UTC of an ISO text, a date or a datetime; None where it is none.

    >>> days("1970-01-02T12:00"), days(date(1970, 1, 3)), days(7)
    (1.5, 2.0, None)
    """
    if isinstance(value, str):
        value = moment(value)
    if isinstance(value, datetime):
        naive = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
    elif isinstance(value, date):
        naive = datetime(value.year, value.month, value.day)
    else:
        return None
    return float((naive - _EPOCH) // _MICROSECOND) / DAY_US


def from_days(value: float) -> datetime:
    """The moment, naive and in UTC, that `days` wrote as a number."""
    return _EPOCH + timedelta(microseconds=round(value * DAY_US))
