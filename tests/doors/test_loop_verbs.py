"""The loop is steered in the same words from the command line, over HTTP and from Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import serving_scenes as scenes
from asgi_client import Client

from trimtab.doors import server
from trimtab.doors.cli import main as door
from trimtab.doors.desk import Desk
from trimtab.loop.model import Decision, Policy, Seen
from trimtab.loop.policy import decide
from trimtab.workspace import Workspace

Run = Callable[..., Any]


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    made = scenes.workspace(tmp_path)
    scenes.constant(made, 1.0)
    made.rollouts.deploy("risk", 1, by="ada")
    return made


@pytest.fixture
def client(ws: Workspace) -> Iterator[Client]:
    engine = server.make_engine(ws)
    engine.start()
    with Client(server.build_app(Desk(ws, engine)), base_url="http://localhost") as made:
        yield made
    engine.stop()


@pytest.fixture
def trimtab(ws: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line: the JSON object that it prints, or (`text`) what people see."""
    monkeypatch.setenv("TRIMTAB_USER", "ann")

    def run(*args: str, code: int = 0, text: bool = False) -> Any:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            door.main([*args, "--workspace", str(ws.folder), *([] if text else ["--json"])])
        out = capsys.readouterr()
        assert int(ended.value.code or 0) == code, out
        assert not text or all(len(line) <= 100 for line in out.out.splitlines())
        return out.out if text else json.loads(out.out)

    return run


def decided(ws: Workspace, **seen: Any) -> Decision:
    """A decision that is kept: to say that a guardrail is broken, where nothing can be rolled back to."""
    made = decide(Policy(), Seen(**{"model": "risk", "endpoint": "production", "at": "2026-01-01T00:00:00.000000Z",
                                    "champion": 1, "crossed": ("v1 is late",), **seen}))
    ws.decisions.finish(ws.decisions.record(made), "done", {})
    return made


def test_a_policy_is_shown_changed_tried_out_and_reset_everywhere(client: Client, trimtab: Run, ws: Workspace) -> None:
    shown = trimtab("policy", "risk")
    assert (shown["kept"], shown["policy"]["on_drift"]) == (False, "notify")
    tried = trimtab("policy", "risk", "--set", "on_drift=retrain", "--set", "cooldown=6h", "--dry-run")
    assert (tried["policy"]["cooldown_s"], trimtab("policy", "risk")) == (21600.0, shown)
    kept = trimtab("policy", "risk", "--set", "steps=0, 10", "--set", "loss_clip=60", "--reason", "busy")
    assert (kept["policy"]["steps"], kept["policy"]["loss_clip"], kept["kept"]) == ([0.0, 0.1], 60.0, True)
    assert client.get("/api/models/risk/policy").json()["policy"] == kept["policy"]
    body = {"set": {"on_drift": "propose", "steps": [0, 50, 100]}, "why": "by day"}
    over = client.post("/api/models/risk/policy", json=body).json()
    assert (over["policy"]["on_drift"], over["policy"]["steps"], over["before"]) == ("propose", [0.0, 0.5],
                                                                                    kept["policy"])
    assert client.post("/api/models/risk/policy", json={"reset": True}).json()["policy"] == shown["policy"]
    assert [row.kind for row in ws.journal.rows(model="risk") if row.kind.startswith("policy")] == [
        "policy.set", "policy.set", "policy.reset"]


@pytest.mark.parametrize(("setting", "said"), [
    ("on_drfit=retrain", "did you mean 'on_drift'?"),
    ("cooldown=soon", "cooldown can't be 'soon'; give a span, such as 12h"),
    ("wrong_promotion=2", "a probability between 0 and 0.5"), ("on_drift", "write --set on_drift=retrain"),
    ("attempts=many", "attempts can't be 'many'; give a whole number")])
def test_a_setting_that_cannot_be_is_refused_in_words(setting: str, said: str, trimtab: Run, client: Client) -> None:
    assert said in trimtab("policy", "risk", "--set", setting, code=2)["error"]["message"]
    name, _, value = setting.partition("=")
    if value:
        answer = client.post("/api/models/risk/policy", json={"set": {name: value}})
        assert (answer.status_code, said in answer.json()["error"]["message"]) == (400, True)


def test_a_policy_is_shown_as_it_is_set(trimtab: Run) -> None:
    shown = trimtab("policy", "risk", "--set", "cooldown=12h", text=True)
    settings = dict(line.split(maxsplit=1) for line in shown.splitlines()[1:-1])
    assert {name: settings[name] for name in ("cooldown", "retry", "loss_clip", "most_days", "steps")} == {
        "cooldown": "12h", "retry": "10min", "loss_clip": "none", "most_days": "30", "steps": "0, 5, 25, 100"}
    again = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    assert trimtab("policy", "risk", *again)["policy"] == trimtab("policy", "risk")["policy"]


@pytest.mark.parametrize("words", ["decisions", "monitor", "traffic", "canary", "notify list", "notify test",
                                   "loop --once", "loop --dry-run"])
def test_a_model_that_is_not_there_is_said_to_be_unknown(words: str, trimtab: Run) -> None:
    told = trimtab(*words.split(), "rsk", code=2)["error"]
    assert (told["code"], told["message"]) == ("not_found", "no model 'rsk' is registered here. Did you mean 'risk'?")


def test_the_kill_switch_is_one_switch(client: Client, trimtab: Run) -> None:
    assert trimtab("pause", "risk", code=2)["error"]["code"] == "usage"            # no reason
    assert client.post("/api/models/risk/pause", json={"why": " "}).status_code == 400
    assert client.post("/api/models/nobody/pause", json={"why": "x"}).status_code == 404
    trimtab("pause", "risk", "--reason", "audit")
    assert client.get("/api/models/risk/policy").json()["policy"]["paused"]
    assert client.post("/api/pause", json={"why": "all of it"}).json()["state"] == "paused"
    assert [one["model"] for one in trimtab("status")["loop"]] == ["", "risk"]
    assert "every model  paused by" in trimtab("status", text=True)
    assert client.get("/api/status").json()["loop"] == trimtab("status")["loop"]
    assert client.post("/api/models/risk/resume", json={}).status_code == 200
    assert trimtab("policy", "risk")["policy"]["paused"]                           # all are
    trimtab("resume")
    assert not trimtab("policy", "risk")["policy"]["paused"]
    assert trimtab("status")["loop"] == []


def test_decisions_are_listed_logged_and_replayed(client: Client, trimtab: Run, ws: Workspace,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nothing was decided for risk yet" in trimtab("decisions", "risk", text=True)
    made = decided(ws)
    listed = trimtab("decisions", "risk")["decisions"]
    assert [(one["decision"]["reason"], one["state"]) for one in listed] == [(made.reason, "done")]
    assert client.get("/api/models/risk/decisions").json()["decisions"] == listed
    name = listed[0]["id"]
    assert made.reason in trimtab("decisions", "risk", text=True)
    assert [one["what"] for one in trimtab("log", "risk")["entries"]][:2] == [
        f"{name} done: notify", f"{name} decided: notify"]
    assert trimtab("decide", "--replay", name)["differs"] == []
    assert client.get(f"/api/decisions/{name}/replay").json()["differs"] == []
    assert "the same decision, field by field" in trimtab("decide", "--replay", name, text=True)
    monkeypatch.setattr("trimtab.loop.policy.again", lambda evidence: decide(
        Policy(on_drift="propose"), Seen(model="risk", endpoint="production", at=made.evidence["seen"]["at"])))
    assert "action" in trimtab("decide", "--replay", name, code=1)["differs"]
    assert client.get("/api/decisions/d-nobody/replay").status_code == 404


def test_what_would_be_done_is_said_and_not_done(client: Client, trimtab: Run, ws: Workspace) -> None:
    head = ws.journal.head()
    said = trimtab("decide", "risk", "--dry-run")["steps"]
    assert [(one["outcome"], one["decision"]["action"]) for one in said] == [("dry", "none")]
    assert client.get("/api/models/risk/decide").json()["steps"][0]["decision"]["action"] == "none"
    assert trimtab("loop", "--dry-run")["steps"][0]["decision"]["action"] == "none"
    assert client.get("/api/models/nobody/decide").status_code == 404
    assert ws.journal.head() == head
    assert "--every soon" in trimtab("loop", "--every", "soon", code=2)["error"]["message"]
    assert "the loop tends every model" in trimtab("loop", "risk", code=2)["error"]["message"]
