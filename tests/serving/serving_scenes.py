"""A workspace with models whose answers say which version gave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression

from trimtab.canon import Digest
from trimtab.data import contract_toml
from trimtab.data.contract import Column, Contract
from trimtab.flavors import sklearn as flavor
from trimtab.registry.model import Ingredients, Version
from trimtab.store.blobs import put_json
from trimtab.workspace import Workspace

NUMBERS = Contract(columns=(
    Column(name="rate", type="number", min=-10.0, max=10.0),
    Column(name="volume", type="number", missing=True),
    Column(name="score", type="number", role="target")))
MIXED = Contract(columns=(
    Column(name="年龄", type="integer", min=0, max=120),
    Column(name="城市", type="category", categories=("上海", "北京")),
    Column(name="member", type="boolean"),
    Column(name="joined", type="datetime", min=0.0),
    Column(name="note", type="category", categories=("a", "b"), unseen=True, missing=True),
    Column(name="标签", type="category", categories=("低", "高"), role="target")))


def workspace(folder: Path) -> Workspace:
    """A fresh one on disk."""
    return Workspace.open(folder / "ws", create=True, actor="ada")


def ingredients(ws: Workspace) -> Ingredients:
    """Four small blobs."""
    return Ingredients(**{name: Digest(put_json(ws.blobs, {"what": name}))
                          for name in ("code", "data", "config", "environment")})


def register(ws: Workspace, model: str, estimator: object, contract: Contract, facts: dict[str, Any], *,
             files: dict[str, bytes] | None = None, gates: str = "passed", note: str = "") -> Version:
    """One version of `model`."""
    saved = flavor.save(estimator)
    return ws.versions.register(
        model, {**saved.files, "contract.toml": contract_toml.render(contract).encode(), **(files or {})},
        flavor=flavor.FLAVOR, types=saved.types, ingredients=ingredients(ws), facts={"input": "matrix", **facts},
        gates=gates, note=note, by="ada")          # type: ignore[arg-type]


def constant(ws: Workspace, value: float, model: str = "risk", **more: Any) -> Version:
    """A regression that always answers `value`."""
    estimator = DummyRegressor(strategy="constant", constant=value).fit(np.zeros((2, 2)), [0.0, value])
    return register(ws, model, estimator, NUMBERS, {"task": "regression"}, **more)


def linear(ws: Workspace, model: str = "risk") -> Version:
    """score = 2 · rate + volume."""
    X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
    return register(ws, model, LinearRegression().fit(X, X @ [2.0, 1.0]), NUMBERS, {"task": "regression"})


def mixed_classifier(ws: Workspace, model: str = "信用", *, threshold: float | None = None) -> Version:
    """Two classes, Chinese names, every type of column."""
    rng = np.random.default_rng(5)
    X = np.column_stack([rng.integers(0, 120, 80), rng.integers(0, 2, 80), rng.integers(0, 2, 80),
                         rng.uniform(0, 20000, 80), rng.integers(-1, 2, 80)]).astype(float)
    y = (X[:, 0] > 60).astype(int)
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    estimator = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(X, y)
    return register(ws, model, estimator, MIXED, {
        "task": "binary", "classes": ["低", "高"], "positive": "高", "threshold": threshold})
