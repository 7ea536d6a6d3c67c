"""Which rows does a retrain learn from, in which process, and which rows judge it?"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from shop import MODEL, Shop
from sklearn.linear_model import LinearRegression

import trimtab
from trimtab import clock
from trimtab.errors import Busy, CheckFailed, NotFound
from trimtab.loop.model import Decision, Stored
from trimtab.project import learning
from trimtab.project.folder import Folder
from trimtab.project.project import Project
from trimtab.project.spawning import Spawned
from trimtab.registry.checkout import checkout
from trimtab.workspace import Workspace

Open = Callable[..., Shop]


def order(shop: Shop, key: str = "sha256:" + "ab" * 32, champion: int = 1) -> Stored:
    """To retrain now."""
    made = Decision(model=MODEL, endpoint="production", action="retrain", reason="drift", champion=champion, key=key,
                    evidence={"policy": {}, "seen": {}})
    return shop.workspace.decisions.record(made)


def test_a_process_of_its_own_makes_the_same_version(opened: Open) -> None:
    """Byte for byte; and done again it makes no second one."""
    here, there = opened("linear"), opened("linear")
    for shop in (here, there):
        shop.ask(250, bend=2.0)
    assert order(here) == order(there)
    ours = learning.retrain(here.workspace, order(here))
    theirs = Spawned(there.workspace.folder)(order(there), lambda: None)
    assert ours == theirs
    assert ours["version"] == 2
    assert ours["rows"]["traffic"] == 250
    assert here.workspace.versions.get(MODEL, 2).digest == there.workspace.versions.get(MODEL, 2).digest
    assert Spawned(there.workspace.folder)(order(there), lambda: None) == theirs
    assert len(there.workspace.versions.list(MODEL)) == 2


def test_labels_that_come_later_change_nothing_of_what_was_ordered(opened: Open) -> None:
    shop = opened("linear")
    shop.ask(250, bend=2.0)
    wanted = order(shop)
    version = shop.workspace.versions.get(MODEL, 1)
    before = learning.lessons(shop.workspace, version, "production", until=wanted.at)
    shop.wait(minutes=1)
    shop.ask(20)
    names = before["id"].to_list()[:5]
    shop.workspace.labels.put(MODEL, "prediction", [(name, 99.0) for name in names], by="ann")
    again = learning.lessons(shop.workspace, version, "production", until=wanted.at)
    assert again.equals(before)
    later = learning.lessons(shop.workspace, version, "production", until=clock.to_text(shop.clock.now()))
    assert later.height == before.height + 20
    assert later["label"].to_list()[:5] == ["99"] * 5 or later["label"].to_list()[:5] == ["99.0"] * 5


def test_a_second_retrain_takes_the_rows_that_the_first_did_not_have(opened: Open) -> None:
    shop = opened("linear")
    shop.ask(250, bend=2.0)
    first = order(shop)
    learning.retrain(shop.workspace, first)
    shop.workspace.decisions.finish(first, "done", {})
    shop.wait(minutes=1)
    shop.ask(100, bend=2.0)
    second = learning.retrain(shop.workspace, order(shop, "sha256:" + "cd" * 32, champion=2))
    assert (second["rows"]["before"], second["rows"]["traffic"]) == (850, 100)


def test_a_model_that_was_brought_is_not_trained_anew_and_says_what_to_do(opened: Open) -> None:
    shop = opened("linear")
    frame = shop.rows(200)
    X, y = np.ascontiguousarray(frame.select("a", "b").to_numpy()), frame["y"].to_numpy()
    brought = trimtab.register(MODEL, LinearRegression().fit(X[:150], y[:150]), train=(X[:150], y[:150]),
                               test=(X[150:], y[150:]), workspace=shop.workspace)
    with pytest.raises(CheckFailed, match="was fitted outside trimtab, so how to train it anew is not known"):
        learning.retrain(shop.workspace, order(shop, champion=brought.number))


def test_without_a_label_nothing_is_trained(opened: Open) -> None:
    shop = opened("linear")
    shop.ask(30, label=False)
    with pytest.raises(CheckFailed, match="no labelled row at 'production' of shop is new to v1"):
        learning.retrain(shop.workspace, order(shop))


def test_rows_whose_features_were_redacted_are_set_aside_and_said(opened: Open) -> None:
    """Of a column that is no longer recorded the older rows still have the value; without any nothing is trained."""
    shop = opened("linear")
    project = Project.open(shop.workspace.folder.parent, shop.workspace)
    project.edit_contract("b", log="drop")
    project.train()
    version = project.evaluate(note="redacts").version
    assert version is not None
    shop.ask(250)
    version.deploy()
    shop.engine.refresh()
    shop.ask(30)
    made = learning.retrain(shop.workspace, order(shop, champion=2))
    assert (made["rows"]["traffic"], made["rows"]["aside"]) == (250, 30)
    facts: Any = shop.workspace.versions.get(MODEL, made["version"]).facts["retrained"]
    assert facts["first_aside"] == "30 have columns that recorded traffic redacts (log, in contract.toml)"
    shop.wait(minutes=1)
    version = shop.workspace.versions.get(MODEL, made["version"])
    shop.workspace.rollouts.promote(MODEL, version.number, by="ann")
    shop.engine.refresh()
    shop.ask(40)
    with pytest.raises(CheckFailed, match="none of 40 labelled rows can be learned from: 40 have columns"):
        learning.gather(Folder.open(project.root, shop.workspace), version, "production",
                        until=clock.to_text(shop.clock.now()))


def test_a_child_that_is_told_to_stop_or_is_killed_leaves_the_work_to_be_done_again(
        opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = opened("linear")
    shop.ask(250, bend=2.0)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Busy, match="taken up again later"):
        Spawned(shop.workspace.folder, stop=stop)(order(shop), lambda: None)
    monkeypatch.setattr("trimtab.project.spawning.sys.executable", "/bin/false")
    with pytest.raises(CheckFailed, match="ended from outside"):
        Spawned(shop.workspace.folder)(order(shop), lambda: None)
    monkeypatch.undo()
    with pytest.raises(NotFound, match="there is no decision"):               # the child's own words come through
        Spawned(shop.workspace.folder)(Stored(id="d-nobody", at="", decision=order(shop).decision, state="decided"),
                                       lambda: None)
    assert learning.retrain(shop.workspace, order(shop))["version"] == 2


def split_project(folder: Path, how: str, *, role: str = "feature") -> Folder:
    """A project whose rows are held out by `how`: 300 rows of 30 groups over 300 days."""
    rng = np.random.default_rng(4)
    a = rng.normal(size=300)
    pl.DataFrame({"day": [datetime(2025, 1, 1, tzinfo=UTC).replace(tzinfo=None) + timedelta(days=place)
                          for place in range(300)],
                  "g": [float(place % 30) for place in range(300)], "a": a, "y": 2 * a + rng.normal(size=300)
                  }).write_parquet(folder / "data.parquet")
    workspace = Workspace.open(folder / ".trimtab", create=True, actor="ann")
    from trimtab.config import SplitBy
    from trimtab.project.initialise import initialise
    from trimtab.project.project import Project

    initialise(folder / "data.parquet", folder, workspace, name="shop", target="y", by=SplitBy(
        **({"time": "day"} if how == "time" else {"group": "g"})))
    project = Project.open(folder, workspace)
    if how == "group":
        project.edit_contract("g", role=role)
    project = Project.open(folder, workspace)
    project.train(["ridge"])
    version = project.evaluate().version
    assert version is not None
    version.deploy()
    return project


def taught(project: Folder, rows: list[dict[str, Any]]) -> None:
    """Answered and labelled, all at once."""
    from trimtab.doors.server import make_engine
    from trimtab.traffic.log import TrafficLog

    space = project.workspace
    log = TrafficLog(space.folder / "traffic", writer="w-00000001", now=space.clock)
    engine = make_engine(space, log.append)
    engine.refresh()
    answer = engine.infer("shop", rows)
    space.labels.put("shop", "prediction", [(name, 2 * row["a"]) for name, row in zip(answer.ids, rows, strict=True)],
                     by="ann")
    log.close()


def gathered(project: Folder, tmp_path: Path) -> learning.Lesson:
    """The rows of a retrain, now."""
    space = project.workspace
    version = space.versions.get("shop", 1)
    checkout(space.versions, version, tmp_path / "out")
    return learning.gather(Folder.open(tmp_path / "out", space), version, "production",
                           until=clock.to_text(space.clock.now()))


def test_of_a_split_by_time_the_newest_stretch_judges(tmp_path: Path) -> None:
    """The moment of a recorded row is when it was asked."""
    project = split_project(tmp_path, "time")
    taught(project, [{"a": 0.1 * place, "g": 1.0} for place in range(20)])
    lesson = gathered(project, tmp_path)
    assert (lesson.before, lesson.traffic, lesson.aside, lesson.fair) == (300, 20, 0, True)
    assert lesson.split.kind == "time"
    assert set(range(300, 320)) <= set(lesson.split.test.tolist())
    assert lesson.split.train.max() < lesson.split.test.min()
    frame = project.workspace.datasets.load(lesson.dataset)
    assert frame["day"][-1] > datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)


def test_a_group_stays_on_its_side(tmp_path: Path) -> None:
    project = split_project(tmp_path, "group")
    taught(project, [{"a": 0.02 * place, "g": float(place % 30), "day": "2025-06-01"} for place in range(60)])
    lesson = gathered(project, tmp_path)
    frame = project.workspace.datasets.load(lesson.dataset)
    held, learned = (set(frame["g"].gather(side).to_list()) for side in (lesson.split.test, lesson.split.train))
    assert held & learned == set()
    assert lesson.split.test.max() >= 300
    assert lesson.fair


def test_a_group_that_is_not_recorded_cannot_be_divided_and_is_told(tmp_path: Path) -> None:
    project = split_project(tmp_path, "group", role="group")
    taught(project, [{"a": 0.1 * place, "day": "2025-06-01"} for place in range(20)])
    with pytest.raises(CheckFailed, match="rows are held out by g, which is not recorded with a request"):
        gathered(project, tmp_path)


def test_classes_are_tried_by_their_probabilities(opened: Open) -> None:
    """A classifier's whole way: labels are words, losses are log losses, the bound comes from the held-out rows."""
    shop = opened("classes")
    shop.acted(1, 150)
    turned = {"bend": 6.0, "shift": 0.5}
    story = shop.until("start_canary", days=14, **turned)
    assert story[:3] == ["notify", "retrain", "start_shadow"]
    story += shop.until("promote", days=14, **turned)
    promoted = next(one for one in shop.decided if one.decision.action == "promote")
    assert 0 < promoted.decision.evidence["seen"]["trial"]["pairs"]["bound"] < 36
    assert shop.live == 2
