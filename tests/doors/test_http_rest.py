"""The workspace over HTTP: read it, move aliases, deploy, promote, roll back; exactly once where a key is sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import serving_scenes as scenes
from asgi_client import Client

from trimtab import clock
from trimtab.doors import server
from trimtab.doors.desk import Desk
from trimtab.doors.rest import idempotency
from trimtab.errors import Busy, Conflict
from trimtab.store.schema import idempotency as keys
from trimtab.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    made = scenes.workspace(tmp_path)
    for value in (1.0, 2.0, 3.0):
        scenes.constant(made, value, note=f"number {value:.0f}")
    return made


@pytest.fixture
def client(ws: Workspace) -> Iterator[Client]:
    engine = server.make_engine(ws)
    engine.start()
    with Client(server.build_app(Desk(ws, engine)), base_url="http://localhost") as made:
        yield made
    engine.stop()


def change(client: Client, verb: str, body: dict[str, Any], key: str | None = None) -> tuple[int, dict[str, Any]]:
    made = client.post(f"/api/models/risk/{verb}", json=body, headers={"Idempotency-Key": key} if key else {})
    return made.status_code, made.json()


def answer(client: Client) -> float:
    made = client.post("/api/models/risk/predict", json={"rate": 0.0}).json()
    assert made["predictions"][0]["value"] == made["version"]
    return float(made["version"])


def test_health_and_version_are_there_for_whoever_watches(client: Client) -> None:
    """`OK` in plain text."""
    assert client.get("/health").text == "OK"
    assert client.get("/version").json()["schema"] == "trimtab.server/1"


def test_labels_are_told_once_and_corrected(client: Client) -> None:
    """The same delivery again is no news; what no prediction has yet is kept and counted."""
    body = {"model": "risk", "labels": [{"id": "p-1", "truth": 1.5}, {"id": "p-2", "truth": 2.5}]}
    told = client.post("/api/labels", json=body).json()
    assert told == {"schema": "trimtab.labels/1", "new": 2, "repeated": 0, "corrected": 0, "unknown": 2}
    assert client.post("/api/labels", json=body).json()["repeated"] == 2
    body = {"model": "risk", "labels": [{"id": "p-1", "truth": True}]}
    assert client.post("/api/labels", json=body).json()["corrected"] == 1
    assert client.post("/api/labels", json={**body, "join": "key"}).json()["new"] == 1


@pytest.mark.parametrize(("body", "status", "said"), [
    ({"model": "nope", "labels": []}, 404, "no model"), ({"model": "risk", "labels": [{"id": "p-1"}]}, 400, "truth"),
    ({"model": "risk", "labels": [{"id": "", "truth": 1}]}, 400, "can't be a key"),
    ({"model": "risk", "labels": [{"id": "p-0", "truth": 1}, {"id": "p-1", "truth": "low"}]}, 400,
     "the truth of p-1 is 'low', and risk predicts a number"),
    ({"model": "risk", "labels": [{"id": "p-1", "truth": None}]}, 400, "labels[0].truth"),
    ({"model": "risk", "labels": [], "join": "row"}, 400, "join")])
def test_labels_that_are_none_are_refused_by_name(client: Client, body: dict[str, Any], status: int, said: str) -> None:
    made = client.post("/api/labels", json=body)
    assert made.status_code == status
    assert said in made.text


def test_deploy_promote_and_rollback_are_live_when_they_are_answered(client: Client, ws: Workspace) -> None:
    """The next request meets the version that was just named; the journal knows who and why."""
    status, told = change(client, "deploy", {"version": 1, "why": "first"})
    assert (status, told["schema"], told["before"], told["version"]) == (200, "trimtab.change/1", None, 1)
    assert answer(client) == 1
    assert change(client, "promote", {"version": 2, "why": "better"})[1]["before"] == 1
    assert answer(client) == 2
    assert change(client, "rollback", {"why": "complaint 118"})[1]["version"] == 1
    assert answer(client) == 1
    entries = client.get("/api/log/risk?limit=3").json()["entries"]
    assert "complaint 118" in str(entries)
    assert all(entry["by"] == "ada" for entry in entries)


def test_a_dry_run_changes_nothing(client: Client) -> None:
    """It says what would happen."""
    change(client, "deploy", {"version": 1})
    told = change(client, "promote", {"version": 2, "dry_run": True})[1]
    assert (told["dry_run"], told["changed"], told["version"]) == (True, True, 2)
    assert answer(client) == 1


def test_aliases_are_read_moved_and_removed(client: Client) -> None:
    """`champion` is promote, under the same rules."""
    assert client.put("/api/registry/risk/aliases/challenger", json={"version": 3, "why": "try"}).json()["version"] == 3
    assert client.get("/api/registry/risk/aliases/challenger").json()["version"] == 3
    assert client.delete("/api/registry/risk/aliases/challenger?why=done").json()["removed"] is True
    assert client.get("/api/registry/risk/aliases/challenger").status_code == 404
    change(client, "deploy", {"version": 1})
    assert client.put("/api/registry/risk/aliases/champion", json={"version": 2}).status_code == 200
    assert answer(client) == 2
    assert client.delete("/api/registry/risk/aliases/champion").status_code == 409


def test_the_registry_tells_versions_and_one_in_full(client: Client) -> None:
    """Digest, note, gates, facts, manifest."""
    told = client.get("/api/registry/risk").json()
    assert [(each["version"], each["note"]) for each in told["versions"]] == [
        (1, "number 1"), (2, "number 2"), (3, "number 3")]
    one = client.get("/api/registry/risk/versions/2").json()
    assert one["schema"] == "trimtab.version/1"
    assert one["manifest"]["files"]["model.skops"]["digest"].startswith("sha256:")
    assert one["facts"]["task"] == "regression"


def test_status_has_the_models_and_what_this_server_does(client: Client) -> None:
    """As the command line's, and the engine's state beside it."""
    change(client, "deploy", {"version": 1})
    told = client.get("/api/status").json()
    assert told["schema"] == "trimtab.status/1"
    assert told["models"][0]["model"] == "risk"
    assert told["server"]["endpoints"][0]["version"] == 1


def test_the_audit_trail_is_verified_over_http(client: Client, ws: Workspace) -> None:
    """A changed row is found and named."""
    assert client.get("/api/audit/verify").json()["ok"] is True
    import sqlalchemy as sa

    with ws.db.write() as conn:
        conn.execute(sa.text("update journal set why = 'other' where seq = 2"))
    broken = client.get("/api/audit/verify")
    assert broken.status_code == 422
    assert broken.json()["error"]["code"] == "journal_broken"


def test_a_rollback_with_a_key_is_carried_out_once_however_often_it_is_sent(client: Client, ws: Workspace) -> None:
    """A client that lost the answer asks again and gets the same one; without a key it would go back further."""
    for number in (1, 2, 3):
        change(client, "deploy", {"version": number})
    first = change(client, "rollback", {"why": "x"}, key="k-1")
    for _ in range(3):
        assert change(client, "rollback", {"why": "x"}, key="k-1") == first
    assert answer(client) == 2
    assert len(ws.rollouts.history("risk")) == 4
    status, told = change(client, "rollback", {"why": "another"}, key="k-1")
    assert (status, told["error"]["code"]) == (409, "conflict")


def test_a_key_survives_the_server_and_holds_for_every_server(client: Client, ws: Workspace) -> None:
    """It is in the store, not in a process."""
    change(client, "deploy", {"version": 1}, key="k-2")
    again = Workspace.open(ws.folder, actor="ada")
    engine = server.make_engine(again)
    engine.refresh()
    with Client(server.build_app(Desk(again, engine))) as other:
        assert change(other, "deploy", {"version": 1}, key="k-2")[1]["changed"] is True       # the first answer
    assert len(again.rollouts.history("risk")) == 1


def test_a_refused_change_leaves_its_key_free(client: Client) -> None:
    """Nothing was done, so the same key may be sent with the mended request."""
    assert change(client, "promote", {"version": 2}, key="k-3")[0] == 404
    assert change(client, "deploy", {"version": 2}, key="k-3")[0] == 200


@pytest.mark.parametrize("key", ["", "x" * 201, "tab\there"])
def test_a_key_is_plain_and_short(client: Client, key: str) -> None:
    """It goes into a table and a journal of people."""
    made = client.post("/api/models/risk/deploy", json={"version": 1}, headers={"Idempotency-Key": key})
    assert made.status_code == 400
    assert "Idempotency-Key" in made.json()["error"]["message"]


def test_a_server_that_died_midway_is_never_repeated_blindly(ws: Workspace) -> None:
    """The key was claimed and got no answer: done now if nothing moved since, else the client must look."""
    for number in (1, 2, 3):
        ws.rollouts.deploy("risk", number, by="ada")

    class Died(Exception):
        pass

    def work() -> dict[str, object]:
        ws.rollouts.rollback("risk", by="ada")
        raise Died

    with pytest.raises(Died):
        idempotency.once(ws, "k-4", b"request", work)
    with pytest.raises(Busy, match="still being carried out"):
        idempotency.once(ws, "k-4", b"request", work)
    with ws.db.write() as conn:
        conn.execute(keys.update().values(at=clock.to_text(ws.clock.now() - timedelta(minutes=2))))
    with pytest.raises(Conflict, match="the rollouts have moved since"):
        idempotency.once(ws, "k-4", b"request", work)
    assert len(ws.rollouts.history("risk")) == 4
