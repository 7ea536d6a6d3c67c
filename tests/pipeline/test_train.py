"""Training: every candidate in cross-validation, budgets honoured, failures as sentences, the same model twice."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_wine
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_squared_error

from trimtab import config
from trimtab.canon import digest_bytes
from trimtab.clock import FixedClock
from trimtab.errors import CheckFailed, ConfigInvalid
from trimtab.flavors import sklearn as flavor
from trimtab.ids import Ids
from trimtab.pipeline import artifacts, kernel, training
from trimtab.pipeline.budget import Stopwatch
from trimtab.pipeline.candidates import resolve
from trimtab.pipeline.choice import choose
from trimtab.pipeline.model import CandidateResult, Feature, Learnable, Split
from trimtab.pipeline.train import train
from trimtab.pipeline.training import refitter, train_one
from trimtab.store import migrate
from trimtab.store.blobs import read_bytes
from trimtab.store.blobs_local import LocalBlobs
from trimtab.store.db import Database
from trimtab.tracking.runs import Runs


def learn(X, y, task="regression", classes=(), kind="row", times=None):
    X = np.ascontiguousarray(X, dtype=np.float64)
    rows = np.random.default_rng(42).permutation(len(X))
    cut = len(X) // 5
    learnable = Learnable(X=X, y=y, task=task, classes=classes, times=times,
                          features=tuple(Feature(name=f"x{i}", kind="number") for i in range(X.shape[1])))
    return learnable, Split(train=np.sort(rows[cut:]), test=np.sort(rows[:cut]), kind=kind, seed=42,
                            digest=digest_bytes(b"split"))


@pytest.fixture
def bench(tmp_path):
    """(train(learnable, split, candidates, toml), runs, blobs)."""
    db = Database("sqlite://")
    migrate.upgrade(db)
    blobs, runs = LocalBlobs(tmp_path / "objects"), Runs(db, FixedClock(), Ids())

    def go(learnable, split, candidates, toml="", **more):
        project = config.parse(f'[model]\nname = "risk"\ndata = "data.csv"\n{toml}', root=tmp_path)
        return train(learnable, split, project, blobs=blobs, runs=runs, by="ann", candidates=candidates, **more)

    yield go, runs, blobs
    db.close()


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return learn(X[:200], y[:200])


def test_a_training_is_one_run_with_a_child_for_each_candidate(bench, diabetes):
    """Parameters, the score of each fold, the model file; the report is a blob of the parent run."""
    go, runs, blobs = bench
    report = go(*diabetes, ["linear", "ridge"])
    parent, children = runs.get(report.run), runs.list(parent=report.run)
    assert parent.status == "finished"
    assert {run.params["candidate"] for run in children} == {"linear", "ridge", "dummy"}
    ridge = next(run for run in children if run.params["candidate"] == "ridge")
    assert ridge.metrics["cv_mse"] == report.candidates[1].mean
    assert artifacts.load_report(blobs, parent.outputs["report"]) == report
    assert [r.name for r in report.candidates] == ["linear", "ridge", "dummy"]
    assert report.candidates[2].family == "baseline"


def test_the_linear_candidate_is_the_ten_line_script(bench, diabetes):
    """Loaded from its file: the same test MSE to 1e-9."""
    go, _, blobs = bench
    learnable, split = diabetes
    linear = go(learnable, split, ["linear"]).candidates[0]
    model = flavor.load(read_bytes(blobs, linear.model))
    theirs = LinearRegression().fit(learnable.X[split.train], learnable.y[split.train])
    mse = [mean_squared_error(learnable.y[split.test], m.predict(learnable.X[split.test])) for m in (model, theirs)]
    assert mse[0] == pytest.approx(mse[1], rel=1e-9)
    assert linear.formula.startswith("ŷ = 1")


def test_the_same_inputs_give_the_same_model_files(bench, diabetes):
    """Every built-in candidate, twice."""
    go, _, _ = bench
    names = ["linear", "ridge", "lasso", "kernel_ridge", "svr", "random_forest", "hgb"]
    toml = ("[train]\nfolds = 2\n[train.params.hgb]\nmax_iter = 5\n"
            "[train.params.random_forest]\nn_estimators = 5\nmin_samples_leaf = 3\nmax_features = 1.0\n")
    first, second = (go(*diabetes, names, toml) for _ in range(2))
    assert [r.model for r in first.candidates] == [r.model for r in second.candidates]
    assert all(r.model for r in first.candidates)


def test_classes_are_compared_by_log_loss(bench):
    """Multiclass, with probabilities of every candidate."""
    X, y = load_wine(return_X_y=True)
    report = bench[0](*learn(X, y, "multiclass", ("a", "b", "c")), ["logistic", "svc", "hgb"],
                      "[train]\nfolds = 3\n[train.params.hgb]\nmax_iter = 10\n")
    assert report.metric == "log_loss"
    assert all(not r.error for r in report.candidates)
    baseline = report.candidates[-1].mean
    assert all(r.mean < baseline for r in report.candidates[:-1])


def test_the_same_classes_give_the_same_model_files(bench):
    """Calibrated support vectors, logistic regression and trees, twice."""
    X, y = load_wine(return_X_y=True)
    toml = ("[train]\nfolds = 2\n[train.params.svc]\nC = 1.0\ngamma = 0.1\n[train.params.hgb]\nmax_iter = 5\n"
            "[train.params.random_forest]\nn_estimators = 5\nmin_samples_leaf = 3\nmax_features = 1.0\n")
    first, second = (bench[0](*learn(X, y, "multiclass", ("a", "b", "c")),
                              ["logistic", "svc", "hgb", "random_forest"], toml) for _ in range(2))
    assert [r.model for r in first.candidates] == [r.model for r in second.candidates]


def test_a_fold_without_a_class_is_scored_and_said(bench):
    """Its probability is 0 there; a note names the fold."""
    rng = np.random.default_rng(0)
    y = np.array([0, 1] * 30 + [2, 2])
    learnable, split = learn(rng.normal(size=(62, 2)), y, "multiclass", ("a", "b", "c"))
    split = Split(train=np.arange(62), test=np.arange(0), kind="row", seed=1, digest=split.digest)
    logistic = bench[0](learnable, split, ["logistic"]).candidates[0]
    assert np.isfinite(logistic.mean)
    assert "fewer than 5 training rows of class c: some folds lack it" in logistic.notes


def test_a_candidate_that_fails_says_why_and_the_others_go_on(bench, diabetes, tmp_path):
    """A fit that raises is a sentence; so is a pinned value that scikit-learn refuses."""
    go, runs, _ = bench
    (tmp_path / "own.py").write_text(
        "from sklearn.linear_model import Ridge\nclass Odd(Ridge):\n"
        "    def fit(self, X, y):\n        raise RuntimeError('not today')\n"
        "def make():\n    return Odd()\n")
    report = go(*diabetes, ["own:make", "ridge", "linear"], "[train.params.ridge]\nalpha = -1.0\n")
    odd, ridge, linear, _ = report.candidates
    assert odd.error == "fold 1 of 5: the fit raised RuntimeError: not today"
    assert "alpha" in ridge.error
    assert linear.mean is not None
    assert report.chosen == "linear"
    assert {run.status for run in runs.list(parent=report.run)} == {"finished", "failed"}


def test_nothing_trained_is_an_error_and_the_run_is_failed(bench, diabetes):
    """With each candidate's sentence."""
    go, runs, _ = bench
    with pytest.raises(CheckFailed, match=r"no candidate could be trained\. ridge: .*alpha"):
        go(*diabetes, ["ridge"], "[train.params.ridge]\nalpha = -1.0\n")
    assert runs.latest("risk", "train", status="failed") is not None


def test_a_wrong_candidate_is_refused_before_any_run_begins(bench, diabetes):
    """Nothing is half done."""
    go, runs, _ = bench
    with pytest.raises(ConfigInvalid, match="did you mean 'ridge'"):
        go(*diabetes, ["linear", "rigde"])
    assert runs.list() == ()


@pytest.mark.parametrize(("more", "sentence"), [
    ("[gates]\nmsee = { upper = 1 }\n", "'msee' is not a metric of a regression model; did you mean 'mse'"),
    ("[gates]\nauc = { lower = 0.9 }\n", "'auc' is not a metric of a regression model"),
    ("[features]\nx99 = { scale = true }\n", r"\[features\] x99: there is no feature of that name"),
    ("[train.params.rigde]\nalpha = 1\n", r"\[train.params.rigde\]: .* did you mean 'ridge'"),
])
def test_a_setting_that_means_nothing_is_refused_before_any_run_begins(bench, diabetes, more, sentence):
    """Once, with exit code 2; not once a candidate, and not only when the model is judged."""
    go, runs, _ = bench
    with pytest.raises(ConfigInvalid, match=sentence):
        go(*diabetes, ["linear"], more)
    assert runs.list() == ()


def test_a_warning_of_convergence_becomes_a_note(bench):
    """Warnings are errors in this test run, so it can't have been one."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3)) * [1, 1000, 1]
    y = (X[:, 0] > 0).astype(np.int64)
    report = bench[0](*learn(X, y, "binary", ("no", "yes")), ["logistic"], "[train.params.logistic]\nmax_iter = 1\n")
    assert any(note.startswith("ConvergenceWarning") for note in report.candidates[0].notes)


def test_a_spent_budget_leaves_the_rest_untrained_with_a_sentence(bench, diabetes):
    """Looked at between fits; the baseline and what came before are there."""
    ticks = itertools.count(0, 3)                # every look at the watch is 3 s later
    report = bench[0](*diabetes, ["linear", "ridge", "hgb"], '[train]\nbudget = { minutes = 3 }\n',
                      timer=lambda: float(next(ticks)))
    by_name = {r.name: r for r in report.candidates}
    assert by_name["dummy"].mean is not None
    assert by_name["hgb"].error == ("not trained: the budget of 3 minutes was spent before hgb was begun; raise "
                                    "[train.budget] minutes, or name fewer candidates")
    assert "of 30 fits of its search" in by_name["ridge"].error


def test_a_kernel_machine_over_the_memory_budget_is_approximated(bench, diabetes):
    """Nyström's method, with a sentence and its landmark rows in the parameters and the formula."""
    report = bench[0](*diabetes, ["kernel_ridge"], '[train]\nbudget = { memory = "100KB" }\n')
    result = report.candidates[0]
    assert any("approximated by Nyström's method with" in note for note in result.notes)
    assert result.params["landmarks"] == 22                  # 8 · 3 · (160 · 22 + 22²) bytes are 96 kB
    assert "22 landmark rows" in result.formula
    assert result.mean < report.candidates[-1].mean


def test_a_kernel_machine_that_no_approximation_fits_into_memory_is_not_trained(bench, diabetes):
    """The budget is kept, and the reason told, where fewer landmark rows than are worth a fit would be left."""
    report = bench[0](*diabetes, ["kernel_ridge", "ridge"], '[train]\nbudget = { memory = "10KB" }\n')
    assert report.chosen == "ridge"
    assert report.candidates[0].error == (
        "not trained: kernel_ridge on 160 rows, even approximated with 10 landmark rows, needs 41 kB, over "
        "[train.budget] memory (10 kB); raise it, or use fewer rows")


def test_folds_of_a_time_split_have_enough_rows_for_their_landmarks():
    """The first of them is a sixth of the rows: no warning that there are fewer rows than landmarks."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(120, 2))
    data = Learnable(X=X, y=X[:, 0] + rng.normal(size=120), task="regression", times=np.arange(120.0), features=(
        Feature(name="a", kind="number"), Feature(name="b", kind="number")))
    split = Split(train=np.arange(100), test=np.arange(100, 120), kind="time", seed=1, digest=digest_bytes(b""))
    made = train_one(data, split, resolve("kernel_ridge", "regression", root=Path()), memory_bytes=70_000,
                     watch=Stopwatch(5))
    assert made.params["landmarks"] < 16
    assert not any("n_components" in note for note in made.notes)


def test_a_kernel_machine_over_the_time_budget_is_approximated(bench, diabetes, monkeypatch):
    """The forecast decides, not a fit that never ends: here on a machine of one operation a second."""
    monkeypatch.setattr(kernel, "machine_speed", lambda: (1.0, 1.0))
    report = bench[0](*diabetes, ["kernel_ridge"])
    (note,) = report.candidates[0].notes
    assert note.startswith("160 rows need about")
    assert "over what is left of [train.budget] minutes" in note
    assert "approximated by Nyström's method" in note


def test_a_large_fit_is_tried_on_a_sample_before_it_is_begun(bench, diabetes, monkeypatch):
    """Where the sample says that it would overdraw the budget, nothing is begun."""
    monkeypatch.setattr(training, "pilot", lambda at, *_: kernel.Pilot(rows=10, seconds=60.0))
    monkeypatch.setattr(training, "_PILOT_FROM", 0)
    with pytest.raises(CheckFailed, match=r"linear: not trained: linear on 160 rows would take about 1\.8 h"):
        bench[0](*diabetes, ["linear"])


def test_progress_tells_stage_count_and_time_left(bench, diabetes):
    """5/5 folds, with an ETA after the first."""
    seen = []
    bench[0](*diabetes, ["linear"], on_progress=seen.append)
    folds = [p for p in seen if p.candidate == "linear" and p.stage == "folds"]
    assert [p.done for p in folds] == [0, 1, 2, 3, 4, 5]
    assert folds[0].eta_s is None
    assert folds[-1].eta_s == 0


def test_the_preprocessing_is_printed(bench, diabetes):
    """A line per group of columns, headed by the candidates that share it."""
    report = bench[0](*diabetes, ["linear", "ridge"])
    assert report.preprocessing == (
        "linear · x0, x1, x2, x3, x4, x5 and 4 more: as it is",
        "ridge · x0, x1, x2, x3, x4, x5 and 4 more: scaled to mean 0, sd 1")


def test_a_refitter_trains_the_same_candidate_on_other_rows(diabetes, tmp_path):
    """What the stability checks ask for; on the training rows it is the candidate itself."""
    learnable, split = diabetes
    again = refitter(learnable, split, resolve("ridge", "regression", root=tmp_path), {"alpha": 1.0})
    half = again(split.train[::2], 7)
    assert half(learnable.X[split.test]).shape == (len(split.test),)


def result(name, folds):
    return CandidateResult(name=name, family="linear", folds=tuple(folds), mean=float(np.mean(folds)))


def test_ties_are_called_ties_and_the_lowest_is_taken():
    """Nothing simpler is taken silently; the baseline does not compete unless it was named."""
    results = [result("linear", [3.0, 3.2, 3.1]), result("hgb", [2.9, 3.3, 3.0]), result("ridge", [4.0, 4.1, 4.2]),
               result("dummy", [9.0, 9.1, 9.0])]
    assert choose(results, "mse") == (
        "hgb", "lowest CV MSE; tied with linear within one standard error of the paired fold differences")
    worse = [result("linear", [3.0, 3.2, 3.1]), result("dummy", [2.0, 2.1, 2.0])]
    name, reason = choose(worse, "mse")
    assert name == "linear"
    assert "no better than the baseline" in reason
    assert choose(worse, "mse", baseline_competes=True)[0] == "dummy"


def test_values_between_steps_survive_their_bytes(diabetes, tmp_path):
    """Pack, load, and the digest that can be had without storing."""
    blobs = LocalBlobs(tmp_path / "o")
    learnable, split = diabetes
    digest = artifacts.save_learnable(blobs, learnable)
    assert digest == artifacts.learnable_digest(learnable)
    back = artifacts.load_learnable(blobs, digest)
    np.testing.assert_array_equal(back.X, learnable.X)
    assert back.features == learnable.features
    again = artifacts.load_split(blobs, artifacts.save_split(blobs, split))
    np.testing.assert_array_equal(again.train, split.train)
    assert artifacts.split_digest(again) == artifacts.split_digest(split)
