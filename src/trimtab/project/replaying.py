"""Would a recorded prediction be answered the same again, bit for bit?

The version that answered is loaded by its number, verified, and asked for the request as it was recorded: the same rows
in the same order. Output and probabilities are compared to the last bit. Where that can't be, it is said why.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trimtab.errors import Conflict, MissingExtra, NotFound
from trimtab.ids import prediction_moment
from trimtab.registry.bundle import Bundle, load_bundle
from trimtab.registry.environment import apart, capture_environment
from trimtab.serving.recording import computed
from trimtab.traffic.segments import FAILED, FALLBACK, Record, Row, Value
from trimtab.workspace import Workspace

Outcome = Literal["same", "differs", "not_comparable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One prediction, answered again. why: a sentence, empty where it is the same. apart: the largest difference of two
    numbers. tier: how it was computed here; rows: that were computed together."""

    id: str
    outcome: Outcome
    why: str = ""
    model: str = ""
    version: int = 0
    recorded: Value = None
    again: Value = None
    apart: float = 0.0
    tier: str = ""
    rows: int = 0

    def to_json(self) -> dict[str, object]:
        """All fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replays:
    """Several of them, in the order that was asked for."""

    predictions: tuple[Replayed, ...]

    def count(self, outcome: Outcome) -> int:
        """How many came out so."""
        return sum(one.outcome == outcome for one in self.predictions)

    @property
    def ok(self) -> bool:
        """Does none differ without an excuse?"""
        return not self.count("differs")

    def to_json(self) -> dict[str, object]:
        """As `replay --json` prints it."""
        return {"schema": "trimtab.traffic_replay/1", "count": len(self.predictions), "same": self.count("same"),
                "differs": self.count("differs"), "not_comparable": self.count("not_comparable"),
                "predictions": [one.to_json() for one in self.predictions]}


def replay(workspace: Workspace, predictions: Sequence[str]) -> Replays:
    """Answer recorded predictions again. Raises NotFound (an id that was never recorded, as far as is known), and where
    a version is not what was registered SignatureInvalid, DigestMismatch, BlobMissing."""
    wanted = dict.fromkeys(predictions)
    found: dict[str, Replayed] = {}
    by_version: dict[tuple[str, int], list[Record]] = {}
    for record in workspace.traffic.together(list(wanted)):
        by_version.setdefault((record.model, record.version), []).append(record)
    for (model, number), records in sorted(by_version.items()):
        version = _Version(workspace, model, number)
        for record in records:
            found |= {one.id: one for one in version.replay(record, wanted.keys())}
    return Replays(predictions=tuple(found.get(name) or _forgotten(workspace, name) for name in wanted))


def sample(workspace: Workspace, count: int, *, seed: int = 0, model: str | None = None) -> list[str]:
    """Ids of recorded predictions, drawn without replacement, in the order of time; all where there are no more."""
    ids = workspace.traffic.frame(model=model, columns=["id"])["id"]
    return ids.sample(min(count, ids.len()), seed=seed).sort().to_list()


def why_not(record: Record, row: Row, features: Sequence[str]) -> str:
    """Why a recorded row can't be put to the model again, in words; "" where it can.

    features: the names that the version's contract calls so.
    """
    if record.verdict == FALLBACK or (record.verdict == FAILED and row.why):
        return f"the model did not answer it: {row.why}"
    if record.verdict == FAILED:
        return "the model gave no answer"
    if hidden := [name for name in row.redacted if name in features]:
        return f"redacted: {', '.join(hidden)} was not recorded as it came"
    return ""


class _Version:
    """A version, loaded to answer again, and what is not here as it was when it was registered."""

    def __init__(self, workspace: Workspace, model: str, number: int) -> None:
        self._bundle: Bundle | None = None
        self._absent, self._tier = "", ""
        version = workspace.versions.get(model, number)
        if version.deleted_at is not None:
            self._absent = f"{version.name} was deleted"
            return
        try:
            self._bundle = load_bundle(workspace.versions, version)
        except (MissingExtra, Conflict) as problem:
            self._absent = str(problem)
            return
        self._tier = str(self._bundle.tier["tier"])
        told: Any = version.facts.get("predict") or {}
        self._elsewhere = apart(workspace.versions.ingredient(version, "environment"), capture_environment())
        if told.get("tier", self._tier) != self._tier:
            self._elsewhere.insert(0, f"answered through {told['tier']} then, {self._tier} here")
        if self._bundle.fast is None and (threads := _threads(self._bundle.estimator)) > 1:
            self._elsewhere.append(f"{threads} threads add up its trees in an order that differs from call to call")

    def replay(self, record: Record, wanted: Any) -> Iterator[Replayed]:
        """Those of a request's predictions that are wanted."""
        bundle = self._bundle
        mine = [row for row in record.rows if row.id in wanted]
        features = () if bundle is None else tuple(bundle.contract.feature_names)
        reasons = {row.id: self._absent or why_not(record, row, features) for row in mine}
        whole = [row.position for row in record.rows] == list(range(len(record.rows))) and not any(
            why_not(record, row, features) for row in record.rows)
        alone = bundle is not None and bool(bundle.tier.get("row_invariant"))
        asked = list(record.rows) if whole else [row for row in mine if not reasons[row.id]]
        made = None
        if bundle is not None and asked and (whole or alone):
            made = computed(bundle, [row.features for row in asked])
        for row in mine:
            why = reasons[row.id] or ("" if whole or alone else "other rows of its request are not recorded, and the "
                                      "answer may depend on what was computed with it")
            told: dict[str, Any] = {"id": row.id, "model": record.model, "version": record.version,
                                    "recorded": row.output, "tier": self._tier, "rows": len(record.rows)}
            if why or made is None:
                yield Replayed(outcome="not_comparable", why=why, **told)
            elif made.prediction is None:
                yield self._differs(told, f"it fails here ({made.failure})", 0.0)
            else:
                place = asked.index(row)
                again, shares = made.prediction.values[place], made.prediction.probabilities
                new = [again, *([] if shares is None else shares[place].tolist())]
                if same_bits([row.output, *(row.probabilities or ())], new):
                    yield Replayed(outcome="same", again=again, **told)
                else:
                    yield self._differs({**told, "again": again}, *_distance(row, new))

    def _differs(self, told: dict[str, Any], how: str, apart: float) -> Replayed:
        if self._elsewhere:
            return Replayed(outcome="not_comparable", why=f"{'; '.join(self._elsewhere)}: {how}", apart=apart, **told)
        return Replayed(outcome="differs", why=how, apart=apart, **told)


def same_bits(recorded: Sequence[Any], again: Sequence[Any]) -> bool:
    """Are these the same answers to the last bit? None stands for a number that JSON has no word for.

    >>> same_bits([0.3], [0.1 + 0.2]), same_bits([None, "a"], [float("nan"), "a"]), same_bits([True], [1])
    (False, True, False)
    """
    return len(recorded) == len(again) and all(map(_same, recorded, again))


def _same(one: Any, other: Any) -> bool:
    if isinstance(other, float) and (other != other or other in (float("inf"), -float("inf"))):
        return one is None or (isinstance(one, float) and _bits(one) == _bits(other))
    if isinstance(one, float) and isinstance(other, float):
        return _bits(one) == _bits(other)
    return type(one) is type(other) and bool(one == other)


def _bits(value: float) -> bytes:
    return struct.pack("<d", value)


def _distance(row: Row, new: list[Any]) -> tuple[str, float]:
    """How the answer differs in words, and by how much."""
    old = [row.output, *(row.probabilities or ())]
    if len(old) != len(new):
        return f"{len(old) - 1} probabilities were recorded, {len(new) - 1} are computed", 0.0
    pairs = [(a, b) for a, b in zip(old, new, strict=True) if isinstance(a, float) and isinstance(b, float)]
    apart = max((abs(a - b) for a, b in pairs), default=0.0)
    if not isinstance(old[0], float) and not _same(old[0], new[0]):
        return f"{old[0]!r} was recorded, {new[0]!r} is computed", apart
    return f"differs by {apart:.3g}", apart


def _threads(estimator: Any) -> int:
    """How many threads a forest's trees are added up by."""
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    number: Any = getattr(last, "n_jobs", None) if hasattr(last, "estimators_") else 1
    return 1 if number is None else 2 if number < 0 else int(number)


def _forgotten(workspace: Workspace, prediction: str) -> Replayed:
    """Raises NotFound where nothing says that it was ever recorded."""
    moment = prediction_moment(prediction)
    table = None if moment is None else workspace.tables.gone(moment)
    if table is None:
        raise NotFound(f"no prediction {prediction[:40]!r} is recorded in this workspace")
    return Replayed(id=prediction, outcome="not_comparable",
                    why=f"forgotten: what was recorded at its time ({table}) was deleted by age")
