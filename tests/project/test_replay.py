"""A recorded prediction is answered again to the last bit, or it is said precisely why it can't be."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

import trimtab
from trimtab.errors import DigestMismatch, NotFound
from trimtab.project import replaying
from trimtab.project.endpoint import Endpoint
from trimtab.project.project import Project
from trimtab.traffic import closing
from trimtab.traffic.log import TrafficLog
from trimtab.workspace import Workspace

SIZES = (1, 1, 1, 2, 3, 7, 20, 64)
ROW = {"a": 0.1, "b": 5.0}
MODELS: dict[str, Any] = {
    "linear": LinearRegression(), "ridge": make_pipeline(StandardScaler(), Ridge()),
    "kernel": make_pipeline(StandardScaler(), KernelRidge(kernel="rbf", alpha=0.1)),
    "svr": make_pipeline(StandardScaler(), SVR()), "forest": RandomForestRegressor(60, random_state=0),
    "boosting": GradientBoostingRegressor(n_estimators=40, random_state=0),
    "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
    "classes": HistGradientBoostingClassifier(max_iter=20, random_state=0)}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Eight live models that were asked in requests of many sizes; some of the record is closed."""
    folder = tmp_path_factory.mktemp("replayed")
    rng = np.random.default_rng(7)
    X = rng.normal(size=(300, 6)) * [1, 10, 1e3, 1e-3, 1, 5]
    y = X @ [2.0, 0.3, 0.01, 100.0, -1.0, 0.0] + np.sin(X[:, 0]) + rng.normal(size=300)
    with Workspace.open(folder / ".trimtab", create=True, actor="ann") as workspace:
        for place, (name, model) in enumerate(MODELS.items()):
            truth = (y > 0).astype(int) if hasattr(model, "predict_proba") else y
            version = trimtab.register(name, model.fit(X[:220], truth[:220]), train=(X[:220], truth[:220]),
                                       test=(X[220:], truth[220:]), workspace=workspace)
            version.deploy()
            with Endpoint(workspace, name) as endpoint:
                for size in SIZES * 3:
                    endpoint.predict(X[rng.integers(0, 300, size)])
            if place % 2:
                closing.close_all(workspace.folder / "traffic")
        yield workspace


def test_a_thousand_random_predictions_come_out_the_same_in_a_new_process(asked: Workspace) -> None:
    """Linear, ridge, kernel ridge, SVR, forest, boosting; regression and classes; requests of 1 to 64 rows."""
    ran = subprocess.run([sys.executable, "-m", "trimtab", "replay", "--sample", "1000", "--seed", "3", "--json"],
                         cwd=asked.folder.parent, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads(ran.stdout)
    assert (told["count"], told["same"]) == (1000, 1000)
    assert {one["model"] for one in told["predictions"]} == MODELS.keys()
    assert {one["rows"] for one in told["predictions"]} == set(SIZES)
    assert len({one["id"] for one in told["predictions"]}) == 1000


def test_the_same_seed_draws_the_same(asked: Workspace) -> None:
    one, other = (replaying.sample(asked, 50, seed=seed) for seed in (1, 2))
    assert replaying.sample(asked, 50, seed=1) == one != other
    assert len(replaying.sample(asked, 10**6, model="ridge")) == 3 * sum(SIZES)


def changed(workspace: Workspace, **change: Any) -> str:
    """A recorded prediction whose record says something else; its id."""
    record, row = workspace.traffic.find(min(replaying.sample(workspace, 99)))
    name = workspace.ids.prediction(workspace.clock.now())
    rows = change.pop("rows", (msgspec.structs.replace(row, id=name, **{
        key: change.pop(key) for key in list(change) if hasattr(row, key)}),))
    log = TrafficLog(workspace.folder / "traffic", writer=workspace.ids.short("w"), now=workspace.clock)
    log.append(msgspec.structs.replace(record, batch=name, rows=rows, **change))
    log.close()
    return name


def one(workspace: Workspace, name: str) -> replaying.Replayed:
    return replaying.replay(workspace, [name]).predictions[0]


@pytest.fixture
def recorded(live: Project) -> Project:
    """One prediction of a live model."""
    with live.endpoint() as endpoint:
        endpoint.predict(ROW)
    return live


def test_one_bit_that_differs_is_said(recorded: Project) -> None:
    space = recorded.workspace
    assert one(space, replaying.sample(space, 1)[0]).outcome == "same"
    _, row = space.traffic.find(replaying.sample(space, 1)[0])
    assert isinstance(row.output, float)
    found = one(space, changed(space, output=float(np.nextafter(row.output, np.inf))))
    assert (found.outcome, found.recorded != found.again) == ("differs", True)
    assert 0 < found.apart < 1e-12
    assert not replaying.replay(space, [found.id]).ok


def test_another_installation_is_an_excuse_and_is_named(recorded: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    space = recorded.workspace
    name = changed(space, output=1.0)
    here = replaying.capture_environment()
    monkeypatch.setattr(replaying, "capture_environment", lambda: {
        **here, "packages": {**here["packages"], "numpy": "9.9"},                 # type: ignore[dict-item]
        "blas": [{"library": "openblas", "version": "9", "kernel": "Z80", "threading": "none"}]})
    found = one(space, name)
    assert found.outcome == "not_comparable"
    assert "9.9 here" in found.why
    assert "Z80" in found.why
    assert "differs by" in found.why
    same = replaying.sample(space, 9)
    assert [kind.outcome for kind in replaying.replay(space, same).predictions].count("same") == 1


def test_what_can_not_be_replayed_says_why(recorded: Project) -> None:
    space = recorded.workspace
    reasons = {
        changed(space, redacted=("a",)): "redacted: a",
        changed(space, verdict="fallback", why="constant: b is over 100"): "b is over 100",
        changed(space, verdict="failed", output=None): "gave no answer"}
    for name, why in reasons.items():
        found = one(space, name)
        assert found.outcome == "not_comparable"
        assert why in found.why
    with pytest.raises(NotFound):
        one(space, "p-01JD0000000000000000000000")


def test_a_row_whose_companions_are_gone_is_replayed_only_where_they_never_mattered(recorded: Project) -> None:
    space = recorded.workspace
    name = changed(space, position=1)
    invariant = space.versions.get("y", 1).facts["predict"]["row_invariant"]      # type: ignore[index]
    found = one(space, name)
    assert found.outcome == ("same" if invariant else "not_comparable")
    assert invariant or "other rows" in found.why


def test_a_deleted_version_and_deleted_traffic_say_so(recorded: Project) -> None:
    space = recorded.workspace
    name = replaying.sample(space, 1)[0]
    recorded.train(["ridge"])
    version = recorded.evaluate(note="next").version
    assert version is not None
    version.deploy()
    space.versions.delete("y", 1, by="ann", why="old")
    assert "deleted" in one(space, name).why
    closing.close_all(space.folder / "traffic")
    space.tables.forget(datetime(2100, 1, 1, tzinfo=UTC), by="ann", why="age", watched=lambda *_: None)
    found = one(space, name)
    assert found.outcome == "not_comparable"
    assert "forgotten" in found.why


def test_a_version_that_was_tampered_with_is_no_excuse(recorded: Project) -> None:
    space = recorded.workspace
    digest = space.versions.get("y", 1).manifest.files["model.skops"]
    blob = space.folder / "objects" / digest.hex[:2] / digest.hex[2:]
    blob.chmod(0o600)
    blob.write_bytes(b"something else")
    with pytest.raises(DigestMismatch):
        one(space, replaying.sample(space, 1)[0])
