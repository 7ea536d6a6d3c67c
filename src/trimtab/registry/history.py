"""What happened to a model, and what was live at a given moment?

Both are read from the journal, so that they answer what the audit trail proves and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from trimtab import clock
from trimtab.canon import Digest
from trimtab.registry.model import LiveAt, LogEntry
from trimtab.store.journal import Entry, Journal

PRODUCTION = "production"
_ROLLOUTS = {"rollout.deploy": "deployed", "rollout.promote": "promoted", "rollout.rollback": "rolled back to"}


def log(journal: Journal, model: str | None = None, *, since: datetime | None = None, until: datetime | None = None,
        limit: int | None = None) -> list[LogEntry]:
    """What changed, newest first, as `git log` has it: who, when, what, why, and the version's digest.

    model: one model's history, or with None everybody's; since, until: inclusive; limit: only so many, the newest.
    """
    rows = journal.rows(model=model, until=None if until is None else clock.to_text(until))
    digests = _digests(rows)
    begin = "" if since is None else clock.to_text(since)
    told = [_told(row, digests) for row in reversed(rows) if row.at >= begin]
    return told if limit is None else told[:limit]


def live_at(journal: Journal, model: str, moment: datetime, *, endpoint: str = PRODUCTION) -> LiveAt | None:
    """What answered at `endpoint` of `model` at that moment; None where nothing did yet."""
    rows = journal.rows(model=model, until=clock.to_text(moment))
    digests = _digests(rows)
    live: Entry | None = None
    for row in rows:
        if row.kind in _ROLLOUTS and row.subject == endpoint:
            live = row
    if live is None:
        return None
    number = _number(live.body["to"])
    return LiveAt(model=model, endpoint=endpoint, number=number, digest=digests.get((model, number), ""), since=live.at,
                  by=live.by, why=live.why, revision=_number(live.body["revision"]), seq=live.seq)


def replayed_aliases(rows: Iterable[Entry]) -> dict[tuple[str, str], int]:
    """(model, alias) → version number, as the journal's rows leave it: the same as the table, or one of them lies."""
    state: dict[tuple[str, str], int] = {}
    for row in rows:
        if row.kind == "alias.set":
            state[row.model, row.subject] = _number(row.body["to"])
        elif row.kind == "alias.remove":
            state.pop((row.model, row.subject), None)
    return state


def _digests(rows: list[Entry]) -> dict[tuple[str, int], str]:
    return {(row.model, _number(row.body["version"])): Digest(str(row.body["digest"])).short
            for row in rows if row.kind == "version.register"}


def _told(row: Entry, digests: dict[tuple[str, int], str]) -> LogEntry:
    body, number, endpoint = row.body, None, ""
    if row.kind in ("version.register", "version.delete"):
        number = _number(body["version"])
        what = f"registered v{number}" if row.kind == "version.register" else f"deleted v{number}"
        if row.kind == "version.register" and body.get("gates") != "none":
            what += f", gates {body['gates']}"
    elif row.kind == "alias.set":
        number, before = _number(body["to"]), body.get("from")
        what = f"{row.subject}: v{before} → v{number}" if before is not None else f"{row.subject} → v{number}"
    elif row.kind == "alias.remove":
        number = _number(body["from"])
        what = f"removed the alias {row.subject} from v{number}"
    elif row.kind in _ROLLOUTS:
        number, before, endpoint = _number(body["to"]), body.get("from"), row.subject
        what = f"{_ROLLOUTS[row.kind]} v{number} at {endpoint}" + (f", was v{before}" if before is not None else "")
    elif row.kind.startswith("trial."):
        number, endpoint = _number(body["version"]), row.subject
        how = "in shadow" if row.kind == "trial.shadow" else f"for {float(str(body['share'])) * 100:.4g}%"
        what = f"v{number} {'ended' if row.kind == 'trial.stop' else how} beside v{body['champion']} at {endpoint}"
    elif row.kind == "decision.decide":
        number = None if body["version"] is None else _number(body["version"])
        what = f"{row.subject} decided: {body['action']}" + (f" v{number}" if number is not None else "")
    elif row.kind.startswith("decision."):
        what = f"{row.subject} {row.kind.removeprefix('decision.')}: {body['action']}"
    else:
        what = f"{row.kind} {row.subject}".rstrip()
    return LogEntry(seq=row.seq, at=row.at, by=row.by, kind=row.kind, what=what, why=row.why, model=row.model,
                    number=number, digest="" if number is None else digests.get((row.model, number), ""),
                    endpoint=endpoint)


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value
