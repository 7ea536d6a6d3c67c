"""Alerts and decisions reach the webhooks that ask for them: once each, signed, later where a receiver is away."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.bridges.receiver import Receiver
from tests.cli.conftest import Trimtab, write_linear
from tests.conftest import database_url

from trimtab.bridges.webhooks import verify
from trimtab.clock import FixedClock
from trimtab.errors import ConfigInvalid
from trimtab.loop.notices import TRIES
from trimtab.project import story, telling
from trimtab.workspace import SETTINGS, Workspace

Write = Callable[..., None]


def toml(*hooks: dict[str, Any]) -> str:
    """`[notify]` with these webhooks; loopback is allowed where nothing else is said."""
    said = [{"allow": ["127.0.0.1"], **hook} for hook in hooks]
    return "".join("[[notify.webhooks]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in one.items())
                   for one in said)


@pytest.fixture(params=["sqlite-file", "postgres"])
def space(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """An empty workspace whose clock is held."""
    monkeypatch.delenv("TRIMTAB_WEBHOOK_SECRET", raising=False)
    url = None if request.param == "sqlite-file" else database_url("postgres", tmp_path, request)
    with Workspace.open(tmp_path / "ws", create=True, database=url, now=FixedClock(), actor="ann") as workspace:
        yield workspace


@pytest.fixture
def settings(space: Workspace) -> Write:
    """Writes `[notify]` into workspace.toml, after what stands there."""
    path = space.folder / SETTINGS
    before = path.read_text() if path.exists() else ""
    return lambda *hooks: path.write_text(before + toml(*hooks))  # type: ignore[return-value]


def alarm(space: Workspace, column: str = "temp") -> str:
    """An alert opens; its id."""
    with space.db.write() as conn:
        cause = {"kind": "stuck", "column": column, "sentence": f"{column} stood still at 21.5", "broken": True}
        return space.alerts.note(conn, model="risk", version=1, endpoint=f"at-{column}", evidence={"columns": []},
                                 causes=[cause])[0].id


def later(space: Workspace, **by: float) -> int:
    """Tell what is due after a while."""
    assert isinstance(space.clock, FixedClock)
    space.clock.advance(**by)
    return telling.tell_due(space)


def test_an_alert_is_told_once_signed_as_a_cloud_event(space: Workspace, settings: Write, receiver: Receiver) -> None:
    settings({"url": receiver.url})
    name = alarm(space)
    assert [telling.tell_due(space), later(space, days=1)] == [1, 0]
    (_, headers, body), = receiver.got
    event = json.loads(body)
    assert headers["Content-Type"] == "application/cloudevents+json"
    assert (event["specversion"], event["type"], event["id"]) == ("1.0", "trimtab.alert.open", f"{name}.0")
    assert headers["Trimtab-Delivery"] == event["id"]
    assert event["source"] == "/trimtab/models/risk/endpoints/at-temp"
    assert event["data"]["text"] == f"risk v1 alarms: temp stood still at 21.5 [{name}]"
    assert event["data"]["broken"] == "temp stood still at 21.5"
    secret = (space.folder / "keys" / "webhook.secret").read_bytes()
    assert (space.folder / "keys" / "webhook.secret").stat().st_mode & 0o777 == 0o600
    now = space.notices.list()[0].at                        # both clocks stand still, a day apart
    assert now == event["time"]
    assert not verify(b"another secret of 24 byt", headers, body, now=FixedClock().now())
    assert verify(secret, headers, body, now=FixedClock().now())


def test_what_people_do_with_an_alert_is_told_too_to_whom_asks(space: Workspace, settings: Write,
                                                                receiver: Receiver) -> None:
    settings({"url": receiver.url, "events": ["alert.open", "alert.close"], "format": "slack"})
    name = alarm(space)
    space.alerts.acknowledge(name, by="bob", why="I look")
    space.alerts.close(name, by="bob", why="sensor changed")
    assert later(space, seconds=1) == 2
    assert [json.loads(body) for _, _, body in receiver.got] == [
        {"text": f"risk v1 alarms: temp stood still at 21.5 [{name}]"},
        {"text": f"risk v1 closed by bob (sensor changed): temp stood still at 21.5 [{name}]"}]
    assert {one.kind: one.state for one in space.notices.list()} == {
        "alert.open": "told", "alert.ack": "unheard", "alert.close": "told"}


def test_a_receiver_that_is_away_is_tried_again_and_the_other_one_is_not_told_twice(
        space: Workspace, settings: Write, receiver: Receiver) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{probe.getsockname()[1]}/"
    settings({"url": receiver.url}, {"url": away})
    alarm(space)
    alarm(space, "rate")
    assert telling.tell_due(space) == 0
    assert {one.why.partition(": ")[2] for one in space.notices.list(state="pending")} == {
        "no answer: nothing listens there", "it did not answer a moment ago"}
    assert len(receiver.got) == 2
    for _ in range(TRIES):
        later(space, hours=6)
    assert len(receiver.got) == 2
    lost = space.notices.list(state="gave_up")
    assert [one.tries for one in lost] == [TRIES, TRIES]
    settings({"url": receiver.url})
    assert space.notices.again() == 2
    assert later(space, seconds=1) == 2
    assert len(receiver.got) == 2                            # it had them


def test_a_refusing_receiver_does_not_hold_up_others(space: Workspace, settings: Write, receiver: Receiver) -> None:
    settings({"url": receiver.url})
    receiver.status = 500
    alarm(space)
    alarm(space, "rate")
    assert telling.tell_due(space) == 0
    assert len(receiver.got) == 2
    receiver.status = 200
    assert later(space, hours=1) == 2


@pytest.mark.parametrize("allow", [[], ["10.0.0.0/8"]])
def test_nothing_is_sent_to_what_is_inside_unless_it_is_allowed(space: Workspace, settings: Write, receiver: Receiver,
                                                                allow: list[str]) -> None:
    settings({"url": receiver.url, "allow": allow})
    alarm(space)
    assert telling.tell_due(space) == 0
    assert receiver.got == []
    assert "not a public address" in space.notices.list()[0].why


def test_a_redirect_is_a_failure_and_not_followed(space: Workspace, settings: Write, receiver: Receiver) -> None:
    receiver.status, receiver.location = 302, receiver.url
    settings({"url": receiver.url})
    alarm(space)
    assert telling.tell_due(space) == 0
    assert len(receiver.got) == 1
    assert space.notices.list()[0].why == "127.0.0.1: answered 302; redirects are not followed"


def test_url_and_secret_come_from_the_environment_and_are_missed_there(
        space: Workspace, settings: Write, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    settings({"url": "$RISK_HOOK", "secret_env": "RISK_SECRET"})
    alarm(space)
    telling.tell_due(space)
    assert "names $RISK_HOOK" in space.notices.list()[0].why
    monkeypatch.setenv("RISK_HOOK", receiver.url)
    later(space, hours=1)
    assert "names RISK_SECRET" in space.notices.list()[0].why
    monkeypatch.setenv("RISK_SECRET", "a secret from a vault")
    assert later(space, hours=1) == 1
    (_, headers, body), = receiver.got
    assert verify(b"a secret from a vault", headers, body, now=space.clock.now())
    assert not (space.folder / "keys" / "webhook.secret").exists()


def test_a_secret_that_others_can_read_signs_nothing(space: Workspace, settings: Write, receiver: Receiver) -> None:
    settings({"url": receiver.url})
    space.keyring.secret("webhook")
    (space.folder / "keys" / "webhook.secret").chmod(0o644)
    alarm(space)
    assert telling.tell_due(space) == 0
    assert "others can read" in space.notices.list()[0].why
    assert receiver.got == []


@pytest.mark.parametrize(("hook", "said"), [
    ({"url": "ftp://example.com"}, "begins with https://"),
    ({"url": "https://example.com", "events": ["alerts"]}, "'alerts'"),
    ({"url": "https://example.com", "evnts": ["alert"]}, "did you mean 'events'"),
    ({"url": "https://example.com", "secret": "hunter2"}, "unknown key 'secret'")])
def test_what_cannot_be_meant_is_said(space: Workspace, settings: Write, hook: dict[str, Any], said: str) -> None:
    settings(hook)
    with pytest.raises(ConfigInvalid, match=said):
        _ = space.notify


def test_the_live_version_brings_its_webhooks_and_the_commands_show_them(
        trimtab: Trimtab, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    write_linear(tmp_path / "work" / "data.csv", rows=120)
    with Workspace.open(tmp_path / "work" / ".trimtab", create=True, actor="ann") as workspace:
        story.run("data.csv", tmp_path / "work", workspace, task="regression")
    assert "no webhook" in trimtab("notify", "test", code=2).err
    path = tmp_path / "work" / "trimtab.toml"
    path.write_text(path.read_text() + toml({"url": receiver.url}))
    trimtab("run", "data.csv")
    told = trimtab("notify", "test", "--json").json
    assert [(one["ok"], one["status"]) for one in told["sent"]] == [(True, 204)]
    assert json.loads(receiver.got[0][2])["type"] == "trimtab.test"
    assert "hook?team" not in trimtab("notify", "list").out     # the URL may be a secret
    listed = trimtab("notify", "list", "--json").json
    assert listed["webhooks"][0]["from"] == "trimtab.toml of v2"
    with Workspace.open(tmp_path / "work" / ".trimtab") as workspace:
        workspace.notices.mark(workspace.notices.put("k", "y", "production", "alert.open", {"text": "t"}), "gave_up",
                               why="it took too long")
    assert "1 notice given up" in trimtab("status").out
    assert "1 could not be told (it took too long)" in trimtab("doctor", code=1).out
    receiver.status = 500
    assert "answered 500" in trimtab("notify", "test", code=1).out
    assert "1 will be sent again" in trimtab("notify", "retry").out
