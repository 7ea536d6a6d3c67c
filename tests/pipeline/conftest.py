"""Small data sets, trained candidates and a workspace for the tests of evaluation and report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trimtab import canon
from trimtab.config import parse
from trimtab.pipeline.evaluate import evaluate
from trimtab.pipeline.model import Feature, Learnable, Split
from trimtab.pipeline.train import train
from trimtab.workspace import Workspace


class Scene:
    """A workspace, and data whose truth is known: y depends on the first column, wavily on the second."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = Workspace.open(folder / ".trimtab", create=True, actor="me")

    def data(self, task="regression", rows=400, seed=0, names=("rate", "volume", "spread"), classes=None):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(rows, len(names)))
        signal = X[:, 0] * 2 + np.sin(X[:, 1] * 2) * 2
        if task == "regression":
            y, classes = signal + rng.normal(size=rows) * 0.5, ()
        elif task == "binary":
            y, classes = (signal + rng.logistic(size=rows) > 0.5).astype(np.int64), classes or ("no", "yes")
        else:
            y = np.digitize(signal + rng.normal(size=rows), [-1, 1]).astype(np.int64)
            classes = classes or ("a", "b", "c")
        features = tuple(Feature(name=name, kind="number", missing=name == names[-1]) for name in names)
        return Learnable(X=X, y=y, task=task, features=features, classes=classes, groups=np.arange(rows) // 8,
                         times=np.arange(rows, dtype=np.float64))

    def split(self, rows=400, kind="row", seed=1):
        rng = np.random.default_rng(seed)
        order = rng.permutation(rows)
        if kind == "group":
            order = (rng.permutation(rows // 8)[:, None] * 8 + np.arange(8)).ravel()
        if kind == "time":
            order = np.arange(rows)[::-1]
        held = rows // 4
        return Split(train=np.sort(order[held:]), test=np.sort(order[:held])[::-1].copy(), kind=kind, seed=seed,
                     digest=canon.digest_json([rows, kind, seed]))

    def project(self, *candidates, more="", model=""):
        names = ", ".join(f'"{name}"' for name in candidates or ("linear",))
        text = f'[model]\nname = "risk"\ndata = "x.csv"\n{model}\n[train]\ncandidates = [{names}]\nfolds = 3\n{more}'
        return parse(text, root=self.folder)

    def train(self, data, split, project):
        return train(data, split, project, blobs=self.workspace.blobs, runs=self.workspace.runs, by="me")

    def judge(self, report, data, split, project, *, resamples=300, **more):
        return evaluate(report, data, split, project, blobs=self.workspace.blobs, db=self.workspace.db, by="me",
                        clock=self.workspace.clock, rng=np.random.default_rng(42), resamples=resamples, **more)

    def evaluated(self, task="regression", *candidates, kind="row", more="", model="", data=None, **how):
        """(train report, what the evaluation found)."""
        data = data or self.data(task)
        split, project = self.split(len(data.y), kind), self.project(*candidates, more=more, model=model)
        report = self.train(data, split, project)
        return report, self.judge(report, data, split, project, **how)


@pytest.fixture
def scene(tmp_path):
    made = Scene(tmp_path)
    yield made
    made.workspace.close()


@pytest.fixture(scope="module")
def shared_scene(tmp_path_factory):
    """One workspace for tests that only look."""
    made = Scene(tmp_path_factory.mktemp("scene"))
    yield made
    made.workspace.close()
