"""Aliases move, the journal tells; what was live when can be asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.registry.conftest import Registry, open_registry

from trimtab.clock import to_text
from trimtab.errors import Live, NotFound, TrimtabError, UsageError
from trimtab.registry.history import live_at, log, replayed_aliases
from trimtab.store import migrate
from trimtab.store.db import Database


def test_an_alias_moves_and_the_move_is_journalled(every: Registry) -> None:
    """A movable name on fixed versions, with who and why."""
    every.register(), every.register(weights=b"two")
    every.aliases.set("risk", "challenger", 1, by="ada", why="try it")
    every.aliases.set("risk", "challenger", 2, by="eve", why="better")
    assert every.aliases.resolve("risk", "challenger").number == 2
    assert [(row.by, row.why, row.body) for row in every.journal.rows(kind="alias.set")] == [
        ("ada", "try it", {"alias": "challenger", "from": None, "to": 1}),
        ("eve", "better", {"alias": "challenger", "from": 1, "to": 2})]
    every.aliases.remove("risk", "challenger", by="eve")
    assert every.aliases.list("risk") == []


def test_pointing_it_where_it_points_is_nothing_to_do(reg: Registry) -> None:
    """No journal row for what changes nothing."""
    reg.register()
    first = reg.aliases.set("risk", "challenger", 1, by="ada")
    head = reg.journal.head()
    assert reg.aliases.set("risk", "challenger", 1, by="eve") == first
    assert reg.journal.head() == head


def test_setting_champion_is_promote(reg: Registry) -> None:
    """The champion moves with the rollout, from any door: both rows are there, in one transaction."""
    reg.register(), reg.register(weights=b"two")
    reg.roll_out(1)
    assert reg.aliases.set("risk", "champion", 2, by="ada", why="gates passed").number == 2
    assert [row.kind for row in reg.journal.rows()][-2:] == ["rollout.promote", "alias.set"]
    with pytest.raises(Live, match="can't be removed"):
        reg.aliases.remove("risk", "champion", by="ada")


@pytest.mark.parametrize("alias", ["latest", "LATEST", "v1", "V12", "7", "", ".x", "a b", "a/b", "a@b", "sha256:49d7"])
def test_an_alias_can_not_be_read_as_something_else(reg: Registry, alias: str) -> None:
    """`latest` and numbers have a meaning already."""
    reg.register()
    with pytest.raises(UsageError):
        reg.aliases.set("risk", alias, 1, by="ada")
    assert reg.aliases.set("risk", "挑战者", 1, by="ada").number == 1


def test_what_does_not_exist_is_told(reg: Registry) -> None:
    """With the nearest name."""
    reg.register()
    reg.aliases.set("risk", "challenger", 1, by="ada")
    for call, says in ((lambda: reg.aliases.set("risk", "a", 7, by="x"), "no version 7"),
                       (lambda: reg.aliases.set("rsik", "a", 1, by="x"), "Did you mean 'risk'?"),
                       (lambda: reg.aliases.resolve("risk", "chalenger"), "Did you mean 'challenger'?"),
                       (lambda: reg.aliases.remove("nil", "a", by="x"), "no model 'nil'")):
        with pytest.raises(NotFound) as caught:
            call()
        assert says in str(caught.value)


def test_the_log_reads_like_git_log(every: Registry) -> None:
    """Newest first: who, when, what, why, and which bytes."""
    one = every.register(note="first cut", gates="passed")
    every.register("churn")
    every.roll_out(1, why="gates passed")
    two = every.register(weights=b"two", by="eve")
    every.roll_out(2, verb="promote", by="eve")
    every.roll_out(1, verb="rollback", why="complaint 118")
    every.versions.delete("risk", 2, by="eve", why="leaked a column")
    told = log(every.journal, "risk")
    assert [entry.what for entry in told] == [
        "deleted v2", "champion: v2 → v1", "rolled back to v1 at production, was v2", "champion: v1 → v2",
        "promoted v2 at production, was v1", "registered v2", "champion → v1", "deployed v1 at production",
        "registered v1, gates passed"]
    assert [entry.seq for entry in told] == sorted((entry.seq for entry in told), reverse=True)
    assert told[2].why == "complaint 118"
    assert {entry.digest for entry in told} == {one.digest.short, two.digest.short}
    assert len(log(every.journal)) == len(told) + 1
    assert log(every.journal, "risk", limit=2) == told[:2]
    assert log(every.journal, "risk", since=every.clock.now()) == told[:3]
    assert log(every.journal, "risk", until=every.clock.now() - timedelta(minutes=1)) == told[3:]
    assert told[0].to_json()["version"] == 2


def test_what_was_live_then(every: Registry) -> None:
    """At every moment between two rollouts the earlier one answers; before the first, nothing."""
    one = every.register()
    every.register(weights=b"two")
    before = every.clock.now()
    every.roll_out(1, why="first")
    every.clock.advance(hours=1)
    between = every.clock.now()
    every.roll_out(2, verb="promote")
    every.roll_out(1, endpoint="batch")
    assert live_at(every.journal, "risk", before) is None
    then = live_at(every.journal, "risk", between)
    assert then is not None
    assert (then.number, then.digest, then.why, then.by, then.revision) == (1, one.digest.short, "first", "ada", 1)
    assert then.since == to_text(between - timedelta(hours=1))
    now = live_at(every.journal, "risk", every.clock.now())
    assert now is not None
    assert now.number == 2
    batch = live_at(every.journal, "risk", every.clock.now(), endpoint="batch")
    assert batch is not None
    assert batch.number == 1
    assert live_at(every.journal, "other", datetime(2030, 1, 1, tzinfo=UTC)) is None


_steps = st.lists(st.tuples(st.sampled_from(["register", "set", "remove", "delete", "champion"]),
                            st.sampled_from(["challenger", "blue"]), st.integers(1, 4)), max_size=20)


@given(steps=_steps)
@settings(max_examples=40)
def test_the_journal_replays_to_the_same_aliases(tmp_path_factory: pytest.TempPathFactory,
                                                 steps: list[tuple[str, str, int]]) -> None:
    """Law: whatever was set, moved, removed or deleted, the journal alone gives the table again."""
    database = Database("sqlite://")
    migrate.upgrade(database)
    reg = open_registry(database, tmp_path_factory.mktemp("replay"))
    for at, (step, alias, number) in enumerate(steps):
        try:
            if step == "register":
                reg.register(weights=str(at).encode())
            elif step == "set":
                reg.aliases.set("risk", alias, number, by="ada")
            elif step == "champion":
                reg.aliases.set("risk", "champion", number, by="ada")
            elif step == "remove":
                reg.aliases.remove("risk", alias, by="ada")
            else:
                reg.versions.delete("risk", number, by="ada", why="x")
        except TrimtabError:
            pass                                # refused: nothing may have changed
    told = {(alias.model, alias.alias): alias.number for alias in reg.aliases.list()}
    assert replayed_aliases(reg.journal.rows()) == told
    assert all(reg.versions.get("risk", number).deleted_at is None for number in told.values())
    database.close()
