"""What is true of an endpoint now?  Reads what the other rooms left: rollouts, alerts, trials, labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol

from trimtab import clock
from trimtab.clock import Clock
from trimtab.loop.canary import Canary
from trimtab.loop.model import Incident, Seen, Trial
from trimtab.monitor.alerts import Alert, Alerts
from trimtab.serving.rollout import Rollouts, last_good


class Observer(Protocol):
    """Reads levels. Promises: changes nothing; `past` is left empty."""

    def __call__(self, model: str, endpoint: str) -> Seen: ...


class Observe:
    """The observer of a workspace.

    trial: (model, endpoint, champion) → what answers beside it, or None. labels: (model, endpoint, champion, began,
    at) → rows asked since `began` that are labelled by `at`, within the contract and not trained on; asked only while
    there is an incident. crossed: (model, endpoint, champion) → guardrails that it breaks.
    """

    def __init__(self, *, rollouts: Rollouts, alerts: Alerts, now: Clock,
                 trial: Callable[[str, str, int], Trial | None], labels: Callable[[str, str, int, str, str], int],
                 crossed: Callable[[str, str, int], Sequence[str]] = lambda model, endpoint, champion: ()) -> None:
        self._rollouts, self._alerts, self._clock = rollouts, alerts, now
        self._trial, self._labels, self._crossed = trial, labels, crossed

    def __call__(self, model: str, endpoint: str) -> Seen:
        """What is seen now. Raises what reading raises."""
        at = clock.to_text(self._clock.now())
        history = self._rollouts.history(model, endpoint)
        if not history:
            return Seen(model=model, endpoint=endpoint, at=at)
        champion, before = history[-1].version, last_good(history)
        open_now = incident(alert for alert in self._alerts.list(model, endpoint=endpoint)
                            if alert.version == champion)
        return Seen(
            model=model, endpoint=endpoint, at=at, champion=champion,
            last_good=None if before is None else before.version, incident=open_now,
            trial=self._trial(model, endpoint, champion),
            labels=0 if open_now is None else self._labels(model, endpoint, champion, open_now.began, at),
            crossed=tuple(self._crossed(model, endpoint, champion)))


def incident(alerts: Iterable[Alert]) -> Incident | None:
    """The newest of the alerts, as a policy looks at it; None where there is none."""
    alert = max(alerts, key=lambda one: (one.opened_at, one.id), default=None)
    if alert is None:
        return None
    return Incident(id=alert.id, kind=alert.kind, sentence=alert.sentence, broken=alert.broken, began=began(alert),
                    harm=any(cause["kind"] in ("harm", "concept") for cause in alert.causes),
                    snoozed=alert.state == "snoozed")


def began(alert: Alert) -> str:
    """Since when all rows are those that an alert is about, as a time text; "" where only labels tell of it.

    The window in which the evidence began may hold rows of before, so it is its end.
    """
    moved: bool = bool(alert.evidence.get("columns"))
    return str(alert.evidence["began"]["until"]) if moved else ""


def judged(canary: Canary, *, version: int, role: Literal["challenger", "last_good"], share: float, since: str,
           rows: int, crossed: Iterable[str] = ()) -> Trial:
    """A trial with the verdict of its canary; the canary itself goes along, so that the verdict can be recomputed."""
    return Trial(number=canary.challenger, version=version, role=role, stage="canary" if share else "shadow",
                 share=share, since=since, rows=rows, verdict=canary.verdict, labels=canary.n, words=canary.words,
                 pairs=canary.to_json(), crossed=tuple(crossed))
