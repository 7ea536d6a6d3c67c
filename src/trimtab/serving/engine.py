"""Who answers a request, and how does a new version take over while requests are in flight?

The engine holds one lineup per endpoint in one mapping: the champion, and what is tried beside it. A watcher notices a
changed rollout or trial, loads, verifies and warms a new bundle beside the old one, and then rebinds the one reference
to a new mapping; a request reads that reference once, so each answer is of exactly one version. A version that fails to
load leaves the old one live. With the store away, what is in memory serves on. No request touches the database, except
the first of a version by number.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from trimtab import clock
from trimtab.clock import Clock
from trimtab.errors import Busy, NotFound, TrimtabError
from trimtab.ids import Ids
from trimtab.names import check_name
from trimtab.registry.bundle import Bundle, Prediction
from trimtab.serving.answering import Answer, Answering, Recorder
from trimtab.serving.fallback import Fallback
from trimtab.serving.lineup import Beside, Lineup, Side
from trimtab.serving.metrics import Metrics
from trimtab.serving.recording import Rows
from trimtab.serving.rollout import PRODUCTION
from trimtab.serving.shadow import Shadow
from trimtab.serving.source import Place, Source
from trimtab.serving.warming import warm
from trimtab.traffic.redaction import Secret

_RETRY_S = 5.0                                # between attempts to load a version that failed
_RECHECK_S = 1.0                              # how soon a deleted version by number stops answering

Log = Callable[[str, Mapping[str, object]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a version that should be live is not."""

    version: int
    reason: str
    at: str
    tried_s: float = field(compare=False)     # monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the engine does now. `store`: a sentence while the store can't be reached, else empty."""

    live: Mapping[Place, Lineup]
    failures: Mapping[tuple[Place, int], Failure]              # by place and version
    store: str
    revision: int

    @property
    def ready(self) -> bool:
        """Does every endpoint that should answer have a version that does?"""
        return not [place for place, _ in self.failures if place not in self.live]


class Engine:
    """Serves the endpoints of one source. `start` loads what is live and watches; `stop` ends the watcher.

    poll_s: how often the source is asked for its revision; keep: how many versions by number stay loaded; record: told
    each answer before it is returned, and what it raises is raised instead of the answer. fallback: of a live version
    at a place, or None. shadow: makes what computes along with a trial. secret: hashes what may not be recorded;
    without one hashes can't be compared.
    """

    def __init__(self, source: Source, *, now: Clock, ids: Ids, poll_s: float = 0.05, keep: int = 4,
                 log: Log | None = None, record: Recorder | None = None, metrics: Metrics | None = None,
                 shadow: type[Shadow] = Shadow,
                 fallback: Callable[[Place, Bundle], Fallback | None] = lambda place, bundle: None,
                 secret: Secret | None = None) -> None:
        self._source, self._clock, self._poll_s, self._keep, self._shadow = source, now, poll_s, keep, shadow
        self._log: Log = log or (lambda event, fields: None)
        self._fallback = fallback
        self.metrics = metrics or Metrics()
        self._answering = Answering(now=now, ids=ids, record=record,
                                    secret=secret or functools.cache(lambda: os.urandom(32)))
        self._live: Mapping[Place, Lineup] = MappingProxyType({})
        self._failures: Mapping[tuple[Place, int], Failure] = MappingProxyType({})
        self._due: set[tuple[Place, int]] = set()
        self._ending: list[Shadow] = []       # of trials that are over, while they compute what they accepted
        self._revision = -1
        self._store = ""
        self._changing = threading.Lock()     # one change at a time; requests never take it
        self._numbered: OrderedDict[tuple[str, int], Bundle] = OrderedDict()
        self._numbering = threading.Lock()
        self._rechecked_s = 0.0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Load what should be live, then watch. Versions that fail are told in `state`, not raised."""
        self.refresh()
        self._thread = threading.Thread(target=self._watch, name="trimtab-rollouts", daemon=True)
        self._thread.start()

    def stop(self, drain_s: float = 10.0) -> None:
        """End the watcher, and compute what was left to compute along, for at most `drain_s`; what is loaded still
        answers, alone."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None
        until = time.monotonic() + drain_s
        shadows = [*self._ending, *(one.beside.shadow for one in self._live.values() if one.beside is not None)]
        for shadow in shadows:
            shadow.close()
        for shadow in shadows:
            if not shadow.join(max(0.0, until - time.monotonic())):
                self._log("serving.shadow_undrained", {"waiting": shadow.waiting})

    def refresh(self) -> None:
        """Bring what is live in line with the rollouts now. Raises nothing of the store's: see `state`."""
        with self._changing:
            try:
                self._catch_up()
                self._store = ""
            except TrimtabError as problem:
                if not self._store:
                    self._log("serving.store_away", {"reason": str(problem)})
                self._store = f"{problem} Serving on from memory."

    @property
    def live(self) -> Mapping[Place, Lineup]:
        """What answers now, by place."""
        return self._live

    @property
    def state(self) -> State:
        """A snapshot for health and status."""
        return State(live=self._live, failures=self._failures, store=self._store, revision=self._revision)

    def bundle(self, model: str, version: int | None = None, endpoint: str = PRODUCTION) -> Bundle:
        """The champion's bundle of a model, or one of its versions by number (loaded on demand, a few are kept).

        Raises NotFound, Busy (it should be live and could not be loaded), CheckFailed and what loading raises.
        """
        name = check_name("model", model)
        live = self._live.get(Place(name, endpoint))
        if version is None:
            if live is None:
                raise self._nothing(name, endpoint)
            return live.champion
        return (None if live is None else live.holds(version)) or self._by_number(name, version)

    def lineup(self, model: str, version: int | None = None, endpoint: str = PRODUCTION) -> Lineup:
        """What answers for a model now, for `answer`; a version by number answers alone. Raises as `bundle`."""
        if version is None:
            found = self._live.get(Place(model, endpoint)) or self._live.get(
                Place(check_name("model", model), endpoint))
            if found is not None:
                return found
        bundle = self.bundle(model, version, endpoint)
        place = Place(check_name("model", model), endpoint)
        live = self._live.get(place)
        return Lineup(place=place, champion=bundle, live=live is not None and live.champion.number == bundle.number)

    def answer(self, lineup: Lineup, rows: Rows, *, side: Side | None = None) -> Answer:
        """Answers for JSON rows from what `lineup` gave: whoever looked at its contract gets its answer.

        side: see `Answering`. Raises ContractViolation, and what recording raises.
        """
        return self._answering.answer(lineup, rows, side=side)

    def answer_with(self, lineup: Lineup, rows: Rows, prediction: Prediction, latency_us: int) -> Answer:
        """The same where the champion answers alone and its prediction was made, together with others'."""
        return self._answering.answer_with(lineup, rows, prediction, latency_us)

    def infer(self, model: str, rows: Rows, *, version: int | None = None, endpoint: str = PRODUCTION,
              side: Side | None = None) -> Answer:
        """The same of what is live now, or of a version by number. Raises as `answer` and `bundle`."""
        return self.answer(self.lineup(model, version, endpoint), rows, side=side)

    def _by_number(self, model: str, number: int) -> Bundle:
        key = (model, number)
        with self._numbering:                 # also keeps two requests from loading the same file twice
            found = self._numbered.get(key)
            if found is None:
                found = self._source.load(model, number)
                self._numbered[key] = found
                while len(self._numbered) > self._keep:
                    self._numbered.popitem(last=False)
            self._numbered.move_to_end(key)
            return found

    def _watch(self) -> None:
        while not self._stopping.wait(self._poll_s):
            try:
                self.refresh()
                self._forget_deleted()
            except Exception as problem:  # noqa: BLE001  the watcher's outermost frame: it must outlive any fault
                self._store = f"The watcher met a fault of ours ({type(problem).__name__}). Serving on from memory."
                self._log("serving.watcher_fault", {"error": type(problem).__name__, "message": str(problem)})
                self._stopping.wait(1.0)

    def _catch_up(self) -> None:
        revision = self._source.revision()
        late = time.monotonic() - _RETRY_S
        self._due = {key for key, failure in self._failures.items() if failure.tried_s < late}
        if revision == self._revision and not self._due:
            return
        wanted = self._source.wanted()
        for place, want in sorted(wanted.items(), key=lambda item: item[0]):
            before = self._live.get(place)
            champion = self._held(place, want.version, before) or (None if before is None else before.champion)
            if champion is None:
                continue
            stage = want.beside if champion.number == want.version else None
            kept = None if before is None or before.beside is None else before.beside
            if kept is not None and (stage is None or (stage.trial, stage.version) != (
                    kept.stage.trial, kept.stage.version)):
                kept = None
            elif kept is not None and stage is not None and stage != kept.stage:
                kept = replace(kept, stage=stage)
            self._put(place, Lineup(place=place, champion=champion, beside=kept))
            if stage is not None and kept is None and (tried := self._held(place, stage.version, before)) is not None:
                beside = Beside(bundle=tried, stage=stage, shadow=self._shadow(
                    f"trimtab-shadow-{place.model}", lost=functools.partial(self._lost, place)))
                self._put(place, Lineup(place=place, champion=champion, beside=beside))
        for place in set(self._live) - set(wanted):
            self._put(place, None)
        needed = {(place, number) for place, want in wanted.items()
                  for number in (want.version, want.beside.version if want.beside else 0)}
        self._failures = MappingProxyType({key: why for key, why in self._failures.items() if key in needed})
        self._revision = revision

    def _put(self, place: Place, lineup: Lineup | None) -> None:
        """Rebind the one reference; a trial that is in it no more is closed, and computes what it has accepted."""
        before = self._live.get(place)
        if before is not None and lineup is not None and before.champion is lineup.champion and \
                before.beside is lineup.beside:
            return
        if lineup is not None:
            kept = before is not None and before.champion is lineup.champion
            lineup = replace(lineup, fallback=before.fallback if kept and before else self._declared(lineup))
        others = {key: one for key, one in self._live.items() if key != place}
        self._live = MappingProxyType(others if lineup is None else {**others, place: lineup})
        if before is not None and lineup is not None and before.champion is not lineup.champion:
            self.metrics.swapped(place.model, place.endpoint)
        if before is not None and before.beside is not None:
            shadow = before.beside.shadow
            if lineup is None or lineup.beside is None or lineup.beside.shadow is not shadow:
                shadow.close()
                self._ending = [one for one in self._ending if not one.join(0)] + [shadow]
        if lineup is not None and (self._thread is not None or lineup.champion.warning):      # a plain start says so
            beside = lineup.beside
            self._log("serving.live", {
                "model": place.model, "endpoint": place.endpoint, "version": lineup.champion.number,
                "warning": lineup.champion.warning, "beside": None if beside is None else beside.bundle.number,
                "share": 0.0 if beside is None else beside.stage.share})

    def _declared(self, lineup: Lineup) -> Fallback | None:
        """The champion's fallback; one that can't be made is said, and none is better than no answer at all."""
        try:
            return self._fallback(lineup.place, lineup.champion)
        except TrimtabError as problem:
            self._log("serving.no_fallback", {"model": lineup.place.model, "endpoint": lineup.place.endpoint,
                                              "version": lineup.champion.number, "reason": str(problem)})
            return None

    def _held(self, place: Place, number: int, before: Lineup | None) -> Bundle | None:
        """The version, from what serves there or loaded; None where it can't be loaded, which is noted."""
        key = (place, number)
        bundle = None if before is None else before.holds(number)
        if bundle is None and key in self._failures and key not in self._due:
            return None
        failures = {name: why for name, why in self._failures.items() if name != key}
        if bundle is None:
            try:
                bundle = self._load(place, number)
            except TrimtabError as problem:
                failures[key] = Failure(version=number, reason=str(problem), tried_s=time.monotonic(),
                                        at=clock.to_text(self._clock.now()))
                self._log("serving.load_failed", {"model": place.model, "version": number, "reason": str(problem)})
        self._failures = MappingProxyType(failures)
        return bundle

    def _load(self, place: Place, number: int) -> Bundle:
        with self._numbering:
            bundle = self._numbered.get((place.model, number))
        if bundle is None:
            bundle = self._source.load(place.model, number)
        warm(bundle)
        return bundle

    def _lost(self, place: Place, problem: Exception) -> None:
        self._log("serving.shadow_lost", {"model": place.model, "endpoint": place.endpoint,
                                          "error": type(problem).__name__, "message": str(problem)[:200]})

    def _forget_deleted(self) -> None:
        if not self._numbered or time.monotonic() - self._rechecked_s < _RECHECK_S:
            return
        self._rechecked_s = time.monotonic()
        for model, number in list(self._numbered):
            try:
                keep = self._source.servable(model, number)
            except NotFound:
                keep = False
            except TrimtabError:              # the store is away: serve on
                return
            if not keep:
                with self._numbering:
                    self._numbered.pop((model, number), None)

    def _nothing(self, model: str, endpoint: str) -> TrimtabError:
        failure = next((why for (place, _), why in self._failures.items() if place == Place(model, endpoint)), None)
        if failure is not None:
            return Busy(f"{model} v{failure.version} should be live and could not be loaded: {failure.reason}",
                        model=model, version=failure.version)
        if self._revision < 0 and self._store:
            return Busy(f"nothing is loaded yet: {self._store}")
        known = sorted({place.model for place in self._live})
        listed = f"; live here: {', '.join(known[:8])}" if known else "; nothing is live here"
        return NotFound(f"no model {model!r} is live{listed}. Put one there with trimtab deploy", model=model)
