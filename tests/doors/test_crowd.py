"""Predicted together: the same bits as alone, recorded as alone, and failing alone."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serving_scenes as scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_lane import NAMED, Scene, ask, asked

from trimtab.data.contract import Column, Contract
from trimtab.doors.inference import crowd, lane
from trimtab.doors.inference.crowd import predict_each
from trimtab.flavors import tiers
from trimtab.registry.bundle import Bundle, Prediction
from trimtab.serving.rollout import PRODUCTION
from trimtab.traffic.query import Traffic
from trimtab.workspace import Workspace

RNG = np.random.default_rng(3)
ROWS = RNG.normal(size=(200, 2))
SCORE = ROWS @ [2.0, 1.0]
MADE: dict[str, Any] = {
    "forest": RandomForestRegressor(20, random_state=0), "sorted": RandomForestClassifier(20, random_state=0),
    "boosted": HistGradientBoostingClassifier(max_iter=20), "logistic": make_pipeline(StandardScaler(),
                                                                                      LogisticRegression())}
CONTRACT = Contract(columns=tuple(Column(name=name, type="number", missing=True) for name in ("rate", "volume")))


@cache
def bundle(kind: str) -> Bundle:
    estimator = MADE[kind].fit(ROWS, SCORE if kind == "forest" else (SCORE > 0).astype(int))
    tier = tiers.choose(estimator, ROWS)
    classes = list(getattr(estimator, "classes_", ()))
    return Bundle(contract=CONTRACT, estimator=estimator, fast=tiers.build(estimator, tier.to_json()), facts={
        "task": "binary" if classes else "regression", "classes": [int(one) for one in classes],
        "predict": tier.to_json()})


def bits(made: Prediction | Exception) -> object:
    if isinstance(made, Exception):
        return type(made)
    return made.values, None if made.probabilities is None else made.probabilities.tobytes()


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(sorted(MADE)), data=st.data())
def test_together_is_alone_to_the_last_bit(kind: str, data: st.DataObject) -> None:
    """Whatever rows come together, also where a value is missing or far outside, and where the model refuses some."""
    value = st.floats(-50, 50) | st.sampled_from([float("nan"), 1e300, -1e39, 0.0])
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=70))
    usual = st.floats(-50, 50) if data.draw(st.booleans()) else value
    cells = data.draw(st.lists(usual, min_size=8, max_size=8))
    matrices = [np.array([[cells[(3 * at + row) % 8], cells[(at + 5 * row) % 8]] for row in range(size)])
                for at, size in enumerate(sizes)]
    made = predict_each(bundle(kind), matrices)
    assert [bits(one) for one in made] == [bits(predict_each(bundle(kind), [matrix])[0]) for matrix in matrices]


def test_what_is_predicted_together_asks_the_fast_form_once() -> None:
    forest, calls = bundle("forest"), []
    assert forest.fast is not None

    def answer(X: Any) -> Any:
        calls.append(len(X))
        return bundle("forest").fast.answer(X)

    watched = replace(forest, fast=tiers.Fast(forest.estimator, answer, classes=False))
    predict_each(watched, [ROWS[:1], ROWS[1:3], ROWS[3:4]])
    assert calls == [4]


@pytest.mark.parametrize("told", [{"row_invariant": False}, {"tier": "onnxruntime"}, {"tier": "scikit-learn"}])
def test_what_may_depend_on_the_other_rows_is_never_put_together(told: dict[str, Any]) -> None:
    forest = bundle("forest")
    assert forest.together is not None
    assert replace(forest, facts={**forest.facts, "predict": {**forest.facts["predict"], **told}}).together is None
    assert replace(forest, fast=None).together is None


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    made = scenes.workspace(tmp_path)
    forest = RandomForestRegressor(20, random_state=0).fit(ROWS, SCORE)
    scenes.register(made, "risk", forest, scenes.NUMBERS, {
        "task": "regression", "predict": tiers.choose(forest, ROWS).to_json()})
    made.rollouts.deploy("risk", 1, by="ada")
    return made


async def many(port: int, bodies: list[str]) -> list[Any]:
    """All at once, each over a connection of its own; the body and status of each answer."""
    told = await asyncio.gather(*(ask(port, *[asked(NAMED[0], body)] * 3) for body in bodies))
    return [(status, body) for each in told for status, _, body in each]


def served(ws: Workspace, monkeypatch: pytest.MonkeyPatch, bodies: list[str]) -> tuple[Scene, list[Any], list[int]]:
    """The scene, the answers, and how many requests each call took."""
    monkeypatch.setattr(lane, "WORTH_US", -1)
    monkeypatch.setattr(lane, "MOMENT_US", 1e9)             # also on a busy machine
    sizes: list[int] = []
    real = crowd.predict_each
    monkeypatch.setattr(crowd, "predict_each", lambda one, rows: (sizes.append(len(rows)), real(one, rows))[1])
    scene = Scene(ws)
    return scene, scene.play(lambda port: many(port, bodies)), sizes


def test_many_clients_are_predicted_together_each_answered_for_itself(ws: Workspace,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gets the answer to its own row, recorded with it; a row outside its contract is refused alone."""
    rows = [{"rate": place / 4 - 5, "volume": 0.25 * place} for place in range(24)]
    bad = json.dumps({"rows": [{"rate": 99, "volume": 1}]})
    scene, told, sizes = served(ws, monkeypatch, [*(json.dumps({"rows": [row]}) for row in rows), bad])
    assert scene.slow == 0
    assert sum(sizes) == 72
    assert max(sizes) > 1
    assert [status for status, _ in told] == [200] * 72 + [422] * 3
    alone = [scene.engine.bundle("risk").predict_rows([row]).values[0] for row in rows for _ in range(3)]
    assert [body["predictions"][0]["value"] for _, body in told[:72]] == alone
    frame = Traffic(ws.folder / "traffic").frame()
    assert frame["batch"].to_list() == frame["id"].to_list()
    kept = {one["id"]: (json.loads(one["features"]), json.loads(one["output"])) for one in frame.to_dicts()}
    assert kept == {body["predictions"][0]["id"]: (row, value) for (_, body), row, value in zip(
        told[:72], [row for row in rows for _ in range(3)], alone, strict=True)}


def test_who_breaks_the_call_fails_alone(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that the estimator refuses is answered the long way, as without others; the others get their answers."""
    good = json.dumps({"rows": [{"rate": 1, "volume": 2}]})
    huge = json.dumps({"rows": [{"rate": 1, "volume": 1e300}]})     # in the contract; no float32, so the forest refuses
    scene, told, _ = served(ws, monkeypatch, [good] * 6 + [huge])
    assert [status for status, _ in told[:18]] == [200] * 18
    assert {status for status, _ in told[18:]} == {500}
    assert scene.slow == 3


def test_quick_models_are_never_put_together(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "WORTH_US", 1e9)
    monkeypatch.setattr(crowd.Crowd, "join", lambda *given: pytest.fail("it was quick"))
    scene = Scene(ws)
    scene.engine.metrics.of("risk", PRODUCTION, 1).pace_us = 1.0
    assert [status for status, _ in scene.play(lambda port: many(port, [NAMED[1]]))] == [200] * 3
