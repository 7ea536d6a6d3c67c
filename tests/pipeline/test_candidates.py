"""Which models may compete, and how plainly is a wrong name refused?"""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.errors import ConfigInvalid
from trimtab.pipeline.candidates import resolve
from trimtab.pipeline.recipes import RECIPES, Situation

AT = Situation(task="regression", rows=100, width=4, target_sd=2.0, seed=7)


@pytest.mark.parametrize("name", sorted(RECIPES))
@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_every_recipe_builds_each_of_its_settings(name, task, tmp_path):
    """Each setting of the grid is an estimator that scikit-learn accepts."""
    if task not in RECIPES[name].tasks:
        with pytest.raises(ConfigInvalid, match=f"{name} can't be used here"):
            resolve(name, task, root=tmp_path)
        return
    candidate = resolve(name, task, root=tmp_path)
    situation = Situation(task=task, rows=60, width=3, target_sd=1.0, seed=7)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = X[:, 0] if task == "regression" else np.arange(60) % (2 if task == "binary" else 3)
    for setting in candidate.settings(situation):
        candidate.build({**setting, **candidate.quick}, situation).fit(X, y)


@pytest.mark.parametrize(("name", "sentence"), [
    ("kernelridge", "there is no candidate 'kernelridge'; did you mean 'kernel_ridge'?"),
    ("logistic", "can't be used here: the target is a number (task: regression) and logistic predicts classes"),
    ("nope:make", "there is no nope.py"),
    ("own:absent", "own.py has no 'absent'; it defines"),
    ("own:NUMBER", "own:NUMBER is a int, not a function"),
    ("own:text", "own:text returned a str, not a scikit-learn estimator"),
    ("own:klass", "own:klass returned the class itself"),
    ("own:classifier", "returned a classifier (LogisticRegression), and the target is a number"),
    ("own:broken", "own:broken raised ZeroDivisionError: division by zero (own.py, line"),
    ("needs:make", "importing needs needs the module 'absent_module'"),
    ("wrong:make", "importing wrong raised SyntaxError"),
    ("json:make", "also the name of a module of Python's own"),
])
def test_a_wrong_candidate_is_a_sentence(name, sentence, tmp_path):
    """Missing, not callable, the wrong type, raising: never a traceback."""
    (tmp_path / "own.py").write_text(
        "from sklearn.linear_model import LogisticRegression, Ridge\nNUMBER = 3\n"
        "def text(): return 'x'\ndef klass(): return Ridge\ndef classifier(): return LogisticRegression()\n"
        "def broken(): return 1 / 0\n")
    (tmp_path / "needs.py").write_text("import absent_module\n")
    (tmp_path / "wrong.py").write_text("def make(:\n")
    (tmp_path / "json.py").write_text("")
    with pytest.raises(ConfigInvalid) as caught:
        resolve(name, "regression", root=tmp_path)
    assert sentence in str(caught.value)


def test_a_pinned_parameter_leaves_the_grid_and_a_list_is_the_grid(tmp_path):
    """`[train.params.kernel_ridge] alpha = 0.1, gamma = [0.01, 0.1]`."""
    candidate = resolve("kernel_ridge", "regression", root=tmp_path, params={"alpha": 0.1, "gamma": [0.01, 0.1]})
    assert candidate.settings(AT) == [{"alpha": 0.1, "gamma": 0.01}, {"alpha": 0.1, "gamma": 0.1}]
    linear = resolve("svr", "regression", root=tmp_path, params={"kernel": "linear"})
    assert all("gamma" not in setting for setting in linear.settings(AT))


def test_an_unknown_parameter_names_the_near_one(tmp_path):
    """Before anything is fitted."""
    with pytest.raises(ConfigInvalid, match=r"\[train.params.ridge\] alhpa: Ridge has no such .* did you mean 'alpha'"):
        resolve("ridge", "regression", root=tmp_path, params={"alhpa": 1})


def test_a_function_of_the_project_is_seeded_and_gets_its_parameters(tmp_path):
    """The same inputs give the same model, also from the project's own code."""
    (tmp_path / "mine.py").write_text(
        "from sklearn.ensemble import RandomForestRegressor\n"
        "def forest(trees=10): return RandomForestRegressor(n_estimators=trees)\n")
    candidate = resolve("mine:forest", "regression", root=tmp_path, params={"trees": 3})
    built = candidate.build(candidate.settings(AT)[0], AT)
    assert (built.n_estimators, built.random_state, candidate.family) == (3, 7, "custom")


def test_two_projects_in_one_process_have_their_own_module_of_the_same_name(tmp_path):
    """And an edited module is read again."""
    for folder, alpha in (("a", 1.0), ("b", 2.0)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "models.py").write_text(
            f"from sklearn.linear_model import Ridge\ndef make(): return Ridge(alpha={alpha})\n")

    def alpha_of(folder):
        return resolve("models:make", "regression", root=tmp_path / folder).build({}, AT).alpha

    assert [alpha_of("a"), alpha_of("b"), alpha_of("a")] == [1.0, 2.0, 1.0]
    (tmp_path / "a" / "models.py").write_text(
        "from sklearn.linear_model import Ridge\ndef make(): return Ridge(alpha=33.0)\n")
    assert alpha_of("a") == 33.0
