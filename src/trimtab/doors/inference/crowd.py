"""How are the requests that came in one turn of the loop predicted by one call?

There is no timer: while one call predicts nobody reads, and whatever arrived meanwhile comes in the next turn and is
predicted by the next call. Only versions that answer a row alike, to the last bit, whatever rows are beside it
(`Bundle.together`): an answer, and its record, are those of the request alone. Where one request of a call is not to
be answered, each is asked alone, so that it fails for itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from trimtab.doors.inference.asking import Rows, counted, refused
from trimtab.errors import TrimtabError
from trimtab.registry.bundle import Array, Bundle, Prediction
from trimtab.serving.answering import Answer
from trimtab.serving.engine import Engine
from trimtab.serving.lineup import Lineup


class Member(NamedTuple):
    """One request: its rows, encoded and found within the contract, which took `check_s`."""

    lineup: Lineup
    rows: Rows
    matrix: Array                              # shape (rows, features)
    begun: float
    check_s: float
    tell: Callable[[Answer], bytes]


class Crowd:
    """Requests that wait for the end of the turn. All of it runs on the event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._members: list[Member] = []

    def join(self, lineup: Lineup, read: Callable[[Bundle], Rows], tell: Callable[[Answer], bytes]) -> None:
        """Take in a request to a lineup of a champion alone that answers `together`. Raises what `read` raises, and
        ContractViolation; then it is counted, and not taken in."""
        begun = time.perf_counter()
        try:
            rows = read(lineup.champion)
            reading = time.perf_counter()
            matrix = lineup.champion.encode_rows(rows)
        except TrimtabError as problem:
            refused(self._engine, lineup.place.model, problem)
            raise
        self._members.append(Member(lineup, rows, matrix, begun, time.perf_counter() - reading, tell))

    def answers(self) -> list[bytes | Exception]:
        """What each that waited is told, in the order in which they joined; or why there is nothing."""
        members, self._members = self._members, []
        found: list[bytes | Exception | None] = [None] * len(members)
        for lineup in {id(one.lineup): one.lineup for one in members}.values():
            places = [place for place, one in enumerate(members) if one.lineup is lineup]
            mine = [members[place] for place in places]
            for place, answer in zip(places, self._of(lineup.champion, mine), strict=True):
                found[place] = answer
        return [one for one in found if one is not None]

    def _of(self, champion: Bundle, members: list[Member]) -> list[bytes | Exception]:
        begun = time.perf_counter()
        made = predict_each(champion, [one.matrix for one in members])
        took_s, rows = time.perf_counter() - begun, sum(len(one.rows) for one in members) or 1
        return [self._answer(one, each, took_s, took_s * len(one.rows) / rows)
                for one, each in zip(members, made, strict=True)]

    def _answer(self, member: Member, made: Prediction | Exception, took_s: float, own_s: float) -> bytes | Exception:
        if isinstance(made, Exception):
            if isinstance(made, TrimtabError):
                refused(self._engine, member.lineup.place.model, made)
            return made
        try:
            answer = self._engine.answer_with(member.lineup, member.rows, made, int((member.check_s + took_s) * 1e6))
            told = member.tell(answer)
        except Exception as problem:  # noqa: BLE001  the long way meets it too, and tells it
            if isinstance(problem, TrimtabError):
                refused(self._engine, member.lineup.place.model, problem)
            return problem
        counted(self._engine, member.lineup, answer, member.begun, int((member.check_s + own_s) * 1e6))
        return told


def predict_each(bundle: Bundle, matrices: list[Array]) -> list[Prediction | Exception]:
    """The predictions for encoded matrices, shape (rows, features) each, by one call where the bundle answers
    `together`: the same, to the last bit, as one by one. One that fails is told in its place."""
    if bundle.together is not None and len(matrices) > 1:
        whole = _predict(bundle.together, np.concatenate(matrices))
        if isinstance(whole, Prediction):
            return list(whole.split(map(len, matrices)))
    return [_predict(bundle, matrix) for matrix in matrices]


def _predict(bundle: Bundle, matrix: Array) -> Prediction | Exception:
    try:
        return bundle.predict(matrix)
    except Exception as problem:  # noqa: BLE001  an estimator may raise anything
        return problem
