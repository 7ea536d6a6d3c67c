"""What did the serving processes do in the last minute?  Small figures in a file each, once a second.

A serving process leaves `<workspace>/serving/<writer>.json`, put in place whole; no request waits for it. `trimtab
status` adds up the files of processes that live: what is older than a few seconds was left by one that was killed.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec

from trimtab import clock
from trimtab.clock import Clock
from trimtab.serving.metrics import BOUNDS_S, Metrics, quantile_s

SCHEMA = "trimtab.pulse/1"
_EVERY_S = 1.0
_TURNS = 60
_STALE = timedelta(seconds=10)
_LEFT = timedelta(days=1)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A model at an endpoint in a stretch of time; `buckets` as in `metrics.Meter`."""

    model: str
    endpoint: str
    version: int
    requests: int
    rows: int
    errors: int                               # of the model, at whatever endpoint
    buckets: list[int]


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """What one process leaves. seconds: how long a stretch the figures are of, at most a minute."""

    schema: str
    at: str
    seconds: float
    figures: list[Figures]


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """An endpoint of a model over the last minute, all processes together."""

    requests_per_minute: float
    p99_ms: float | None
    errors: int

    def to_json(self) -> dict[str, object]:
        """As `status --json` has it."""
        return {"requests_per_minute": round(self.requests_per_minute, 1), "p99_ms": self.p99_ms,
                "errors": self.errors}


class Pulse:
    """Leaves one process's figures. folder: `<workspace>/serving`; also: what else is left at each beat."""

    def __init__(self, metrics: Metrics, folder: Path, *, writer: str, now: Clock,
                 also: Callable[[], object] = lambda: None) -> None:
        self._also = also
        self._metrics, self._path, self._clock = metrics, folder / f"{writer}.json", now
        self._before: deque[dict[tuple[str, str, int], Figures]] = deque([self._figures()], maxlen=_TURNS + 1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trimtab-pulse", daemon=True)

    def start(self) -> None:
        """Begin, and remove what was left long ago."""
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        for beat, path in _beats(self._path.parent):
            if self._clock.now() - clock.from_text(beat.at) > _LEFT:
                path.unlink(missing_ok=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and take the file away."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._path.unlink(missing_ok=True)

    def beat(self) -> None:
        """Leave the figures of the last minute. Raises OSError where the file can't be written."""
        now, then = self._figures(), self._before[0]
        told = [_less(one, then.get(place)) for place, one in now.items()]
        seconds = len(self._before) * _EVERY_S
        self._before.append(now)
        beside = self._path.with_suffix(".part")
        beside.write_bytes(msgspec.json.encode(Beat(
            schema=SCHEMA, at=clock.to_text(self._clock.now()), seconds=min(seconds, _TURNS * _EVERY_S),
            figures=told)))
        os.replace(beside, self._path)
        self._also()

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            try:
                self.beat()
            except OSError:
                continue                       # a full disk: status then tells nothing, and answers go on

    def _figures(self) -> dict[tuple[str, str, int], Figures]:
        errors = self._metrics.errors()
        return {place: Figures(model=place[0], endpoint=place[1], version=place[2], requests=one.requests,
                               rows=one.rows, errors=errors.get(place[0], 0), buckets=one.buckets.copy())
                for place, one in self._metrics.meters()}


def last_minute(folder: Path, now: Clock) -> Mapping[tuple[str, str], Glance]:
    """The last minute of each (model, endpoint) that a living process serves; empty where none does."""
    alive = [beat for beat, _ in _beats(folder) if abs(now.now() - clock.from_text(beat.at)) <= _STALE]
    places = {(one.model, one.endpoint) for beat in alive for one in beat.figures}
    return {place: _glance([(beat.seconds, mine) for beat in alive if (mine := [
        one for one in beat.figures if (one.model, one.endpoint) == place])]) for place in sorted(places)}


def _glance(told: list[tuple[float, list[Figures]]]) -> Glance:
    """told: of each process the stretch in seconds, and a figure a version."""
    p99_s = quantile_s([sum(counts) for counts in zip(*(one.buckets for _, mine in told for one in mine), strict=True)],
                       0.99)
    return Glance(requests_per_minute=sum(one.requests * 60 / seconds for seconds, mine in told for one in mine),
                  p99_ms=None if p99_s is None else p99_s * 1000,
                  errors=sum(max(one.errors for one in mine) for _, mine in told))


def _beats(folder: Path) -> list[tuple[Beat, Path]]:
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            beat = msgspec.json.decode(path.read_bytes(), type=Beat)
        except (OSError, msgspec.MsgspecError):
            continue                           # taken away just now, or another trimtab's
        if beat.schema == SCHEMA and all(len(one.buckets) == len(BOUNDS_S) + 1 for one in beat.figures):
            found.append((beat, path))
    return found


def _less(now: Figures, before: Figures | None) -> Figures:
    if before is None:
        return now
    return Figures(
        model=now.model, endpoint=now.endpoint, version=now.version, requests=now.requests - before.requests,
        rows=now.rows - before.rows, errors=now.errors - before.errors,
        buckets=[one - other for one, other in zip(now.buckets, before.buckets, strict=True)])
