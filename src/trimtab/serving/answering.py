"""How is a request answered, and what is computed along with it?

Alone, the champion answers. While a version is tried beside it, one side answers and the other computes the same rows
under the same prediction ids, after the answer; each computation is one record of the flight recorder. Nothing that the
side which does not answer does can fail or delay the answer; a canary that fails is answered for by the champion.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trimtab import clock
from trimtab.clock import Clock
from trimtab.errors import ContractViolation, StoreFull, StoreUnreachable
from trimtab.ids import Ids
from trimtab.registry.bundle import Bundle, Label, Prediction
from trimtab.serving.fallback import Fallback, Instead, NotFinite
from trimtab.serving.lineup import Beside, Lineup, Side, side_of
from trimtab.serving.recording import Rows, computed, recorded, recorded_instead
from trimtab.traffic.redaction import Secret, redacted
from trimtab.traffic.segments import Record, Stage

Recorder = Callable[[Record], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one request got: one id per row, in the order of time; all rows from one version. stage: whether that is
    the champion, the canary beside it, or a version asked for by number. instead: the rows, by place, that the model
    did not answer; their value is the fallback's, None where it abstains. latency_us: of contract check and
    prediction."""

    model: str
    version: int
    ids: list[str]
    prediction: Prediction
    classes: tuple[Label, ...]
    stage: Stage = "champion"
    instead: Mapping[int, Instead] = field(default_factory=dict)
    latency_us: int = 0


class Answering:
    """Answers from lineups. record: told each computation, the answer's before it is returned; what it raises for the
    answer is raised instead of it. secret: hashes what a contract does not let be recorded as it is."""

    def __init__(self, *, now: Clock, ids: Ids, record: Recorder | None, secret: Secret) -> None:
        self._clock, self._ids, self._record, self._secret = now, ids, record, secret

    def answer(self, lineup: Lineup, rows: Rows, *, side: Side | None = None) -> Answer:
        """The answer for JSON rows, all from one version. Raises ContractViolation where no fallback is declared.

        side: who is to answer while a version is tried beside the champion, in place of the drawn one.
        """
        if lineup.fallback is not None and rows:
            return self._guarded(lineup, lineup.fallback, rows, side)
        return self._whole(lineup, rows, side)

    def answer_with(self, lineup: Lineup, rows: Rows, prediction: Prediction, latency_us: int) -> Answer:
        """The answer of a champion that is alone, whose prediction was made already. Raises what recording raises."""
        return self._answered(lineup, lineup.champion, rows, prediction, latency_us, "champion")[0]

    def _guarded(self, lineup: Lineup, fallback: Fallback, rows: Rows, side: Side | None) -> Answer:
        """The model's answer to the rows that are fit for it, the fallback's to the others."""
        reasons = fallback.sift(rows)
        made: Answer | None = None
        while made is None and (fit := [place for place in range(len(rows)) if place not in reasons]):
            try:
                made = self._whole(lineup, [rows[place] for place in fit], side)
            except (StoreFull, StoreUnreachable):              # not recorded, so not answered
                raise
            except Exception as problem:
                refused = isinstance(problem, ContractViolation) and "contract" not in fallback.declared.on
                if refused or "fault" not in fallback.declared.on:
                    raise
                bad = problem.places if isinstance(problem, NotFinite) else range(len(fit))
                reasons |= {fit[place]: ("fault", _said(problem)) for place in bad}
        instead = fallback.settle(rows, reasons, None if made is None else made.prediction)
        return self._joined(lineup, rows, made, instead) if instead or made is None else made

    def _joined(self, lineup: Lineup, rows: Rows, made: Answer | None, instead: Mapping[int, Instead]) -> Answer:
        """One answer of both; what was answered instead is recorded, in the order of the rows."""
        now, champion = self._clock.now(), lineup.champion
        places = sorted(instead)
        ids = dict(zip(places, sorted(self._ids.prediction(now) for _ in places), strict=True))
        for fault in (False, True):
            mine = [place for place in places if (instead[place].on == "fault") is fault]
            if mine:
                self._keep(champion, recorded_instead(champion, lineup.place, [ids[place] for place in mine],
                                                      [rows[place] for place in mine], clock.to_text(now),
                                                      [instead[place] for place in mine]))
        if made is None:
            made = Answer(model=lineup.place.model, version=champion.number, ids=[], classes=champion.classes,
                          prediction=champion.predict_rows([]))
        return replace(made, instead=instead, ids=_merged(len(rows), made.ids, ids), prediction=made.prediction.joined(
            {place: one.value for place, one in instead.items()}))

    def _whole(self, lineup: Lineup, rows: Rows, side: Side | None) -> Answer:
        """The answer of one version to every row."""
        if lineup.beside is not None and rows:
            return self._tried(lineup, lineup.beside, rows, side)
        prediction, latency_us = self._predicted(lineup, rows)
        return self._answered(lineup, lineup.champion, rows, prediction, latency_us,
                              "champion" if lineup.live else "version")[0]

    def _tried(self, lineup: Lineup, beside: Beside, rows: Rows, side: Side | None) -> Answer:
        """The answer of one side; the other computes along, after it."""
        champion, challenger = lineup.champion, beside.bundle
        failed = None
        if (side or side_of(beside, champion.contract, rows)) == "canary":
            tried = computed(challenger, rows)
            if tried.prediction is not None and not (lineup.fallback and lineup.fallback.unfit(tried.prediction)):
                made, at = self._answered(lineup, challenger, rows, tried.prediction, tried.latency_us, "canary")
                self._along(lineup, beside, champion, made.ids, rows, at)
                return made
            failed = tried
        prediction, latency_us = self._predicted(lineup, rows)
        made, at = self._answered(lineup, champion, rows, prediction, latency_us, "champion")
        if failed is None:
            self._along(lineup, beside, challenger, made.ids, rows, at)
        else:
            self._keep(challenger, recorded(challenger, lineup.place, made.ids, rows, at, "shadow", failed.latency_us,
                                            None))
        return made

    @staticmethod
    def _predicted(lineup: Lineup, rows: Rows) -> tuple[Prediction, int]:
        """(the champion's answers, µs). Raises NotFinite where a fallback is declared and some are no numbers."""
        begun = time.perf_counter()
        prediction = lineup.champion.predict_rows(rows)
        latency_us = int((time.perf_counter() - begun) * 1e6)
        if lineup.fallback is not None and (bad := lineup.fallback.unfit(prediction)):
            raise NotFinite(lineup.champion.name, bad)
        return prediction, latency_us

    def _answered(self, lineup: Lineup, bundle: Bundle, rows: Rows, prediction: Prediction, latency_us: int,
                  stage: Stage) -> tuple[Answer, str]:
        """(the answer, recorded; when it was given)"""
        now = self._clock.now()
        made = Answer(model=lineup.place.model, version=bundle.number, prediction=prediction, classes=bundle.classes,
                      ids=sorted([self._ids.prediction(now) for _ in rows]), stage=stage, latency_us=latency_us)
        at = clock.to_text(now)
        if rows and self._record is not None:
            self._keep(bundle, recorded(bundle, lineup.place, made.ids, rows, at, stage, latency_us, prediction))
        return made, at

    def _along(self, lineup: Lineup, beside: Beside, bundle: Bundle, ids: Sequence[str], rows: Rows, at: str) -> None:
        if self._record is None:
            return

        def work() -> None:
            found = computed(bundle, rows)
            self._keep(bundle, recorded(bundle, lineup.place, ids, rows, at, "shadow", found.latency_us,
                                        found.prediction))

        beside.shadow.offer(work, len(rows))

    def _keep(self, bundle: Bundle, made: Record) -> None:
        if self._record is not None:
            self._record(redacted(made, bundle.contract, self._secret))


def _merged(rows: int, made: Sequence[str], instead: Mapping[int, str]) -> list[str]:
    """The ids of a request's rows, in their order."""
    rest = iter(made)
    return [instead[place] if place in instead else next(rest) for place in range(rows)]


def _said(problem: Exception) -> str:
    return f"the model failed ({type(problem).__name__}: {str(problem)[:120]})"
