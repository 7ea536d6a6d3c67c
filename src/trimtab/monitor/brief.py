"""What does monitoring know of an endpoint, at a glance?  For `trimtab status`: reads no traffic, loads nothing heavy.

Drift is that of the newest window; the labelled share is of the rows in windows; the lag is the median of the newest
labels that name their prediction, whose id tells when it was made.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from trimtab import canon, clock
from trimtab.ids import prediction_moment
from trimtab.store.db import Database
from trimtab.store.schema import labels, windows

_NEWEST_LABELS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """drifted: the columns that alarm, None where no window is closed yet; labelled: share of the rows in windows whose
    truth came, None where labels are not watched; lag_s: seconds from a prediction to its label."""

    drifted: tuple[str, ...] | None
    labelled: float | None
    lag_s: float | None

    def to_json(self) -> dict[str, object]:
        """As `status --json` has it."""
        return {"drifted": None if self.drifted is None else list(self.drifted), "labelled_share": self.labelled,
                "label_lag_s": self.lag_s}

    @property
    def words(self) -> tuple[str, ...]:
        """`drift: none`, `labels: 62% (lag 2 d)`."""
        drift = "cannot tell yet" if self.drifted is None else ", ".join(self.drifted[:3]) or "none"
        told = [f"drift: {drift}"]
        if self.labelled is not None:
            told.append(f"labels: {self.labelled:.0%}" + (f" (lag {_span(self.lag_s)})" if self.lag_s else ""))
        return tuple(told)


def brief(db: Database, model: str, version: int, endpoint: str) -> Brief:
    """The glance at one version at an endpoint."""
    mine = sa.and_(windows.c.model == model, windows.c.version == version, windows.c.endpoint == endpoint)
    with db.read() as conn:
        newest = conn.execute(sa.select(windows.c.counts).where(mine).order_by(
            windows.c.seq.desc()).limit(1)).scalar_one_or_none()
        rows = conn.execute(sa.select(sa.func.sum(windows.c.rows)).where(mine)).scalar_one()
        told = conn.execute(sa.select(labels.c.key, labels.c.recorded_at).where(
            labels.c.model == model, labels.c.key_kind == "prediction").order_by(
            labels.c.recorded_at.desc()).limit(_NEWEST_LABELS)).all()
    if newest is None:
        return Brief(drifted=None, labelled=None, lag_s=None)
    known: Any = canon.loads(newest)
    harm = known.get("harm")
    lags = [(clock.from_text(at) - moment).total_seconds() for key, at in told
            if (moment := prediction_moment(key)) is not None]
    return Brief(drifted=tuple(str(one["column"]) for one in known["evidence"]["columns"] if one["alarm"]),
                 labelled=None if harm is None or not rows else min(1.0, harm["n"] / int(rows)),
                 lag_s=statistics.median(lags) if lags else None)


def _span(seconds: float | None) -> str:
    """
    >>> _span(2.2 * 86_400), _span(7200), _span(90), _span(3)
    ('2 d', '2 h', '2 min', '3 s')
    """
    left = seconds or 0.0
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if left >= size:
            return f"{left / size:.0f} {unit}"
    return f"{left:.0f} s"
