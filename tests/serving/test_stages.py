"""What answers beside the champion: one trial at a time, of one champion, and each change journalled once."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trimtab.clock import FixedClock
from trimtab.errors import CheckFailed, Conflict, DigestMismatch, Live, NotFound, TrimtabError, UsageError
from trimtab.registry import history
from trimtab.registry.model import GateVerdict, Ingredients
from trimtab.store import migrate
from trimtab.store.blobs import put_json
from trimtab.store.db import Database
from trimtab.workspace import Workspace


@pytest.fixture
def ws(db: Database, tmp_path: Path) -> Workspace:
    return stocked(Workspace(tmp_path / "ws", db, now=FixedClock(), actor="ann"))


def stocked(workspace: Workspace) -> Workspace:
    """With v1 live, v2 and v3 beside."""
    for number in range(1, 4):
        register(workspace, f"weights {number}".encode())
    workspace.rollouts.deploy("risk", 1, by="ann")
    return workspace


def register(ws: Workspace, weights: bytes, gates: GateVerdict = "passed", task: str = "regression") -> int:
    """A version with these bytes."""
    made_of = Ingredients(**{name: put_json(ws.blobs, name) for name in ("code", "data", "config", "environment")})
    return ws.versions.register("risk", {"model.skops": weights}, flavor="sklearn", types=(), ingredients=made_of,
                                facts={"task": task}, gates=gates, by="ann").number


def test_shadow_then_canary_is_one_trial_and_another_version_is_the_next(ws: Workspace) -> None:
    shadow = ws.stages.put("risk", 2, by="ann", why="better on the hold-out")
    assert (shadow.champion, shadow.stage, shadow.share, shadow.trial) == (1, "shadow", 0.0, 1)
    ws.clock.advance(days=1)                       # type: ignore[attr-defined]
    canary = ws.stages.put("risk", 2, share=0.05, by="bob")
    assert (canary.stage, canary.trial, canary.since) == ("canary", 1, shadow.since)
    assert canary.stage_since > shadow.stage_since
    assert ws.stages.current("risk") == canary
    assert ws.stages.all_open() == [canary]
    with pytest.raises(Conflict, match="one trial at a time"):
        ws.stages.put("risk", 3, by="ann")
    assert ws.stages.stop("risk", by="ann", why="enough seen") == canary
    assert ws.stages.current("risk") is None
    assert ws.stages.stop("risk", by="ann") is None
    assert ws.stages.put("risk", 3, by="ann").trial == 2
    assert [row.kind for row in ws.journal.rows() if row.kind.startswith("trial.")] == [
        "trial.shadow", "trial.canary", "trial.stop", "trial.shadow"]
    told = [entry.what for entry in history.log(ws.journal, "risk")][:4]
    assert told == ["v3 in shadow beside v1 at production", "v2 ended beside v1 at production",
                    "v2 for 5% beside v1 at production", "v2 in shadow beside v1 at production"]


def test_done_again_under_the_same_key_it_is_the_same_stage_and_no_second_row(ws: Workspace) -> None:
    first = ws.stages.put("risk", 2, key="k1", by="loop", champion=1)
    rows = ws.journal.head().seq
    assert ws.stages.put("risk", 2, key="k1", by="loop", champion=1) == first
    assert ws.journal.head().seq == rows
    ws.stages.stop("risk", by="ann", why="not now")
    with pytest.raises(Conflict, match="ended since"):         # an old decision does not bring it back
        ws.stages.put("risk", 2, key="k1", by="loop", champion=1)


@pytest.mark.parametrize("verb", ["deploy", "promote", "rollback"])
def test_a_rollout_ends_the_trial_in_its_own_transaction(ws: Workspace, verb: str) -> None:
    ws.rollouts.deploy("risk", 3, by="ann")
    ws.stages.put("risk", 2, by="ann")
    before = ws.journal.head().seq
    if verb == "rollback":
        ws.rollouts.rollback("risk", by="ann")
    else:
        getattr(ws.rollouts, verb)("risk", 2, by="ann")
    assert ws.stages.current("risk") is None
    ended = [row for row in ws.journal.rows() if row.seq > before and row.kind == "trial.stop"]
    assert [(row.body["version"], row.why) for row in ended] == [
        (2, f"ended by the {verb} of v{1 if verb == 'rollback' else 2}")]


def test_moving_champion_by_its_alias_ends_the_trial_too(ws: Workspace) -> None:
    ws.stages.put("risk", 2, by="ann")
    ws.aliases.set("risk", "champion", 3, by="ann")
    assert ws.stages.current("risk") is None


def test_a_rollout_that_fails_leaves_the_trial(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it or nothing: `champion` can't be moved, so nothing was."""
    ws.stages.put("risk", 2, by="ann")

    def broken(*_: object) -> None:
        raise RuntimeError("killed here")

    monkeypatch.setattr(ws.rollouts, "_move_champion", broken)
    with pytest.raises(RuntimeError, match="killed here"):
        ws.rollouts.promote("risk", 2, by="ann")
    found = ws.stages.current("risk")
    assert found is not None
    assert found.version == 2


def test_what_may_not_serve_is_not_tried_either(ws: Workspace) -> None:
    with pytest.raises(CheckFailed, match="failed its gates"):
        ws.stages.put("risk", register(ws, b"worse", "failed"), by="ann")
    digest = ws.versions.get("risk", 2).manifest.files["model.skops"]
    path = ws.folder / "objects" / digest.hex[:2] / digest.hex[2:]
    path.chmod(0o644)
    path.write_bytes(b"Weights 2")
    with pytest.raises(DigestMismatch):
        ws.stages.put("risk", 2, by="ann")
    assert ws.stages.current("risk") is None


def test_a_trial_is_refused_where_it_makes_no_sense(ws: Workspace) -> None:
    with pytest.raises(Conflict, match="itself what serves"):
        ws.stages.put("risk", 1, by="ann")
    with pytest.raises(Conflict, match="does not serve at 'production' of risk any more, v1 does"):
        ws.stages.put("risk", 2, champion=3, by="ann")
    with pytest.raises(NotFound, match="nothing serves at 'europe'"):
        ws.stages.put("risk", 2, endpoint="europe", by="ann")
    with pytest.raises(UsageError, match="trimtab promote risk@v2"):
        ws.stages.put("risk", 2, share=1.0, by="ann")
    with pytest.raises(CheckFailed, match="v4 is for binary, and v1, which serves at 'production' of risk, for regr"):
        ws.stages.put("risk", register(ws, b"another task", task="binary"), by="ann")
    with pytest.raises(UsageError, match="can't name the endpoint"):
        ws.stages.put("risk", 2, endpoint="../x", by="ann")


def test_a_dry_run_checks_and_changes_nothing(ws: Workspace) -> None:
    rows = ws.journal.head().seq
    assert ws.stages.put("risk", 2, share=0.1, by="ann", dry_run=True).trial == 1
    with pytest.raises(Conflict, match="itself what serves"):
        ws.stages.put("risk", 1, by="ann", dry_run=True)
    assert ws.stages.current("risk") is None
    assert ws.journal.head().seq == rows


def test_what_is_tried_can_not_be_deleted(ws: Workspace) -> None:
    ws.stages.put("risk", 2, by="ann")
    with pytest.raises(Live, match="end its trial"):
        ws.versions.delete("risk", 2, by="ann", why="tidy up")
    ws.stages.stop("risk", by="ann")
    ws.versions.delete("risk", 2, by="ann", why="tidy up")


def test_promote_under_a_key_is_done_once_and_only_for_its_champion(ws: Workspace) -> None:
    ws.stages.put("risk", 2, share=0.25, by="loop", champion=1, key="k1")
    change = ws.rollouts.promote("risk", 2, by="loop", key="k2", champion=1)
    rows = ws.journal.head().seq
    assert ws.rollouts.promote("risk", 2, by="loop", key="k2", champion=1) == change
    assert (change.before, change.after, ws.journal.head().seq) == (1, 2, rows)
    with pytest.raises(Conflict, match="v1 does not serve"):
        ws.rollouts.promote("risk", 3, by="loop", key="k3", champion=1)
    back = ws.rollouts.rollback("risk", by="loop", key="k4", champion=2)
    assert ws.rollouts.rollback("risk", by="loop", key="k4", champion=2) == back
    with pytest.raises(Conflict, match="put there since"):     # an old decision does not undo a newer one
        ws.rollouts.promote("risk", 2, by="loop", key="k2", champion=1)
    live = ws.rollouts.current("risk")
    assert live is not None
    assert (live.version, live.key) == (1, "k4")


RACER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from trimtab.errors import Conflict
    from trimtab.workspace import Workspace
    folder, url, me = sys.argv[1:]
    ws = Workspace.open(Path(folder), database=url, actor=me)
    sys.stdin.readline()
    for turn in range(8):
        for what in (lambda: ws.stages.put("risk", 2, by=me), lambda: ws.rollouts.promote("risk", 2 + turn % 2, by=me),
                     lambda: ws.stages.put("risk", 1, share=0.1, by=me), lambda: ws.stages.stop("risk", by=me),
                     lambda: ws.rollouts.promote("risk", 1, by=me)):
            try:
                what()
            except Conflict:
                pass
""")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_two_processes_at_once_leave_one_history(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Whoever comes second is told so or finds it done; replayed from the journal, no trial outlived its champion."""
    url = f"sqlite:///{tmp_path / 'trimtab.db'}"
    if kind == "postgres":
        url = request.getfixturevalue("postgres_url")
    with stocked(Workspace.open(tmp_path / "ws", create=True, database=url, actor="ann")) as ws:
        racers = [subprocess.Popen([sys.executable, "-c", RACER, tmp_path / "ws", url, name], stdin=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True) for name in ("bob", "cat")]
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        assert [racer.communicate(timeout=120)[1] for racer in racers] == ["", ""]
        live, beside, trials = 0, None, 0
        for row in ws.journal.rows(model="risk"):
            if row.kind.startswith("rollout."):
                live = row.body["to"]              # type: ignore[assignment]
            elif row.kind == "trial.stop":
                beside = None
            elif row.kind.startswith("trial."):
                assert row.body["champion"] == live
                assert beside is None or beside == row.body["version"]
                assert row.body["trial"] == trials + (beside is None)
                trials, beside = row.body["trial"], row.body["version"]    # type: ignore[assignment]
        now, current = ws.stages.current("risk"), ws.rollouts.current("risk")
        assert (None if now is None else now.version) == beside
        assert current is not None
        assert current.version == live
        assert trials > 1
        ws.journal.verify()


class Trials(RuleBasedStateMachine):
    """put, stop, promote and rollback in any order."""

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        db = Database("sqlite://")
        migrate.upgrade(db)
        self.ws = stocked(Workspace(Path(self.folder.name), db, now=FixedClock(), actor="ann"))
        self.trial = 0

    @rule(number=st.integers(1, 3), share=st.sampled_from([0.0, 0.05, 0.5]), key=st.sampled_from(["", "a", "b"]))
    def put(self, number: int, share: float, key: str) -> None:
        before, rows = self.ws.stages.current("risk"), self.ws.journal.head().seq
        try:
            made = self.ws.stages.put("risk", number, share=share, key=key, by="ann")
        except Conflict:
            assert self.ws.stages.current("risk") == before
            assert self.ws.journal.head().seq == rows
        else:
            assert self.ws.stages.current("risk") == made

    @rule(key=st.sampled_from(["", "c"]))
    def stop(self, key: str) -> None:
        self.ws.stages.stop("risk", by="ann", key=key)
        assert self.ws.stages.current("risk") is None

    @rule(number=st.integers(1, 3), verb=st.sampled_from(["deploy", "promote", "rollback"]))
    def change(self, number: int, verb: str) -> None:
        try:
            if verb == "rollback":
                self.ws.rollouts.rollback("risk", by="ann")
            else:
                getattr(self.ws.rollouts, verb)("risk", number, by="ann")
        except TrimtabError:
            pass

    @invariant()
    def a_trial_is_of_the_champion_that_serves_and_trials_only_grow(self) -> None:
        if not hasattr(self, "ws"):
            return
        live, found = self.ws.rollouts.current("risk"), self.ws.stages.current("risk")
        assert live is not None
        if found is not None:
            assert found.champion == live.version != found.version
            assert found.trial >= self.trial
            self.trial = found.trial

    def teardown(self) -> None:
        if hasattr(self, "ws"):
            self.ws.close()
            self.folder.cleanup()


TestTrials = Trials.TestCase
TestTrials.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
