"""How is a request answered, whatever protocol it came in?

Every protocol is a translator onto `ask`: find the bundle that answers, let the protocol read its rows against that
bundle's contract, and hand them to the engine. So contract, recorder and rollout are the same for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from trimtab.errors import Malformed, NotFound, TooLarge, TrimtabError
from trimtab.registry.bundle import Bundle
from trimtab.serving.answering import Answer
from trimtab.serving.engine import Engine
from trimtab.serving.lineup import Lineup, read_side

SIDE = "x-trimtab-version"                    # of a request: who is to answer; of an answer: who did
Rows = list[dict[str, object]]


def ask(engine: Engine, model: str, number: int | None, read: Callable[[Bundle], Rows],
        side: str | None = None) -> Answer:
    """The answer for the rows that `read` finds, given the bundle whose contract they are for; it is counted.

    number: a version, else what is live; side: "champion" or "canary", while one is tried. Raises Malformed (side), and
    what `Engine.lineup`, `Engine.answer` and `read` raise.
    """
    begun = time.perf_counter()
    try:
        lineup = engine.lineup(model, number)
        answer = engine.answer(lineup, read(lineup.champion), side=read_side(side))
    except TrimtabError as problem:
        refused(engine, model, problem)
        raise
    counted(engine, lineup, answer, begun)
    return answer


def counted(engine: Engine, lineup: Lineup, answer: Answer, begun: float, own_us: int | None = None) -> None:
    """Count an answer to what began at `begun`. own_us: its share of what it took together with others."""
    engine.metrics.of(answer.model, lineup.place.endpoint, answer.version).answered(
        len(answer.ids), time.perf_counter() - begun, answer.latency_us if own_us is None else own_us,
        len(answer.instead))


def refused(engine: Engine, model: str, problem: TrimtabError) -> None:
    """Count a request that gets an error; Malformed and TooLarge are counted where they are told."""
    if not isinstance(problem, Malformed | TooLarge):
        broken = problem.details.get("violations", ())
        engine.metrics.refused(model, problem.code, broken_rows=len(
            {one["row"] for one in broken}) if isinstance(broken, list) else 0)


def told(answer: Answer) -> dict[str, str]:
    """The headers of an answer: which side gave it."""
    return {SIDE: answer.stage}


def as_number(text: str) -> int:
    """A version's number from outside: `7` or `v7`. Raises NotFound, since nothing can have another name."""
    digits = text[1:] if text[:1] in ("v", "V") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise NotFound(f"{text[:40]!r} is not a version's number; write it as 7")
    return int(digits)
