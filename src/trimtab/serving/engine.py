"""Who answers a request, and how does a new version take over while requests are in flight?

The engine holds one bundle per endpoint in one mapping. A watcher notices a changed rollout, loads, verifies and warms
the new bundle beside the old one, and then rebinds the one reference to a new mapping; a request reads that
reference once, so each answer is of exactly one version. A version that fails to load leaves the old one live. With the
store away, what is in memory serves on. No request touches the database, except the first of a version by number.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from trimtab import clock
from trimtab.clock import Clock
from trimtab.data.contract import Column, Contract
from trimtab.errors import Busy, CheckFailed, NotFound, TrimtabError
from trimtab.ids import Ids
from trimtab.names import check_name
from trimtab.registry.bundle import Bundle, Label, Prediction
from trimtab.serving.rollout import PRODUCTION
from trimtab.serving.source import Place, Source
from trimtab.traffic.segments import Record, Row, Stage

_RETRY_S = 5.0                                # between attempts to load a version that failed
_RECHECK_S = 1.0                              # how soon a deleted version by number stops answering

Log = Callable[[str, Mapping[str, object]], None]
Recorder = Callable[[Record], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one request got: one id per row, in the order of time; all rows from one version."""

    model: str
    version: int
    ids: list[str]
    prediction: Prediction
    classes: tuple[Label, ...]
    latency_us: int = 0                       # of contract check and prediction


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

    live: Mapping[Place, Bundle]
    failures: Mapping[Place, Failure]
    store: str
    revision: int

    @property
    def ready(self) -> bool:
        """Does every endpoint that should answer have a version that does?"""
        return not [place for place in self.failures if place not in self.live]


def recorded(answer: Answer, contract: Contract, rows: Sequence[Mapping[str, object]], at: str,
             stage: Stage) -> Record:
    """What the flight recorder keeps of one answer: the contract's features as they came; the row's id as its key."""
    features, key = contract.kept
    names = features.keys()
    shares = answer.prediction.probabilities
    probabilities = [None] * len(rows) if shares is None else shares.tolist()
    return Record(
        batch=answer.ids[0], at=at, model=answer.model, endpoint=PRODUCTION, version=answer.version, stage=stage,
        verdict="kept", latency_us=answer.latency_us, rows=tuple([
            Row(id=name, position=place, output=value, probabilities=share,
                features=row if row.__class__ is dict and row.keys() == names else {
                    one: row.get(one) for one in features},  # type: ignore[misc]
                key=None if key is None or row.get(key) is None else str(row[key]))
            for place, (name, row, value, share) in enumerate(zip(
                answer.ids, rows, answer.prediction.values, probabilities, strict=True))]))


class Engine:
    """Serves the endpoints of one source. `start` loads what is live and watches; `stop` ends the watcher.

    poll_s: how often the source is asked for its revision; keep: how many versions by number stay loaded; record: told
    each answer before it is returned, and what it raises is raised instead of the answer.
    """

    def __init__(self, source: Source, *, now: Clock, ids: Ids, poll_s: float = 0.05, keep: int = 4,
                 log: Log | None = None, record: Recorder | None = None) -> None:
        self._source, self._clock, self._ids, self._poll_s, self._keep = source, now, ids, poll_s, keep
        self._log: Log = log or (lambda event, fields: None)
        self._record = record
        self._live: Mapping[Place, Bundle] = MappingProxyType({})
        self._failures: Mapping[Place, Failure] = MappingProxyType({})
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

    def stop(self) -> None:
        """End the watcher; what is loaded still answers."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None

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
    def live(self) -> Mapping[Place, Bundle]:
        """What answers now, by place."""
        return self._live

    @property
    def state(self) -> State:
        """A snapshot for health and status."""
        return State(live=self._live, failures=self._failures, store=self._store, revision=self._revision)

    def bundle(self, model: str, version: int | None = None, endpoint: str = PRODUCTION) -> Bundle:
        """The bundle that answers for a model, or one of its versions by number (loaded on demand, a few are kept).

        Raises NotFound, Busy (it should be live and could not be loaded), CheckFailed and what loading raises.
        """
        live = self._live.get(Place(model, endpoint))
        if live is None:                      # in another Unicode form perhaps
            model = check_name("model", model)
            live = self._live.get(Place(model, endpoint))
        if version is None:
            if live is None:
                raise self._nothing(model, endpoint)
            return live
        if live is not None and live.number == version:
            return live
        return self._by_number(model, version)

    def infer(self, model: str, rows: Sequence[Mapping[str, object]], *, version: int | None = None,
              endpoint: str = PRODUCTION) -> Answer:
        """Answers for JSON rows, all from one version. Raises ContractViolation, and as `bundle`."""
        return self.answer(self.bundle(model, version, endpoint), model, rows)

    def answer(self, bundle: Bundle, model: str, rows: Sequence[Mapping[str, object]]) -> Answer:
        """The same from a bundle that `bundle` gave: whoever looked at its contract gets its answer."""
        begun = time.perf_counter()
        prediction = bundle.predict_rows(rows)
        latency_us = int((time.perf_counter() - begun) * 1e6)
        now = self._clock.now()
        live = self._live.get(Place(model, PRODUCTION))
        model = model if live is not None else check_name("model", model)
        made = Answer(model=model, version=bundle.number, prediction=prediction, classes=bundle.classes,
                      ids=sorted([self._ids.prediction(now) for _ in rows]), latency_us=latency_us)
        if self._record is not None and rows:
            live = live or self._live.get(Place(made.model, PRODUCTION))
            stage: Stage = "champion" if live is not None and live.number == bundle.number else "version"
            self._record(recorded(made, bundle.contract, rows, clock.to_text(now), stage))
        return made

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
        due = [place for place, failure in self._failures.items() if time.monotonic() - failure.tried_s > _RETRY_S]
        if revision == self._revision and not due:
            return
        wanted = self._source.wanted()
        live, failures = dict(self._live), dict(self._failures)
        for place, number in sorted(wanted.items()):
            have = live.get(place)
            if have is not None and have.number == number:
                failures.pop(place, None)
                continue
            known = failures.get(place)
            if known is not None and known.version == number and place not in due:
                continue
            try:
                live[place] = self._load(place, number)
                failures.pop(place, None)
            except TrimtabError as problem:
                failures[place] = Failure(version=number, reason=str(problem), tried_s=time.monotonic(),
                                          at=clock.to_text(self._clock.now()))
                self._log("serving.load_failed", {"model": place.model, "version": number, "reason": str(problem)})
            self._live, self._failures = MappingProxyType(dict(live)), MappingProxyType(dict(failures))
        for place in set(live) - set(wanted):
            del live[place]
        self._live = MappingProxyType(live)
        self._failures = MappingProxyType({place: why for place, why in failures.items() if place in wanted})
        self._revision = revision

    def _load(self, place: Place, number: int) -> Bundle:
        begun = time.perf_counter()
        with self._numbering:
            bundle = self._numbered.get((place.model, number))
        if bundle is None:
            bundle = self._source.load(place.model, number)
        warm(bundle)
        before = self._live[place].number if place in self._live else None
        if self._thread is not None or bundle.warning:        # a plain start is told by the line that says it is ready
            self._log("serving.live", {"model": place.model, "endpoint": place.endpoint, "version": number,
                                       "replaces": before, "load_s": round(time.perf_counter() - begun, 4),
                                       "warning": bundle.warning})
        return bundle

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
        failure = self._failures.get(Place(model, endpoint))
        if failure is not None:
            return Busy(f"{model} v{failure.version} should be live and could not be loaded: {failure.reason}",
                        model=model, version=failure.version)
        if self._revision < 0 and self._store:
            return Busy(f"nothing is loaded yet: {self._store}")
        known = sorted({place.model for place in self._live})
        listed = f"; live here: {', '.join(known[:8])}" if known else "; nothing is live here"
        return NotFound(f"no model {model!r} is live{listed}. Put one there with trimtab deploy", model=model)


def warm(bundle: Bundle) -> None:
    """One prediction of a row from inside the contract: loads lazy parts and shows that it answers.

    Raises CheckFailed where it does not give one finite answer.
    """
    row = np.array([[_inside(column) for column in bundle.contract.features]], dtype=np.float64)
    try:
        answer = bundle.predict(row)
    except TrimtabError:
        raise
    except Exception as problem:              # an estimator may raise anything
        raise CheckFailed(f"{bundle.name} can't predict a row from the middle of its contract "
                          f"({type(problem).__name__}: {str(problem)[:120]}); it was not put live") from problem
    if len(answer.values) != 1 or not _finite(answer.values[0]):
        raise CheckFailed(f"{bundle.name} answers a row from the middle of its contract with "
                          f"{str(answer.values)[:60]}; it was not put live")


def _inside(column: Column) -> float:
    low, high = column.min, column.max
    if column.type in ("category", "boolean"):
        return 0.0
    if low is not None and high is not None:
        middle = low + (high - low) / 2
        return float(round(middle)) if column.type == "integer" else middle
    return low if low is not None else high if high is not None else 0.0


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or bool(np.isfinite(value))
