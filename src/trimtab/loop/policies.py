"""What may the loop do for a model, and is it paused?  The kept policies, and the kill switch.

A policy that nobody kept is the one that the caller names (what trimtab.toml says), also while it is paused. `EVERY`
pauses all models at once. Each change is a journal row.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from trimtab import canon, clock
from trimtab.clock import Clock
from trimtab.config import seconds
from trimtab.errors import UsageError
from trimtab.loop.model import Policy
from trimtab.registry.ingredients import config_of
from trimtab.registry.model import Version
from trimtab.registry.versions import Versions
from trimtab.store.db import Database
from trimtab.store.journal import Journal
from trimtab.store.schema import policies

EVERY: Final = "*"                             # no model has this name
_NONE: Final = "{}"                            # settings of a model that was only paused
_SWITCH: Final = frozenset({"paused", "why", "by"})


class Policies:
    """The policies of one workspace; safe to share between threads and processes."""

    def __init__(self, db: Database, journal: Journal, now: Clock) -> None:
        self._db, self._journal, self._clock = db, journal, now

    def get(self, model: str, *, default: Policy | None = None) -> Policy:
        """The policy of a model: as kept, else `default`; paused where it or every model is."""
        with self._db.read() as conn:
            found = self._read(conn, model, default or Policy())
            every = self._read(conn, EVERY, Policy())
        if every.paused and not found.paused:
            return msgspec.structs.replace(found, paused=True, why=every.why, by=every.by)
        return found

    def put(self, model: str, policy: Policy, *, by: str, why: str = "") -> Policy:
        """Keep a policy; whether it is paused stays as it is. Raises UsageError on a figure out of its range."""
        check(policy)
        with self._db.write() as conn:
            self._journal.length(conn)
            before = self._read(conn, model, Policy())
            kept = msgspec.structs.replace(policy, paused=before.paused, why=before.why, by=before.by)
            self._write(conn, model, kept)
            self._journal.append(conn, kind="policy.set", model=model, subject=model, by=by, why=why,
                                 body=kept.to_json())
        return kept

    def reset(self, model: str, *, by: str, why: str = "") -> None:
        """Keep none: what the caller names goes again; whether it is paused stays as it is."""
        with self._db.write() as conn:
            self._journal.length(conn)
            if conn.execute(policies.update().where(policies.c.model == model, policies.c.settings != _NONE).values(
                    settings=_NONE, at=clock.to_text(self._clock.now()))).rowcount:
                self._journal.append(conn, kind="policy.reset", model=model, subject=model, by=by, why=why)

    def kept(self, model: str) -> bool:
        """Did somebody keep one?"""
        with self._db.read() as conn:
            row = conn.execute(sa.select(policies.c.settings).where(policies.c.model == model)).one_or_none()
        return row is not None and row.settings != _NONE

    def paused(self) -> dict[str, tuple[str, str]]:
        """Whom the kill switch holds, `EVERY` for all: by whom and why."""
        with self._db.read() as conn:
            return {row.model: (row.by, row.why) for row in conn.execute(
                sa.select(policies).where(policies.c.paused == 1).order_by(policies.c.model))}

    def pause(self, model: str = EVERY, *, by: str, why: str) -> None:
        """The kill switch: nothing is done for a model, or for any, until `resume`. Raises UsageError without a
        reason."""
        if not why.strip():
            raise UsageError("pausing needs a reason: --reason \"…\", or \"why\" over HTTP")
        self._switch(model, paused=True, by=by, why=why)

    def resume(self, model: str = EVERY, *, by: str, why: str = "") -> None:
        """Let the loop go on. Where every model is paused, resuming one of them leaves it paused."""
        self._switch(model, paused=False, by=by, why=why)

    def _switch(self, model: str, *, paused: bool, by: str, why: str) -> None:
        with self._db.write() as conn:
            self._journal.length(conn)
            if self._read(conn, model, Policy()).paused == paused:
                return
            self._put(conn, model, {"paused": int(paused), "why": why, "by": by})
            self._journal.append(conn, kind="policy.pause" if paused else "policy.resume",
                                 model="" if model == EVERY else model, subject=model, by=by, why=why)

    @staticmethod
    def _read(conn: Connection, model: str, default: Policy) -> Policy:
        row = conn.execute(sa.select(policies).where(policies.c.model == model)).one_or_none()
        if row is None:
            return default
        if row.settings == _NONE:
            return msgspec.structs.replace(default, paused=bool(row.paused), why=row.why, by=row.by)
        settings: Any = canon.loads(row.settings)
        return Policy.from_json({**settings, "on_drift": row.on_drift, "paused": bool(row.paused), "why": row.why,
                                 "by": row.by})

    def _write(self, conn: Connection, model: str, policy: Policy) -> None:
        told = policy.to_json()
        settings = {name: value for name, value in told.items() if name not in _SWITCH | {"on_drift"}}
        self._put(conn, model, {"on_drift": policy.on_drift, "settings": canon.dumps(settings).decode(),
                                "paused": int(policy.paused), "why": policy.why, "by": policy.by})

    def _put(self, conn: Connection, model: str, values: dict[str, object]) -> None:
        values = {**values, "at": clock.to_text(self._clock.now())}
        if not conn.execute(policies.update().where(policies.c.model == model).values(values)).rowcount:
            conn.execute(policies.insert().values({"model": model, "on_drift": "", "settings": _NONE, **values}))


def policy_of(versions: Versions, version: Version) -> Policy:
    """What the configuration that a version was made from says; without one, the cautious default."""
    made = config_of(versions, version)
    if made is None:
        return Policy()
    canary, retrain = made.deploy.production.canary, made.monitor.retrain
    return Policy(
        on_drift=made.monitor.on_drift, wrong_promotion=canary.wrong_promotion, loss_clip=canary.loss_clip,
        steps=tuple(step / 100 for step in canary.steps if step < 100), step_rows=canary.rows,
        most_labels=canary.labels, most_days=canary.days, probation_labels=canary.probation,
        least_labels=retrain.least_labels, cooldown_s=seconds(retrain.cooldown), retrains_per_month=retrain.per_month,
        attempts=retrain.attempts)


def check(policy: Policy) -> None:
    """Is every figure in its range? Raises UsageError naming the first that is not.

    >>> check(Policy())
    """
    steps = policy.steps
    wrong = {
        "wrong_promotion is a probability between 0 and 0.5": not 0 < policy.wrong_promotion < 0.5,
        "steps are shares of the traffic, each above the one before, from 0 (shadow) to below 1":
            not steps or list(steps) != sorted(set(steps)) or not all(0 <= one < 1 for one in steps),
        "step_rows, least_labels, probation_labels and retrains_per_month are not negative": min(
            policy.step_rows, policy.least_labels, policy.probation_labels, policy.retrains_per_month) < 0,
        "most_labels, most_days and attempts are above 0": min(
            policy.most_labels, policy.most_days, policy.attempts) <= 0,
        "cooldown and retry are not negative": min(policy.cooldown_s, policy.retry_s) < 0,
        "loss_clip is above 0": policy.loss_clip is not None and not policy.loss_clip > 0,
    }
    for sentence, broken in wrong.items():
        if broken:
            raise UsageError(f"this policy can't be kept: {sentence}")
