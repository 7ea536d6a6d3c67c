"""deploy, promote, rollback: one winner, `champion` follows, and going back twice goes two back."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.clock import FixedClock
from trimtab.errors import CheckFailed, Conflict, DigestMismatch, Live, NotFound, UsageError
from trimtab.registry.model import GateVerdict, Ingredients
from trimtab.serving.rollout import Rollouts
from trimtab.store.blobs import put_json
from trimtab.store.db import Database
from trimtab.workspace import Workspace


@pytest.fixture
def ws(db: Database, tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "ws", db, now=FixedClock(), actor="ann")
    for number in range(1, 4):
        register(workspace, f"weights {number}".encode())
    return workspace


def register(ws: Workspace, weights: bytes, gates: GateVerdict = "passed") -> int:
    """A version with these bytes."""
    made_of = Ingredients(**{name: put_json(ws.blobs, name) for name in ("code", "data", "config", "environment")})
    return ws.versions.register("risk", {"model.skops": weights}, flavor="sklearn", types=(), ingredients=made_of,
                                facts={}, gates=gates, by="ann").number


def live(ws: Workspace) -> int | None:
    current = ws.rollouts.current("risk")
    return current.version if current else None


def test_deploy_makes_the_first_version_live_and_champion(ws: Workspace) -> None:
    change = ws.rollouts.deploy("risk", 1, by="ann", why="first")
    assert (change.before, change.after, change.revision) == (None, 1, 1)
    assert live(ws) == 1
    assert ws.aliases.resolve("risk", "champion").number == 1
    assert ws.journal.rows(kind="rollout.deploy")[0].body["to"] == 1


def test_promote_needs_something_that_serves(ws: Workspace) -> None:
    with pytest.raises(NotFound, match="deploy risk@v1 first"):
        ws.rollouts.promote("risk", 1, by="ann")
    ws.rollouts.deploy("risk", 1, by="ann")
    assert ws.rollouts.promote("risk", 2, by="ann").before == 1
    assert ws.aliases.resolve("risk", "champion").number == 2


def test_moving_champion_is_promote(ws: Workspace) -> None:
    with pytest.raises(NotFound, match="first"):
        ws.aliases.set("risk", "champion", 1, by="ann")
    ws.rollouts.deploy("risk", 1, by="ann")
    ws.aliases.set("risk", "champion", 2, by="ann", why="better")
    assert live(ws) == 2


def test_rolling_back_twice_goes_two_versions_back(ws: Workspace) -> None:
    for number in (1, 2, 3):
        ws.rollouts.deploy("risk", number, by="ann")
    assert ws.rollouts.rollback("risk", by="ann", why="complaint").after == 2
    assert ws.rollouts.rollback("risk", by="ann", why="worse still").after == 1
    with pytest.raises(CheckFailed, match="no earlier version"):
        ws.rollouts.rollback("risk", by="ann", why="?")
    assert ws.aliases.resolve("risk", "champion").number == 1


def test_after_a_rollback_a_new_version_goes_live_and_back_to_the_good_one(ws: Workspace) -> None:
    ws.rollouts.deploy("risk", 1, by="ann")
    ws.rollouts.deploy("risk", 2, by="ann")
    ws.rollouts.rollback("risk", by="ann", why="v2 is bad")
    ws.rollouts.deploy("risk", 3, by="ann")
    assert ws.rollouts.rollback("risk", by="ann", why="v3 too", dry_run=True).after == 2
    assert ws.rollouts.rollback("risk", by="ann", why="v3 too", to=1).after == 1
    assert live(ws) == 1


def test_rolling_back_to_what_never_served_is_refused(ws: Workspace) -> None:
    ws.rollouts.deploy("risk", 1, by="ann")
    with pytest.raises(NotFound, match="never served"):
        ws.rollouts.rollback("risk", by="ann", why="?", to=3)


@pytest.mark.parametrize(("gates", "sentence"), [("failed", "failed its gates"), ("none", "no gate verdict")])
def test_only_a_version_whose_gates_passed_may_serve(ws: Workspace, gates: GateVerdict, sentence: str) -> None:
    number = register(ws, b"other weights", gates)
    with pytest.raises(CheckFailed, match=sentence):
        ws.rollouts.deploy("risk", number, by="ann")
    assert live(ws) is None


def test_deploying_what_is_live_is_nothing_to_do(ws: Workspace) -> None:
    ws.rollouts.deploy("risk", 1, by="ann")
    rows = ws.journal.head().seq
    assert not ws.rollouts.deploy("risk", 1, by="ann").changed
    assert ws.journal.head().seq == rows


def test_a_dry_run_checks_and_changes_nothing(ws: Workspace) -> None:
    rows = ws.journal.head().seq
    assert ws.rollouts.deploy("risk", 1, by="ann", dry_run=True).dry_run
    assert live(ws) is None
    assert ws.journal.head().seq == rows


def test_of_two_that_deploy_at_once_one_wins_and_the_other_is_told(ws: Workspace) -> None:
    """The second one is let in while the first verifies bytes: both saw the same revision before."""
    inner = ws.rollouts

    def verify_while_another_deploys(version: object) -> None:
        inner.deploy("risk", 2, by="bob")

    slow = Rollouts(ws.db, ws.journal, ws.clock, get=ws.versions.get, verify=verify_while_another_deploys,
                    move_champion=ws._move_champion)
    with pytest.raises(Conflict, match="changed by somebody else") as caught:
        slow.deploy("risk", 1, by="ann")
    assert caught.value.answer.exit == 5
    assert live(ws) == 2
    assert len(ws.rollouts.history("risk")) == 1


def test_changed_bytes_never_go_live(ws: Workspace) -> None:
    digest = ws.versions.get("risk", 1).manifest.files["model.skops"]
    path = ws.folder / "objects" / digest.hex[:2] / digest.hex[2:]
    path.chmod(0o644)
    path.write_bytes(b"Weights 1")
    with pytest.raises(DigestMismatch):
        ws.rollouts.deploy("risk", 1, by="ann")
    assert live(ws) is None


def test_a_live_version_can_not_be_deleted(ws: Workspace) -> None:
    ws.rollouts.deploy("risk", 1, by="ann", endpoint="europe")
    with pytest.raises(Live):
        ws.versions.delete("risk", 1, by="ann", why="tidy up")
    assert ws.aliases.list("risk") == []       # another endpoint than production moves no champion


def test_every_endpoint_is_watched_by_one_growing_number(ws: Workspace) -> None:
    before = ws.rollouts.revision()
    ws.rollouts.deploy("risk", 1, by="ann")
    ws.rollouts.deploy("risk", 2, by="ann", endpoint="europe")
    assert ws.rollouts.revision() > before
    assert [(row.endpoint, row.version) for row in ws.rollouts.all_live()] == [("europe", 2), ("production", 1)]


def test_an_endpoint_can_not_be_named_like_a_path(ws: Workspace) -> None:
    with pytest.raises(UsageError, match="can't name the endpoint"):
        ws.rollouts.deploy("risk", 1, by="ann", endpoint="../prod")
