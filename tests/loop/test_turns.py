"""What does the loop do with a real model, turn after turn?  Real rooms, a held clock, nobody's hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from loop_world import Killed, Mine
from shop import MODEL, Shop
from tests.conftest import database_url

from trimtab.loop.reconciler import TTL
from trimtab.project import rebuilding, steering
from trimtab.project.looping import Loop
from trimtab.registry.scored import stored
from trimtab.store.db import Database

TURNED = {"bend": 2.0, "shift": 0.5}
Open = Callable[..., Shop]


STORY = ["notify", "retrain", "start_shadow", "start_canary", "promote", "start_shadow", "stop"]


@pytest.mark.parametrize("kind", ["sqlite-file", "postgres"])
def test_from_drift_to_a_better_champion_that_stays(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Drift, retrain, gates, shadow, canary, promote, probation: each is done by a turn of the loop and nobody else."""
    shop = Shop(tmp_path, database=None if kind == "sqlite-file" else database_url(kind, tmp_path, request))
    assert shop.acted(2, 150) == []
    assert shop.acted(8, **TURNED) == STORY
    assert (shop.live, shop.workspace.stages.current(MODEL)) == (2, None)
    retrain = next(one for one in shop.decided if one.decision.action == "retrain")
    rows = retrain.result["rows"]
    assert (rows["before"], rows["aside"]) == (600, 0)
    told = int(retrain.decision.reason.split("; ")[1].split()[0].replace(",", ""))
    assert rows["traffic"] > rows["lately"] == told
    version = shop.workspace.versions.get(MODEL, 2)
    assert version.facts["retrained"]["decision"] == retrain.id
    assert shop.workspace.datasets.get(retrain.result["dataset"]).rows == 600 + rows["traffic"]
    for one in shop.decided:
        assert shop.workspace.decisions.replay(one.id).differs == ()
    shop.workspace.journal.verify()
    shop.close()


def test_a_promotion_that_turns_out_wrong_is_rolled_back(opened: Open) -> None:
    """The world turns back while the new champion is on probation: the one before is better, and serves again."""
    shop = opened()
    assert shop.acted(1, 150) == []
    shop.until("promote", **TURNED)
    assert shop.live == 2
    assert "retrain" not in shop.until("rollback", requests=100, bend=-2.0)
    assert shop.live == 1
    back = next(one for one in shop.decided if one.decision.action == "rollback")
    assert "v1, which served before, is better than v2" in back.decision.reason


def test_what_neither_saw_is_what_both_are_judged_on(opened: Open) -> None:
    """The champion's held-out rows stay held out, and so do those of a second retrain; a rebuild finds the same."""
    shop = opened()
    shop.acted(1, 150)
    shop.until("retrain", **TURNED)
    space = shop.workspace
    first, second = (space.versions.get(MODEL, number) for number in (1, 2))
    judged = [set(stored(space.versions, one).rows.tolist()) for one in (first, second)]
    assert judged[0] < judged[1]                       # and rows of traffic besides
    assert max(judged[0]) < 600 <= max(judged[1])
    evaluation: Any = space.versions.evaluation(second)
    assert next(one for one in evaluation["gates"]["gates"] if one["name"] == "champion")["verdict"] == "pass"
    assert rebuilding.rebuild(space, "shop@v2").same


def test_a_challenger_that_is_no_better_is_never_promoted(opened: Open) -> None:
    """The inputs moved and the truth did not: the trial ends as a tie."""
    shop = opened("linear")
    done = shop.acted(7, shift=1.0)
    assert done[:3] == ["notify", "retrain", "start_shadow"]
    assert "promote" not in done
    assert shop.live == 1
    ended = next(one for one in shop.decided if one.decision.action == "stop")
    assert "without a verdict: no difference shows, so v1 stays" in ended.decision.reason


def test_a_worse_challenger_is_stopped(opened: Open) -> None:
    """It was trained on labels that were wrong; the truth that comes during its trial shows it."""
    shop = opened("linear")
    story: list[str] = []
    while "start_shadow" not in story:
        frame = shop.rows(200, shift=1.0)
        shop.send(frame.drop("y"), (frame["y"] + 25).to_list(), minutes=1440)
        story += [one.removeprefix("acted ") for one in shop.tick()]
    done = shop.acted(3, shift=1.0)
    assert done[-1] == "stop"
    assert "promote" not in done
    assert shop.live == 1
    ended = next(one for one in shop.decided if one.decision.action == "stop")
    assert "the challenger is worse" in ended.decision.reason


def test_on_broken_data_it_refuses_in_words_and_trains_nothing(opened: Open) -> None:
    shop = opened()
    shop.acted(1, 150)
    done: list[str] = []
    for _ in range(5):
        frame = shop.rows(200).with_columns(a=pl.lit(0.25))
        shop.send(frame.drop("y"), frame["y"].to_list(), minutes=1440)
        done += [one for one in shop.tick() if one.startswith("acted")]
    assert done == ["acted refuse"]
    (refused,) = [one for one in shop.decided if one.decision.action == "refuse"]
    assert refused.decision.reason.startswith("no retrain: the data look broken, a ")
    assert refused.state == "refused"
    assert len(shop.workspace.versions.list(MODEL)) == 1
    assert steering.needs(shop.workspace)[0]["what"] == "needs you"


def test_paused_it_tells_and_does_nothing_until_it_is_let_go(opened: Open) -> None:
    shop = opened()
    shop.acted(1, 150)
    steering.pause(shop.workspace, MODEL, why="audit week")
    assert shop.acted(5, **TURNED) == ["notify"]
    assert steering.needs(shop.workspace)[0]["sentence"] == "paused by ann: audit week"
    steering.resume(shop.workspace, MODEL)
    assert shop.tick()[:2] == ["acted retrain", "acted start_shadow"]


def test_rows_that_cannot_be_learned_from_are_counted_and_left_out(opened: Open) -> None:
    """A truth that is no number is set aside with its reason, in the result and in the journal."""
    shop = opened()
    shop.acted(1, 150)
    frame = shop.rows(30)
    truths: list[Any] = frame["y"].to_list()
    truths[3] = truths[17] = "n/a"
    shop.send(frame.drop("y"), truths)
    shop.until("retrain", **TURNED)
    done = next(one for one in shop.decided if one.decision.action == "retrain")
    assert done.result["rows"]["aside"] == 2
    assert "y" in done.result["rows"]["first_aside"]
    told = [row.body["result"] for row in shop.workspace.journal.rows(kind="decision.done")
            if row.subject == done.id]
    assert told[0]["rows"]["aside"] == 2  # type: ignore[index,call-overload]


def test_a_retrain_waits_for_its_cooldown(opened: Open) -> None:
    """The challenger's trial is ended by hand; the incident stays; the next retrain waits."""
    shop = opened()
    steering.change(shop.workspace, MODEL, {"cooldown": "2d", "least_labels": 100})
    shop.acted(1, 150)
    shop.until("start_shadow", **TURNED)
    shop.workspace.stages.stop(MODEL, by="ann", why="not this one")
    assert shop.tick() == ["held hold"]
    assert "the last retrain was less than 2 d ago" in shop.decided[-1].decision.reason
    shop.wait(days=2, seconds=1)
    assert shop.tick()[:2] == ["acted retrain", "acted start_shadow"]


@contextmanager
def killed_at(mine: Mine, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every write to the store is a place to be killed at, before it and after it."""
    write = Database.write

    @contextmanager
    def mined(self: Database) -> Iterator[Any]:
        mine.step()
        with write(self) as conn:
            yield conn
        mine.step()

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", mined)
        yield


def end_of(shop: Shop) -> dict[str, Any]:
    """What must be the same, however often it was killed."""
    space = shop.workspace
    space.journal.verify()
    beside = space.stages.current(MODEL)
    return {"live": shop.live, "beside": None if beside is None else (beside.version, beside.share, beside.trial),
            "versions": [(one.number, one.facts.get("retrained", {}).get("key")) for one in space.versions.list(MODEL)],
            "datasets": sorted(one.digest for one in space.datasets.list()),
            "decisions": [(one.decision.key, one.decision.action, one.state) for one in shop.decided],
            "rollouts": [(row.version, row.verb) for row in space.rollouts.history(MODEL)]}


def turn_of(folder: Path, mine: Mine, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """One turn on a copy of a workspace, killed or not, and then another worker's."""
    copy = folder.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    shop = Shop(copy, seed=3)
    shop.wait(days=float((folder / "days").read_text()))
    with killed_at(mine, monkeypatch), suppress(Killed):
        shop.turn()
    shop.wait(seconds=TTL.total_seconds() + 1)
    shop.turn()
    found = end_of(shop)
    shop.close()
    return found


@pytest.mark.parametrize("turn", ["retrain", "promote"])
def test_killed_between_any_two_writes_it_ends_as_if_it_had_not_been(turn: str, made: Callable[[str], Path],
                                                                    tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a turn with that deed the workspace is copied; each copy is killed at another place of that turn."""
    folder = tmp_path / "shop"
    shutil.copytree(made("trees"), folder)
    shop = Shop(folder, seed=2)
    shop.acted(1, 150)
    begun = shop.clock.now()
    for _ in range(12):
        shop.ask(200, minutes=1440, **TURNED)
        before = tmp_path / "before"
        shutil.rmtree(before, ignore_errors=True)
        shutil.copytree(folder, before)
        days = (shop.clock.now() - begun).total_seconds() / 86400
        if f"acted {turn}" in shop.tick():
            break
    shop.close()
    (before / "days").write_text(str(days + 1 + 3 / 86400))
    mine = Mine()
    wanted = turn_of(before, mine, monkeypatch)
    assert any(action == turn for _, action, _ in wanted["decisions"])
    places = np.random.default_rng(7).choice(np.arange(1, mine.passed + 1), size=8, replace=False)
    for place in sorted(places.tolist()):
        assert turn_of(before, Mine(place), monkeypatch) == wanted, f"killed at {place} of {mine.passed}"


def test_two_workers_at_one_turn_make_one_challenger(opened: Open) -> None:
    """Leases decide who acts; the other finds it done, or leaves it."""
    shop = opened()
    shop.acted(1, 150)
    while not shop.workspace.alerts.list(MODEL):
        shop.ask(200, minutes=1440, **TURNED)
        shop.workspace.monitor.step(MODEL)
    with ThreadPoolExecutor(2) as pool:
        done = [one for turn in pool.map(lambda _: Loop(shop.workspace, spawn=False).tick(MODEL), range(2))
                for one in turn]
    assert [one.problem for one in done] == ["", ""]
    shop.turn()
    assert [one.number for one in shop.workspace.versions.list(MODEL)] == [1, 2]
    assert [one.decision.action for one in shop.decided if one.decision.action != "hold"] == [
        "notify", "retrain", "start_shadow"]
    shop.workspace.journal.verify()
