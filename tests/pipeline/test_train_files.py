"""Every model that training makes is a file that may be loaded, and answers as it did before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trimtab.canon import digest_bytes
from trimtab.flavors import sklearn as flavor
from trimtab.pipeline.budget import Stopwatch
from trimtab.pipeline.candidates import resolve
from trimtab.pipeline.fitting import answers
from trimtab.pipeline.model import Feature, Learnable, Split
from trimtab.pipeline.recipes import RECIPES
from trimtab.pipeline.training import train_one

FEATURES = (Feature(name="a", kind="number"), Feature(name="b", kind="number", missing=True),
            Feature(name="c", kind="category", categories=("w", "x", "y"), missing=True),
            Feature(name="m", kind="boolean"), Feature(name="d", kind="datetime"))
SMALL = {"random_forest": {"n_estimators": 5, "min_samples_leaf": 3, "max_features": 1.0}, "hgb": {"max_iter": 5},
         "svc": {"C": 1.0, "gamma": 0.1}, "svr": {"C": 1.0, "gamma": 0.1}}


def learn(task, gap=False):
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=90), rng.normal(size=90), rng.integers(0, 3, 90), rng.integers(0, 2, 90),
                         20_000 + np.arange(90)]).astype(np.float64)
    X[::7, 1] = X[::11, 2] = np.nan
    if gap:
        X[:, 1] = np.nan
    y = X[:, 0] + X[:, 3] + rng.normal(size=90) * 0.1
    classes = {"regression": (), "binary": ("no", "yes"), "multiclass": ("a", "b", "c")}[task]
    if classes:
        y = np.digitize(y, np.quantile(y, np.arange(1, len(classes)) / len(classes))).astype(np.int64)
    return Learnable(X=X, y=y, task=task, features=FEATURES, classes=classes), Split(
        train=np.arange(75), test=np.arange(75, 90), kind="row", seed=1, digest=digest_bytes(b""))


@pytest.mark.parametrize(("name", "task", "memory"), [
    (name, task, memory) for name in sorted(RECIPES) for task in ("regression", "binary", "multiclass")
    for memory in (2**31, 30_000) if task in RECIPES[name].tasks and (memory == 2**31 or RECIPES[name].kernel)])
def test_a_trained_model_survives_its_file(name, task, memory, tmp_path):
    """Missing values, an unseen category and dates included; without a pickle and without a type of ours."""
    learnable, split = learn(task)
    candidate = resolve(name, task, root=tmp_path, params=SMALL.get(name))
    made = train_one(learnable, split, candidate, k=3, watch=Stopwatch(5), memory_bytes=memory)
    assert ("landmarks" in made.params) is (memory < 2**31)
    saved = flavor.save(made.estimator)
    assert not any(kind.startswith("trimtab") for kind in saved.types)
    loaded = flavor.load(saved.files[flavor.FILE])
    rows = learnable.X[split.test].copy()
    rows[0, 2], rows[1, 1], rows[2, 2] = -1, np.nan, np.nan
    np.testing.assert_allclose(answers(loaded, rows, task, len(learnable.classes)),
                               answers(made.estimator, rows, task, len(learnable.classes)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "task"), [
    ("hgb", "regression"), ("random_forest", "binary"), ("ridge", "regression")])
def test_a_column_without_any_value_stops_no_candidate(name, task, tmp_path):
    """It carries nothing, and a tree can't split on it."""
    learnable, split = learn(task, gap=True)
    candidate = resolve(name, task, root=tmp_path, params=SMALL.get(name))
    assert np.isfinite(train_one(learnable, split, candidate, k=3, watch=Stopwatch(5)).scores.mean)


@pytest.mark.parametrize("name", ["hgb", "random_forest", "dummy"])
def test_a_class_that_no_training_row_has_gets_probability_0(name, tmp_path):
    """Also from classifiers that answer with two columns for one class."""
    learnable, split = learn("binary")
    learnable = replace(learnable, y=np.zeros(90, dtype=np.int64))
    candidate = resolve(name, "binary", root=tmp_path, params=SMALL.get(name))
    made = train_one(learnable, split, candidate, k=3, watch=Stopwatch(5))
    assert answers(made.estimator, learnable.X[:4], "binary", 2).tolist() == [[1.0, 0.0]] * 4
    assert "fold 1: no training row of class yes" in made.notes
