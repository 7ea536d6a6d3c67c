"""What came of a simulation?  Its timeline, read from the journal it left, its counts, and the journal's head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from trimtab import clock
from trimtab.registry.model import LogEntry

SCHEMA: Final = "trimtab.simulation/1"
_WHAT: Final[Mapping[str, str]] = {"alert": "alert", "decision": "decision", "version": "version", "rollout": "live",
                                   "trial": "trial", "policy": "person"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One line of the timeline. day: since the traffic's start; what: "fault", "alert", "decision", "version", "trial",
    "live", "server", "loop", "store" or "person". by: who is named
    in the journal."""

    at: str
    day: float
    what: str
    text: str
    by: str = "simulation"


@dataclass(slots=True, kw_only=True)
class Counts:
    """How many. asked: rows; fallback: of the answered ones, those that were answered by a
    fallback; refused: of these, rows that broke the contract and got no answer; unanswered: rows asked
    while no server was up; labels: new truths that were told, corrected: those told again otherwise."""

    requests: int = 0
    asked: int = 0
    answered: int = 0
    fallback: int = 0
    refused: int = 0
    unanswered: int = 0
    recorded: int = 0
    labels: int = 0
    corrected: int = 0
    ticks: int = 0
    ticks_without_store: int = 0
    loops_killed: int = 0
    servers_killed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A simulation that was played. head: the journal's; the same seed, environment and one thread give the same."""

    scenario: str
    seed: int
    days: float
    begins: str
    ends: str
    model: str
    live: int | None
    versions: int
    alerts: tuple[dict[str, Any], ...]
    timeline: tuple[Happening, ...]
    counts: Counts
    head: str
    rows: int                                  # of the journal
    synthetic: bool
    folder: str = field(default="", compare=False)

    def of(self, what: str) -> list[Happening]:
        """The timeline's lines of one kind."""
        return [one for one in self.timeline if one.what == what]

    def to_json(self) -> dict[str, object]:
        """As `trimtab simulate --json` prints it."""
        told = {name: getattr(self, name) for name in self.__slots__ if name not in ("timeline", "counts", "folder")}
        return {"schema": SCHEMA, "time": "virtual", **told, "alerts": list(self.alerts),
                "timeline": [asdict(one) for one in self.timeline], "counts": asdict(self.counts)}


def happenings(told: Iterable[LogEntry], start: datetime) -> Iterator[Happening]:
    """What the journal tells as lines of a timeline; what follows from another row, or only marks one, is left out."""
    for row in told:
        area, _, verb = row.kind.partition(".")
        what = _WHAT.get(area)
        if what is not None and verb != "done":
            yield Happening(at=row.at, day=days_since(start, row.at), what=what, by=row.by,
                            text=row.what + (f": {row.why}" if row.why else ""))


def days_since(start: datetime, at: str) -> float:
    """Days from the start to a stored time, to the hundredth."""
    return round((clock.from_text(at) - start).total_seconds() / 86_400, 2)
