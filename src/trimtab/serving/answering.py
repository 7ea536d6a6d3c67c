"""How is a request answered, and what is computed along with it?

Alone, the champion answers. While a version is tried beside it, one side answers and the other computes the same rows
under the same prediction ids, after the answer; each computation is one record of the flight recorder. Nothing that the
side which does not answer does can fail or delay the answer; a canary that fails is answered for by the champion.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trimtab import clock
from trimtab.clock import Clock
from trimtab.ids import Ids
from trimtab.registry.bundle import Bundle, Label, Prediction
from trimtab.serving.lineup import Beside, Lineup, Side, side_of
from trimtab.serving.recording import Rows, computed, recorded
from trimtab.traffic.segments import Record, Stage

Recorder = Callable[[Record], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one request got: one id per row, in the order of time; all rows from one version. stage: whether that is
    the champion, the canary beside it, or a version asked for by number."""

    model: str
    version: int
    ids: list[str]
    prediction: Prediction
    classes: tuple[Label, ...]
    stage: Stage = "champion"


class Answering:
    """Answers from lineups. record: told each computation, the answer's before it is returned; what it raises for the
    answer is raised instead of it."""

    def __init__(self, *, now: Clock, ids: Ids, record: Recorder | None) -> None:
        self._clock, self._ids, self._record = now, ids, record

    def answer(self, lineup: Lineup, rows: Rows, *, side: Side | None = None) -> Answer:
        """The answer for JSON rows, all of them from one version. Raises ContractViolation.

        side: who is to answer while a version is tried beside the champion, in place of the drawn one.
        """
        if lineup.beside is not None and rows:
            return self._tried(lineup, lineup.beside, rows, side)
        begun = time.perf_counter()
        prediction = lineup.champion.predict_rows(rows)
        latency_us = int((time.perf_counter() - begun) * 1e6)
        return self._answered(lineup, lineup.champion, rows, prediction, latency_us,
                              "champion" if lineup.live else "version")[0]

    def _tried(self, lineup: Lineup, beside: Beside, rows: Rows, side: Side | None) -> Answer:
        """The answer of one side; the other computes along, after it."""
        champion, challenger = lineup.champion, beside.bundle
        failed = None
        if (side or side_of(beside, champion.contract, rows)) == "canary":
            tried = computed(challenger, rows)
            if tried.prediction is not None:
                made, at = self._answered(lineup, challenger, rows, tried.prediction, tried.latency_us, "canary")
                self._along(lineup, beside, champion, made.ids, rows, at)
                return made
            failed = tried
        begun = time.perf_counter()
        prediction = champion.predict_rows(rows)
        latency_us = int((time.perf_counter() - begun) * 1e6)
        made, at = self._answered(lineup, champion, rows, prediction, latency_us, "champion")
        if failed is None:
            self._along(lineup, beside, challenger, made.ids, rows, at)
        elif self._record is not None:
            self._record(recorded(challenger, lineup.place, made.ids, rows, at, "shadow", failed.latency_us, None))
        return made

    def _answered(self, lineup: Lineup, bundle: Bundle, rows: Rows, prediction: Prediction, latency_us: int,
                  stage: Stage) -> tuple[Answer, str]:
        """(the answer, recorded; when it was given)"""
        now = self._clock.now()
        made = Answer(model=lineup.place.model, version=bundle.number, prediction=prediction, classes=bundle.classes,
                      ids=sorted(self._ids.prediction(now) for _ in rows), stage=stage)
        at = clock.to_text(now)
        if self._record is not None and rows:
            self._record(recorded(bundle, lineup.place, made.ids, rows, at, stage, latency_us, prediction))
        return made, at

    def _along(self, lineup: Lineup, beside: Beside, bundle: Bundle, ids: Sequence[str], rows: Rows, at: str) -> None:
        record = self._record
        if record is None:
            return

        def work() -> None:
            found = computed(bundle, rows)
            record(recorded(bundle, lineup.place, ids, rows, at, "shadow", found.latency_us, found.prediction))

        beside.shadow.offer(work, len(rows))
