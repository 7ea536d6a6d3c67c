"""What is answered for a row that the model must not answer?  (a broken row, a stuck sensor, a model that fails)

`[endpoint.NAME] fallback` of the live version's trimtab.toml declares it: the last good answer of the row's key while
it is fresh, a constant, or none; the answer says so. Where none is declared nothing of this is on a request's path.

A sensor is stuck when one and the same number came `stuck_after` times in a row of one key, in a column where training
says that this does not happen (`fallbacks.can_be_stuck`).
"""

from __future__ import annotations

import math
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from trimtab import clock
from trimtab.clock import Clock
from trimtab.data.rows import row_checker
from trimtab.data.rules import comparable
from trimtab.errors import CheckFailed
from trimtab.registry.bundle import Bundle, Prediction
from trimtab.sections import Fallback as Declared
from trimtab.traffic.redaction import Secret, key_of
from trimtab.traffic.segments import KEPT, Value

Rows = Sequence[Mapping[str, object]]
Occasion = Literal["contract", "stuck", "fault"]
Reason = tuple[Occasion, str]
Held = Mapping[str, frozenset[float]]          # a column that can be stuck → its numbers that repeat by nature
_MOST_KEYS: Final = 10_000
_ADVICE: Final = re.compile(r"\.? (?:Fix|Fill it in|Leave it out|It knows|Did you mean)\b.*", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instead:
    """What is answered in place of the model, and why. kind: what was found to answer with; age_s: of a last good
    answer, in seconds."""

    kind: Literal["last_good", "constant", "abstain"]
    on: Occasion
    why: str
    value: Value
    age_s: float | None = None

    def to_json(self) -> dict[str, object]:
        """As an answer says it; the value stands in its place."""
        told: dict[str, object] = {"kind": self.kind, "on": self.on, "why": self.why}
        return told if self.age_s is None else {**told, "age_s": round(self.age_s, 3)}


class NotFinite(CheckFailed):
    """The model's answers to some rows are no numbers. places: theirs."""

    def __init__(self, name: str, places: Sequence[int]) -> None:
        super().__init__(f"{name} gave no finite answer")
        self.places = places


@dataclass(slots=True)
class Memory:
    """What was last seen of each key of an endpoint, whichever version serves: its last good answer and when, and of
    each sensor the number and how often it came in a row. Bounded: the key not seen for longest is forgotten."""

    turn: threading.Lock = field(default_factory=threading.Lock)
    good: OrderedDict[str, tuple[Value, float]] = field(default_factory=OrderedDict)
    runs: OrderedDict[str, dict[str, tuple[float | None, int]]] = field(default_factory=OrderedDict)

    def keep(self, key: str, value: Value, at_s: float) -> None:
        """A good answer."""
        self.good[key] = (value, at_s)
        self.good.move_to_end(key)
        if len(self.good) > _MOST_KEYS:
            self.good.popitem(last=False)

    def run(self, key: str, column: str, value: float | None) -> int:
        """One more value of a sensor: how often it came in a row by now; 0 for a missing one."""
        runs = self.runs.setdefault(key, {})
        self.runs.move_to_end(key)
        if len(self.runs) > _MOST_KEYS:
            self.runs.popitem(last=False)
        last, count = runs.get(column, (None, 0))
        count = 0 if value is None else count + 1 if value == last else 1
        runs[column] = (value, count)
        return count


class Fallback:
    """The fallback of a live version at an endpoint. Safe to share between threads. held: the columns that can be
    stuck, see `fallbacks.can_be_stuck`."""

    def __init__(self, declared: Declared, bundle: Bundle, held: Held, memory: Memory, now: Clock,
                 secret: Secret) -> None:
        check(declared, bundle.task, bundle.classes)
        value = declared.value
        self._value: Value = float(value) if value is not None and not bundle.classes else value
        self.declared, self.held = declared, held if "stuck" in declared.on else {}
        self.memory, self._clock = memory, now
        self._check = row_checker(bundle.contract)
        self._contract, self._secret = bundle.contract, secret
        self._types = {column.name: column.type for column in bundle.contract.features}

    def sift(self, rows: Rows) -> dict[int, Reason]:
        """The rows that the model is not to be asked about, by their place, and why.

        None, where a row breaks the contract and "contract" is not declared: the model is asked, and refuses them all.
        """
        found: dict[int, Reason] = {}
        with self.memory.turn:
            for place, row in enumerate(rows):
                broken = self._check(row, [])
                if broken and "contract" not in self.declared.on:
                    return {}
                if broken:
                    more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
                    found[place] = "contract", _ADVICE.sub("", broken[0].message) + more
                elif self.held and (why := self._stuck(row)):
                    found[place] = "stuck", why
        return found

    def settle(self, rows: Rows, reasons: Mapping[int, Reason], made: Prediction | None) -> dict[int, Instead]:
        """What the rows with a reason are answered, by their place. made: the model's answers to the others, each the
        last good one of its key from its row on."""
        if not reasons and self.declared.use != "last_good":
            return {}
        values, at_s = iter(() if made is None else made.values), self._clock.now().timestamp()
        found: dict[int, Instead] = {}
        with self.memory.turn:
            for place, row in enumerate(rows):
                if place in reasons:
                    found[place] = self._instead(row, *reasons[place])
                else:
                    self.memory.keep(self._key_of(row), next(values), at_s)
        return found

    def replay(self, recorded: Iterable[tuple[str, Mapping[str, Any], Value, str, str]]) -> None:
        """What was answered before a restart, oldest first: (key, features, output, verdict, at)."""
        with self.memory.turn:
            for key, features, output, verdict, at in recorded:
                for name in self.held:
                    self.memory.run(key, name, self._number(name, features.get(name)))
                if verdict == KEPT and output is not None:
                    self.memory.keep(key, output, clock.from_text(at).timestamp())

    def to_json(self) -> dict[str, object]:
        """What is declared, and which columns are watched for standing still."""
        return {"use": self.declared.use, "value": self.declared.value, "on": list(self.declared.on),
                "stuck": sorted(self.held)}

    def unfit(self, prediction: Prediction) -> list[int]:
        """The places of answers that are no finite numbers."""
        return [place for place, value in enumerate(prediction.values)
                if isinstance(value, float) and not math.isfinite(value)]

    def _stuck(self, row: Mapping[str, object]) -> str:
        key, why = self._key_of(row), ""
        for name, natural in self.held.items():
            value = self._number(name, row.get(name))
            count = self.memory.run(key, name, value)
            if count >= self.declared.stuck_after and value not in natural and not why:
                why = f"{name} = {value:g} came {count:,} times in a row; a sensor that is alive does not do that"
        return why

    def _instead(self, row: Mapping[str, object], on: Occasion, why: str) -> Instead:
        if self.declared.use == "last_good" and (last := self.memory.good.get(self._key_of(row))) is not None:
            age_s = max(0.0, self._clock.now().timestamp() - last[1])
            if age_s <= self.declared.last_good_s:
                return Instead(kind="last_good", on=on, why=why, value=last[0], age_s=age_s)
        if self._value is None:
            return Instead(kind="abstain", on=on, why=why, value=None)
        return Instead(kind="constant", on=on, why=why, value=self._value)

    def _key_of(self, row: Mapping[str, object]) -> str:
        """The row's key as the recorder keeps it, so that it is known again after a restart."""
        column = self._contract.id_column
        value = None if column is None else row.get(column)
        if value is None:
            return ""
        return key_of(str(value), self._contract, self._secret) or str(value)

    def _number(self, name: str, value: object) -> float | None:
        found = comparable(self._types[name], value)
        return found if isinstance(found, float) and math.isfinite(found) else None


def check(declared: Declared, task: str, classes: Sequence[object]) -> None:
    """Can the declared constant be an answer of this model? Raises CheckFailed."""
    value = declared.value
    if value is None:
        return
    if not classes:
        if isinstance(value, bool | str) or not math.isfinite(value):
            raise CheckFailed(f"the fallback's value = {value!r} is no number, and this {task} answers numbers")
    elif not any(type(value) is type(one) and value == one for one in classes):
        raise CheckFailed(f"the fallback's value = {value!r} is none of the classes "
                          f"{', '.join(repr(one) for one in classes[:8])}")
