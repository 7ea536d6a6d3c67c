"""How does a month pass in seconds?  A virtual clock plays a scenario through the real rooms.

The engine answers, the flight recorder writes, labels come back, the loop observes, decides, retrains and promotes: the
code that runs in production, in one thread, on a clock that is moved by hand. Chance comes from one seed, so the same
seed, environment and one thread give the same journal, whose head is compared.
"""

from __future__ import annotations

import heapq
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from trimtab import clock
from trimtab.clock import FixedClock
from trimtab.config import seconds
from trimtab.errors import CheckFailed, Conflict, ContractViolation, StoreUnreachable
from trimtab.ids import Ids
from trimtab.project import labelling, story
from trimtab.project.initialise import initialise
from trimtab.project.looping import Loop
from trimtab.project.project import Project
from trimtab.registry import history
from trimtab.serving.shadow import Job, Shadow
from trimtab.testing import rows as source
from trimtab.testing.played import Counts, Happening, Played, days_since, happenings
from trimtab.testing.scenario import Event, Scenario, load
from trimtab.testing.unreliable import Killed, Unreliable
from trimtab.traffic import closing
from trimtab.traffic.log import TrafficLog
from trimtab.traffic.segments import Record
from trimtab.workspace import FOLDER, Workspace

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_MADE_BEFORE: Final = timedelta(days=1)        # how long before the traffic the first version is made
_SEGMENT_BYTES: Final = 1 << 18                # small ones: what is closed is read faster
_HALF: Final = b"\x00\x01\x00\x00half a rec"   # what a killed writer leaves at the end of a segment
OnDay = Callable[[int], object]


def simulate(scenario: Scenario | str | Path = "drift", *, seed: int = 1, days: float | None = None,
             keep: Path | None = None, on_day: OnDay = lambda day: None) -> Played:
    """Play a scenario: a `Scenario`, a built-in one by its name, or a TOML file.

    days: instead of the scenario's own. keep: an empty folder that the project and its workspace are made in and left;
    by default they go away. on_day: told each virtual day that is over. Raises NotFound, ConfigInvalid, UsageError
    (columns), Conflict (`keep` is not empty).
    """
    plan = scenario if isinstance(scenario, Scenario) else load(scenario)
    if days is not None:
        plan = msgspec.structs.replace(plan, days=days)
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise Conflict(f"{keep.name}/ is not empty; name a new folder")
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-simulation-")))
        folder.mkdir(parents=True, exist_ok=True)
        return _Simulation(plan, seed, folder.resolve(), on_day).played()


@dataclass(order=True, slots=True)
class _Truth:
    """A label on its way. order: of those that are due at once, the one that was asked first is told first."""

    due: datetime
    order: int
    prediction: str = field(compare=False)
    value: Any = field(compare=False)


class AtOnce(Shadow):
    """Computes along in the caller's own thread, so that a simulation has one."""

    def __init__(self, name: str, *, lost: Callable[[Exception], None]) -> None:
        super().__init__(name, lost=lost)
        super().close()

    def offer(self, job: Job, rows: int) -> bool:
        """Done when it returns."""
        job()
        return True


class _Sparse(TrafficLog):
    """A flight recorder that begins no segment anew because a day is over: replayed years of few rows a day would lie
    in thousands of files."""

    def _open(self, day: str) -> None:
        super()._open("9")


class _Simulation:
    """One play: the clock, the workspace, the server, the loop, and what is on its way between them."""

    def __init__(self, plan: Scenario, seed: int, folder: Path, on_day: OnDay) -> None:
        self._plan, self._seed, self._folder, self._on_day = plan, seed, folder, on_day
        self._start = source.first_moment(plan, START)
        self._clock = FixedClock(self._start - _MADE_BEFORE)
        self._ids = Ids(random.Random(f"{seed} ids").randbytes)
        self._rows_rng, self._fault_rng, self._label_rng = (np.random.default_rng([seed, n]) for n in range(3))
        self._counts, self._told = Counts(), list[Happening]()
        self._truths: list[_Truth] = []
        self._step = timedelta(seconds=seconds(plan.tick))
        self._up_again = self._start
        self._writers = self._sent = 0
        self._day = 0

    def played(self) -> Played:
        """Make the first version, then let the traffic come."""
        first = Workspace.open(self._folder / FOLDER, create=True, now=self._clock, ids=self._ids, actor="simulation")
        self._db = Unreliable(first.db.url.render_as_string(hide_password=False))
        first.close()
        with Workspace(self._folder / FOLDER, self._db, now=self._clock, ids=self._ids, actor="simulation",
                       timer=lambda: 0.0) as self._space:
            self._project = self._made()
            self._model = self._project.name
            self._faults = source.Faults(self._plan.event, self._project.data, self._project.contract, self._fault_rng)
            self._start_loop()
            self._start_server()
            self._play()
            self._recorder.close()
            return self._result()

    def _made(self) -> Project:
        """The project, with a version that serves: the scenario's own, or the pump station."""
        if self._plan.project:
            shutil.copytree(self._plan.root / self._plan.project, self._folder, dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns(FOLDER, "__pycache__"))
        else:
            source.pump_station(np.random.default_rng([self._seed, 99]), source.TRAINING_ROWS).write_csv(
                self._folder / "data.csv")
            initialise("data.csv", self._folder, self._space, name="pumps", target=source.TARGET, owner="simulation")
            (self._folder / "trimtab.toml").write_text(source.PUMP_TOML, encoding="utf-8")
            project = Project.open(self._folder, self._space)
            for column in source.PUMP_LIFTED:
                project.edit_contract(column, low="none", high="none")
            project.edit_contract("site", unseen=True)
        story.run(None, self._folder, self._space)
        return Project.open(self._folder, self._space)

    def _play(self) -> None:
        ticks, events = self._start + self._step, sorted(self._plan.event, key=lambda event: event.at_s)
        last = self._start + timedelta(days=self._plan.days)
        for asked in self._requests(last):
            moment = last if asked is None else asked.at
            while ticks <= moment or (events and self._moment(events[0].at_s) <= moment):
                if events and self._moment(events[0].at_s) <= ticks:
                    self._event(events.pop(0))
                else:
                    self._clock.to(ticks)
                    self._tick()
                    ticks += self._step
            self._clock.to(moment)
            if asked is not None:
                self._ask(asked.rows)

    def _requests(self, last: datetime) -> Iterator[source.Asked | None]:
        """The requests, and None for the end."""
        yield from source.requests(self._plan, self._project.data, self._start, self._rows_rng)
        yield None

    def _moment(self, since_start_s: float) -> datetime:
        return self._start + timedelta(seconds=since_start_s)

    def _event(self, event: Event) -> None:
        self._clock.to(self._moment(event.at_s))
        what = {"store_outage": "store", "server_crash": "server", "loop_crash": "loop", "close": "person",
                "rollback": "person"}.get(event.kind, "fault")
        if what != "person":                   # what a person does is in the journal
            self._say(what, event.words)
        match event.kind:
            case "store_outage":
                self._away_until = self._moment(event.at_s + event.lasts_s)
                self._db.away = True
            case "server_crash":
                self._crash(self._moment(event.at_s + event.lasts_s))
            case "loop_crash":
                self._db.writes_left = event.write
            case "close":
                for alert in self._space.alerts.list(self._model):
                    self._space.alerts.close(alert.id, by="operator", why=event.reason or "mended")
            case "rollback":
                try:
                    self._space.rollouts.rollback(self._model, by="operator", why=event.reason)
                except CheckFailed as refused:
                    self._say("person", f"rollback refused: {refused}")

    def _tick(self) -> None:
        """What happens between requests: the database may be back, labels come, the loop looks, a day may be over."""
        now = self._clock.now()
        self._counts.ticks += 1
        if self._db.away and now >= self._away_until:
            self._db.away = False
            self._say("store", "the database answers again")
        try:
            self._deliver(now)
            with self._db.mined():
                self._loop.tick()
        except StoreUnreachable:
            self._counts.ticks_without_store += 1
        except Killed:
            self._counts.loops_killed += 1
            self._say("loop", "killed in the middle of its work; another one starts")
            self._start_loop()
        self._engine.refresh()
        if (day := (now - self._start - self._step).days) > self._day:      # a tick later: its last segment is finished
            closing.close_all(self._space.folder / "traffic")
            self._on_day(day)
            self._day = day

    def _deliver(self, now: datetime) -> None:
        due: list[_Truth] = []
        while self._truths and self._truths[0].due <= now:
            due.append(heapq.heappop(self._truths))
        if not due:
            return
        try:
            kept = labelling.tell(self._space, self._model, "prediction", [(one.prediction, one.value) for one in due])
        except StoreUnreachable:
            for one in due:
                heapq.heappush(self._truths, one)
            raise
        self._counts.labels += kept.new
        self._counts.corrected += kept.corrected

    def _ask(self, rows: pl.DataFrame) -> None:
        now = self._clock.now()
        self._counts.requests += 1
        self._counts.asked += rows.height
        if now < self._up_again:
            self._counts.unanswered += rows.height
            return
        if self._server_is_down:
            self._start_server()
        self._engine.refresh()
        sent = self._faults.applied(rows, (now - self._start).total_seconds())
        contract = self._project.contract
        names = [one.name for one in contract.columns if one.role in ("feature", "id") and one.name in sent.columns]
        answered, truths = self._answers(sent.select(names).to_dicts(), sent[contract.target.name].to_list())
        self._counts.answered += len(answered)
        self._counts.refused += rows.height - len(answered)
        for prediction, truth in zip(answered, truths, strict=True):
            self._later(now, prediction, truth)

    def _answers(self, rows: list[dict[str, Any]], truths: list[Any]) -> tuple[list[str], list[Any]]:
        """(ids of the answers, truths of those rows); rows that the contract refuses are left out and sent no more."""
        try:
            if not rows:
                return [], []
            made = self._engine.infer(self._model, rows)
            self._counts.fallback += len(made.instead)
            return made.ids, truths
        except ContractViolation as refused:
            told: Any = refused.details["violations"]
            bad = {one["row"] - 1 for one in told}
            kept = [place for place in range(len(rows)) if place not in bad]
            return self._answers([rows[place] for place in kept], [truths[place] for place in kept])

    def _later(self, now: datetime, prediction: str, truth: Any) -> None:
        """Put a truth on its way, wrong first where it will be corrected."""
        plan, rng = self._plan.labels, self._label_rng
        comes, wrong, late = rng.random(), rng.random(), rng.exponential()
        if comes >= plan.share or truth is None:
            return
        due = now + timedelta(seconds=seconds(plan.lag) + late * seconds(plan.spread))
        if wrong < plan.corrected and isinstance(truth, float):
            self._send(due, prediction, truth * 1.5 + 1)
            due += timedelta(seconds=seconds(plan.lag))
        self._send(due, prediction, truth)

    def _send(self, due: datetime, prediction: str, value: Any) -> None:
        self._sent += 1
        heapq.heappush(self._truths, _Truth(due, self._sent, prediction, value))

    def _start_server(self) -> None:
        """A new server: its own segments, nothing in memory."""
        self._writers += 1
        kind = _Sparse if self._plan.rows is not None and self._plan.rows.time else TrafficLog
        self._recorder = kind(self._space.folder / "traffic", writer=f"w-{self._writers:04}", now=self._clock,
                              segment_bytes=_SEGMENT_BYTES)
        self._engine = self._space.engine(record=self._record, shadow=AtOnce)
        self._engine.refresh()
        self._server_is_down = False

    def _record(self, record: Record) -> None:
        """Into the flight recorder, without how long it took: that is the machine's, and guardrails look at it."""
        self._recorder.append(msgspec.structs.replace(record, latency_us=0))

    def _crash(self, up_again: datetime) -> None:
        """The server is gone in the middle of a write: half a record stands at the end of its segment."""
        self._counts.servers_killed += 1
        self._recorder.close()
        for segment in sorted(self._space.folder.glob(f"traffic/w-{self._writers:04}/*.log"))[-1:]:
            with segment.open("ab") as out:
                out.write(_HALF)
        self._up_again, self._server_is_down = up_again, True

    def _start_loop(self) -> None:
        self._loop = Loop(self._space, spawn=False, timer=self._space.timer)

    def _say(self, what: str, text: str) -> None:
        at = clock.to_text(self._clock.now())
        self._told.append(Happening(at=at, day=days_since(self._start, at), what=what, text=text))

    def _result(self) -> Played:
        space = self._space
        live = space.rollouts.current(self._model)
        head = space.journal.verify()
        self._counts.recorded = space.traffic.count(model=self._model)
        told = [*self._told, *happenings(reversed(history.log(space.journal)), self._start)]
        return Played(
            scenario=self._plan.name, seed=self._seed, days=self._plan.days, begins=clock.to_text(self._start),
            ends=clock.to_text(self._clock.now()), model=self._model, live=None if live is None else live.version,
            versions=len(space.versions.list(self._model)), head=head.hash, rows=head.seq,
            alerts=tuple({"id": one.id, "version": one.version, "kind": one.kind, "state": one.state,
                          "opened_at": one.opened_at, "broken": one.broken, "sentence": one.sentence}
                         for one in reversed(space.alerts.list(self._model, states=None))),
            timeline=tuple(sorted(told, key=lambda one: one.at)), counts=self._counts,
            synthetic=not self._plan.project, folder=str(self._folder))
