"""What does the loop look at, and what can it decide?  The nouns: policy, what was seen, a decision.

All of them are plain values that go into canonical JSON and come back equal, so that a decision can be recomputed from
what was stored with it. Times are `clock.to_text` strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from trimtab import canon
from trimtab.canon import Digest
from trimtab.errors import Malformed

Action = Literal["none", "notify", "propose", "retrain", "start_shadow", "start_canary", "promote", "rollback", "stop",
                 "hold", "refuse"]
State = Literal["decided", "done", "failed", "refused"]
Value = TypeVar("Value", bound="Plain")


class Plain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value that is equal to what its JSON gives back."""

    def to_json(self) -> dict[str, Any]:
        """Every field under its own name, in plain JSON values."""
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return found

    @classmethod
    def from_json(cls: type[Value], stored: object) -> Value:
        """The inverse of `to_json`. Raises Malformed."""
        try:
            return msgspec.convert(stored, cls)
        except msgspec.ValidationError as problem:
            raise Malformed(f"a stored {cls.__name__.lower()} can't be read: {problem}; it was written by another "
                            "trimtab, or changed by hand") from None


class Policy(Plain, frozen=True, kw_only=True):
    """What the loop may do by itself for a model, and how often.

    wrong_promotion: α, the probability of a wrong verdict over the endpoint's life. steps: shares of traffic, 0 is
    shadow; each must have answered `step_rows` rows before the next. most_labels, most_days: when a trial without a
    verdict ends, and the champion stays. probation_labels: how many pairs the version before is kept beside a newly
    promoted one; 0: not at all. cooldown_s: between two retrains; attempts: for one incident; a failed act is tried
    again after retry_s, and at most `attempts` times. loss_clip: the largest loss of a row that counts in a trial;
    None: what the champion's held-out rows say. paused: the kill switch.
    """

    on_drift: Literal["notify", "propose", "retrain"] = "notify"
    wrong_promotion: float = 0.01
    steps: tuple[float, ...] = (0.0, 0.05, 0.25)
    step_rows: int = 100
    most_labels: int = 20_000
    most_days: float = 30.0
    probation_labels: int = 1_000
    least_labels: int = 200
    cooldown_s: float = 86_400.0
    retrains_per_month: int = 4
    attempts: int = 3
    retry_s: float = 600.0
    loss_clip: float | None = None
    paused: bool = False
    why: str = ""
    by: str = ""

    @property
    def digest(self) -> Digest:
        """The name of what it allows. Pausing is not part of it: whoever goes on decides what was decided before."""
        return canon.digest_json({**self.to_json(), "paused": False, "why": "", "by": ""})


class Incident(Plain, frozen=True, kw_only=True):
    """An alert that is not closed. kind: of its first cause. broken: why nothing may be learned from these rows, or
    None. harm: do labels say that the live version got worse? began: since when rows are those that moved, "" where
    labels alone tell."""

    id: str
    kind: str
    sentence: str
    broken: str | None = None
    began: str = ""
    harm: bool = False
    snoozed: bool = False


class Trial(Plain, frozen=True, kw_only=True):
    """A version beside the champion, on the same rows. number: which trial of the endpoint it is (1, 2, …), the j that
    its canary's error is spent by. role: a "challenger", or the version before, while the champion is on probation or
    does harm. share: of the traffic, 0 in shadow. since: when this trial began; rows: answered in this stage; pairs:
    a `canary.Canary` as JSON; verdict, labels, words: what that canary says. crossed: guardrails that it broke, in
    words (errors, latency, output)."""

    number: int
    version: int
    role: Literal["challenger", "last_good"]
    stage: Literal["shadow", "canary"]
    share: float
    since: str
    rows: int
    verdict: Literal["better", "worse", "open"] = "open"
    labels: int = 0
    words: str = ""
    pairs: dict[str, Any] = {}
    crossed: tuple[str, ...] = ()


class Past(Plain, frozen=True, kw_only=True):
    """A decision of before, and what became of it. subject: what it was about (an alert, a trial); version: which one
    it started, promoted or restored; result: what its act gave."""

    id: str
    endpoint: str
    at: str
    action: Action
    subject: str
    champion: int
    state: State
    version: int | None = None
    result: dict[str, Any] = {}


class Seen(Plain, frozen=True, kw_only=True):
    """What is true of an endpoint now. last_good: the version that a rollback would restore. crossed: guardrails that
    the champion breaks, in words. labels: rows that are labelled, within the contract and not yet trained on; they are
    counted while there is an incident, else 0. past: decisions on this model, the oldest first."""

    model: str
    endpoint: str
    at: str
    champion: int | None = None
    last_good: int | None = None
    crossed: tuple[str, ...] = ()
    incident: Incident | None = None
    trial: Trial | None = None
    labels: int = 0
    past: tuple[Past, ...] = ()


class Decision(Plain, frozen=True, kw_only=True):
    """What to do, why, and from what that follows.

    subject: what it is about; version, share: of the version that starts, is promoted or restored, where there is one.
    attempt: how often it was tried before. key: one for a policy and the facts that make it this decision; what is done
    under a key is done once. evidence: {"policy", "seen"}; `policy.decide` of the two gives this decision again.
    """

    model: str
    endpoint: str
    action: Action
    reason: str
    subject: str = ""
    champion: int = 0
    version: int | None = None
    share: float = 0.0
    attempt: int = 0
    key: str = ""
    evidence: dict[str, Any] = {}

    @property
    def words(self) -> str:
        """`retrain: rate rose: mean +0.5 sd`."""
        return f"{self.action}: {self.reason}"


class Stored(Plain, frozen=True, kw_only=True):
    """A decision as it is kept. result: what its act gave, or {"why"} where it failed; empty while it is under way."""

    id: str
    at: str
    decision: Decision
    state: State
    result: dict[str, Any] = {}

    @property
    def past(self) -> Past:
        """As later decisions look at it."""
        made = self.decision
        return Past(id=self.id, endpoint=made.endpoint, at=self.at, action=made.action, subject=made.subject,
                    champion=made.champion, state=self.state, version=made.version, result=self.result)


def unlike(told: Mapping[str, Any], again: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields in which two decisions differ, in order of name."""
    return tuple(sorted(name for name in {*told, *again} if told.get(name) != again.get(name)))
