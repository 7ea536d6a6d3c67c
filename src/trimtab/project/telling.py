"""Who is told what is due, and did it arrive?  Sends notices to the webhooks that ask for them.

A notice goes to each webhook at least once; its key comes along, so that whoever has it twice can tell. What fails is
tried again, later each time, and is given up in the end: `trimtab doctor` says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlsplit

from trimtab.bridges.webhooks import Delivered, Webhook, deliver
from trimtab.errors import Forbidden, UsageError
from trimtab.loop.notices import TRIES, Notice
from trimtab.registry.ingredients import config_of
from trimtab.sections import Hook
from trimtab.workspace import SETTINGS, Workspace

_SECRET = "webhook"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of sending one notice to one webhook. hook: its name; where: its host."""

    hook: str
    where: str
    delivered: Delivered

    def to_json(self) -> dict[str, object]:
        """By field name; the URL itself may be a secret and is left out."""
        return {"hook": self.hook, "where": self.where, "ok": self.delivered.ok, "status": self.delivered.status,
                "why": self.delivered.why}


def tell_due(workspace: Workspace, *, limit: int = 20) -> int:
    """Send what is due, the oldest first; how many notices everyone has now who asked for them.

    A webhook that did not answer at all is not waited for a second time in one call, so that it holds up nobody else.
    """
    told, silent = 0, set[str]()
    for notice in workspace.notices.due(workspace.clock.now(), limit=limit):
        wanted = [hook for hook, _ in hooks(workspace, notice.model, notice.endpoint) if hook.wants(notice.kind)]
        if not wanted:
            workspace.notices.mark(notice, "unheard")
            continue
        claimed = workspace.notices.claim(notice)
        if claimed is None:
            continue
        sent = [_silent(hook) if name_of(hook) in silent else send(workspace, hook, claimed)
                for hook in wanted if name_of(hook) not in claimed.had]
        silent |= {one.hook for one in sent if not one.delivered.ok and one.delivered.status is None}
        told += _settle(workspace, claimed, sent)
    return told


def hooks(workspace: Workspace, model: str, endpoint: str = "production") -> list[tuple[Hook, str]]:
    """The webhooks of a model and the file that names each: of the workspace, then of its live version."""
    found = [(hook, SETTINGS) for hook in workspace.notify.webhooks]
    live = workspace.rollouts.current(model, endpoint) if model else None
    made_with = None if live is None else config_of(workspace.versions, workspace.versions.get(model, live.version))
    if made_with is not None and live is not None:
        found += [(hook, f"trimtab.toml of v{live.version}") for hook in made_with.notify.webhooks
                  if hook not in workspace.notify.webhooks]
    return found


def name_of(hook: Hook) -> str:
    """What a webhook is called without telling its URL: eight hex digits."""
    return sha256(hook.url.encode()).hexdigest()[:8]


def test(workspace: Workspace, model: str) -> list[Told]:
    """Send a trial notice to every webhook of a model, whatever it asks for."""
    at = workspace.clock.now()
    key = workspace.ids.short("n")
    notice = Notice(id=key, key=key, model=model, endpoint="production", kind="test", at=at.isoformat(), next_at="",
                    body={"text": f"{model}: a test of trimtab's notifications; nothing happened"}, state="pending",
                    tries=1)
    return [send(workspace, hook, notice) for hook, _ in hooks(workspace, model)]


def send(workspace: Workspace, hook: Hook, notice: Notice) -> Told:
    """Send a notice to a webhook once; what goes wrong is told, not raised."""
    where = ""
    try:
        url = _url(hook)
        where = urlsplit(url).hostname or ""
        found = deliver(Webhook(url=url, secret=secret_of(workspace, hook), allow=hook.allow), event(hook, notice),
                        key=notice.key, now=workspace.clock,
                        content="application/json" if hook.format == "slack" else "application/cloudevents+json")
    except (UsageError, Forbidden) as problem:
        found = Delivered(ok=False, status=None, address="", why=str(problem))
    return Told(hook=name_of(hook), where=where, delivered=found)


def event(hook: Hook, notice: Notice) -> Mapping[str, object]:
    """A notice as CloudEvents 1.0 has it, or the one line that a Slack-like receiver shows.

    The event's id is the notice's key: of an alert and its state, or of a decision.
    """
    if hook.format == "slack":
        return {"text": str(notice.body.get("text", notice.kind))}
    return {"specversion": "1.0", "id": notice.key, "type": f"trimtab.{notice.kind}", "time": notice.at,
            "source": f"/trimtab/models/{notice.model}/endpoints/{notice.endpoint}", "subject": notice.model,
            "datacontenttype": "application/json",
            "data": {"schema": "trimtab.notice/1", "notice": notice.id, "model": notice.model,
                     "endpoint": notice.endpoint, "kind": notice.kind, **notice.body}}


def secret_of(workspace: Workspace, hook: Hook) -> bytes:
    """What deliveries are signed with: of the environment, else the workspace's own (`keys/webhook.secret`).

    Raises UsageError where the variable that trimtab.toml names is not set, Forbidden (others can read the file).
    """
    value = os.environ.get(hook.secret_env)
    if value:
        return value.encode()
    if hook.secret_env != Hook(url="").secret_env:
        raise UsageError(f"secret_env names {hook.secret_env}, and that environment variable is not set")
    return workspace.keyring.secret(_SECRET)


def _silent(hook: Hook) -> Told:
    return Told(hook=name_of(hook), where="", delivered=Delivered(
        ok=False, status=None, address="", why="it did not answer a moment ago"))


def _url(hook: Hook) -> str:
    if not hook.url.startswith("$"):
        return hook.url
    value = os.environ.get(hook.url[1:])
    if not value:
        raise UsageError(f"a webhook's url names {hook.url}, and that environment variable is not set")
    return value


def _settle(workspace: Workspace, notice: Notice, sent: list[Told]) -> bool:
    """Keep what became of one try; True where everyone has it."""
    had = [*notice.had, *(one.hook for one in sent if one.delivered.ok)]
    failed = [f"{one.where or one.hook}: {one.delivered.why}" for one in sent if not one.delivered.ok]
    state = "told" if not failed else "gave_up" if notice.tries >= TRIES else "pending"
    workspace.notices.mark(notice, state, why="; ".join(failed), had=had)  # type: ignore[arg-type]
    return not failed
