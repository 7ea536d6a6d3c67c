"""Who is told, what is answered for a row that is not fit, and how does a challenger come to serve?

`[notify]`, `[endpoint.NAME]` and `[deploy.production]` of `trimtab.toml` are about running a model and not about making
one. `config` reads them with the rest; `[notify]` may also stand in the workspace's own `workspace.toml`, where it goes
for all its models.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

EVENTS: Final = ("alert", "decision")
_EVENT = re.compile(rf"(?:{'|'.join(EVENTS)})(?:\.[a-z_]+)?")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)\s*", re.IGNORECASE)


class Hook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of `[notify] webhooks`. url: where to, or `$NAME`, an environment variable that holds it. events: kinds of
    notices, whole ("alert") or one by one ("alert.open"). allow: networks that may be reached though they are not
    public. secret_env: the environment variable with the signing secret; where it is not set, the workspace's own."""

    url: str
    events: tuple[str, ...] = EVENTS
    allow: tuple[str, ...] = ()
    secret_env: str = "TRIMTAB_WEBHOOK_SECRET"
    format: Literal["cloudevents", "slack"] = "cloudevents"

    def wants(self, kind: str) -> bool:
        """Is it to be told of this kind of notice?

        >>> hook = Hook(url="https://example.com", events=("alert.open", "decision"))
        >>> hook.wants("alert.open"), hook.wants("alert.close"), hook.wants("decision.promote")
        (True, False, True)
        """
        return any(kind == event or kind.startswith(event + ".") for event in self.events)


class Notify(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[notify]`: who is told of alerts and decisions."""

    webhooks: tuple[Hook, ...] = ()


class Canary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[deploy.production] canary`: how a challenger comes to serve. steps: percent of the traffic, 0 is shadow, 100 is
    promoted; rows: to be answered at each; labels, days: when a trial without a verdict ends; probation: for how many
    labels the version before is kept beside a promoted one; loss_clip: the largest loss of a row that counts."""

    steps: tuple[float, ...] = (0, 5, 25, 100)
    wrong_promotion: float = 0.01
    loss_clip: float | None = None
    rows: int = 100
    labels: int = 20_000
    days: float = 30.0
    probation: int = 1_000


class Production(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[deploy.production]`: what holds where predictions are asked."""

    canary: Canary = Canary()


class Deploy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[deploy]`: how versions come to serve."""

    production: Production = Production()


def canary_problems(canary: Canary) -> Iterator[str]:
    """Sentences about what can't be in `[deploy.production] canary`."""
    where, steps = "deploy.production.canary", canary.steps
    if list(steps) != sorted(set(steps)) or len(steps) < 2 or steps[0] != 0 or steps[-1] != 100:
        yield (f"{where}.steps = {[*steps]} are percent of the traffic, each above the one before, from 0 (shadow) to "
               "100 (promoted); write [0, 5, 25, 100]")
    if not 0 < canary.wrong_promotion < 0.5:
        yield f"{where}.wrong_promotion = {canary.wrong_promotion:g} is a probability between 0 and 0.5"
    if canary.loss_clip is not None and not 0 < canary.loss_clip < float("inf"):
        yield f"{where}.loss_clip = {canary.loss_clip:g} must be above 0: the largest loss that counts"
    if min(canary.rows, canary.probation) < 0 or min(canary.labels, canary.days) <= 0:
        yield f"{where}: rows and probation are 0 or more, labels and days more than 0"


class Fallback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[endpoint.NAME] fallback`: what is answered in place of a row's own answer. use: the last good answer of the
    row's key (then `value`, where there is one), `value`, or none at all. on: when: the row breaks the contract, one of
    its sensors is stuck, or the model itself fails."""

    use: Literal["last_good", "constant", "abstain"]
    value: float | int | bool | str | None = None
    on: tuple[Literal["contract", "stuck", "fault"], ...] = ("contract", "stuck", "fault")
    stuck_after: int = 20
    last_good_for: str = "10min"

    @property
    def last_good_s(self) -> float:
        """`last_good_for` in seconds."""
        return seconds(self.last_good_for)


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[endpoint.NAME]`: how predictions are answered there."""

    fallback: Fallback | None = None


def endpoint_problems(endpoints: dict[str, Endpoint]) -> Iterator[str]:
    """What can't be meant, a sentence each."""
    for name, endpoint in endpoints.items():
        fallback, where = endpoint.fallback, f"endpoint.{name}.fallback"
        if fallback is None:
            continue
        if fallback.use == "constant" and fallback.value is None:
            yield f"{where}: use = \"constant\" needs value = …, what is to be answered"
        if fallback.use == "abstain" and fallback.value is not None:
            yield f"{where}: use = \"abstain\" answers nothing, and value = {fallback.value!r} is something; drop one"
        if not fallback.on:
            yield f"{where}.on names no occasion; write \"contract\", \"stuck\", \"fault\", or drop the fallback"
        if not 5 <= fallback.stuck_after <= 100_000:
            yield f"{where}.stuck_after = {fallback.stuck_after} rows must lie in 5 … 100,000"
        if not is_duration(fallback.last_good_for):
            yield (f"{where}.last_good_for = {fallback.last_good_for!r} is not a duration; write it as \"30s\", "
                   "\"10min\" or \"1d\"")


def notify_problems(notify: Notify) -> Iterator[str]:
    """What can't be meant, a sentence each."""
    for place, hook in enumerate(notify.webhooks, 1):
        where = f"notify.webhooks, number {place}"
        if not re.match(r"https?://\S|\$[A-Za-z_]\w*$", hook.url):
            yield f"{where}: url begins with https://, or is $NAME, an environment variable that holds it"
        for event in hook.events:
            if not _EVENT.fullmatch(event):
                yield (f"{where}: events has {event!r}; write \"alert\" or \"decision\", or one kind of them, as "
                       "\"alert.open\"")
        for text in hook.allow:
            try:
                ipaddress.ip_network(text)
            except ValueError:
                yield f"{where}: allow has {text!r}, which is no network; write \"10.1.0.0/16\" or \"127.0.0.1\""


def is_duration(text: str) -> bool:
    """Is it a duration of more than nothing?

    >>> is_duration("10min"), is_duration("0s"), is_duration("soon")
    (True, False, False)
    """
    try:
        return seconds(text) > 0
    except ValueError:
        return False


def seconds(text: str) -> float:
    """A duration in seconds. Raises ValueError.

    >>> seconds("2d"), seconds("30min")
    (172800.0, 1800.0)
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return float(match[1]) * _SECONDS[match[2].lower()]


def span(seconds_: float) -> str:
    """Seconds as `seconds` reads them, in the largest unit that leaves no fraction.

    >>> span(43200), span(600), span(86400), span(1.5), span(0)
    ('12h', '10min', '1d', '1.5s', '0s')
    """
    unit = next((name for name in ("d", "h", "min") if seconds_ and not seconds_ % _SECONDS[name]), "s")
    return f"{seconds_ / _SECONDS[unit]:.12g}{unit}"
