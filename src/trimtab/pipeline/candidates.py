"""Which models may compete, and what is tried of each?

A recipe says what a name in `trimtab.toml` builds, how its columns are prepared, and the small grid from which
cross-validation picks. `[train.params.NAME]` pins a parameter; a list there is the grid. Everything built is made of
scikit-learn's own types, so that a model file can be judged by its types.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

from trimtab.config import suggest
from trimtab.errors import ConfigInvalid
from trimtab.flavors import table
from trimtab.pipeline import recipes
from trimtab.pipeline.custom import call, load_function
from trimtab.pipeline.model import Task
from trimtab.pipeline.preprocess import Style
from trimtab.pipeline.recipes import Situation

Family = Literal["baseline", "linear", "kernel", "trees", "custom"]
Params = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One name of `trimtab.toml`, resolved.

    build(params, situation) gives the unfitted estimator that follows the preprocessing. grid(situation): values to
    choose from, mildest first. search_rows, search_folds: what the choice is made on, at most; quick: parameters that
    make a search fit cheaper.
    """

    name: str
    family: Family
    style: Style
    build: Callable[[Params, Situation], Any]
    grid: Callable[[Situation], dict[str, tuple[Any, ...]]] = lambda _: {}
    pinned: dict[str, Any] = field(default_factory=dict)
    search_rows: int = 20_000
    search_folds: int = 10
    quick: dict[str, Any] = field(default_factory=dict)
    kernel: str = ""                          # which forecast of `kernel.py` applies

    def settings(self, situation: Situation) -> list[dict[str, Any]]:
        """Every combination that is tried, in order; at least one."""
        grid = dict(self.grid(situation))
        fixed: dict[str, Any] = {}
        for key, value in self.pinned.items():
            grid.pop(key, None)
            if isinstance(value, list) and self.family != "custom":
                grid[key] = tuple(value)
            else:
                fixed[key] = value
        if self.pinned.get("kernel") in ("linear", "cosine"):
            grid.pop("gamma", None)            # they have none
        return [{**fixed, **dict(zip(grid, values, strict=True))} for values in product(*grid.values())]


def resolve(name: str, task: Task, *, root: Path, params: Params | None = None) -> Candidate:
    """What `name` stands for in this task; `params` is its `[train.params]` table.

    Raises ConfigInvalid: an unknown name (with the near one), a classifier for a number, a parameter that the
    estimator does not have, or a `module:function` that does not give a scikit-learn estimator.
    """
    params = dict(params or {})
    if ":" in name:
        return _custom(name, task, root, params)
    found = recipes.RECIPES.get(name)
    if found is None:
        raise ConfigInvalid(f"there is no candidate {name!r}{suggest(name, list(recipes.RECIPES))}. Your own is named "
                            "\"module:function\"", key=name)
    if task not in found.tasks:
        kind = "a number" if task == "regression" else "a class"
        others = [other for other, recipe in recipes.RECIPES.items() if task in recipe.tasks and other != "dummy"]
        raise ConfigInvalid(f"{name} can't be used here: the target is {kind} (task: {task}) and {name} predicts "
                            f"{'classes' if task == 'regression' else 'numbers'}. Use {', '.join(others)}", key=name)
    allowed = sorted(inspect.signature(found.estimator(task)).parameters)
    for key, value in params.items():
        if key not in allowed:
            raise ConfigInvalid(f"[train.params.{name}] {key}: {found.estimator(task).__name__} has no such parameter"
                                f"{suggest(key, allowed)}", key=key)
        if value == []:
            raise ConfigInvalid(f"[train.params.{name}] {key} is an empty list: name at least one value", key=key)
    return Candidate(name=name, family=found.family, style=found.style, build=found.build, grid=found.grid,
                     pinned=params, search_rows=found.search_rows, search_folds=found.search_folds,
                     quick=found.quick, kernel=found.kernel)


def _custom(name: str, task: Task, root: Path, params: dict[str, Any]) -> Candidate:
    function = load_function(name, root)
    estimator, _ = _made(name, function, params)
    flavor = table.of_model(estimator)
    if flavor not in (table.SKLEARN, "python"):
        return _outside(name, function, params, flavor)
    _judge(name, estimator, task)
    from sklearn.pipeline import Pipeline
    from sklearn.utils import get_tags

    if isinstance(estimator, Pipeline):
        style: Style = "none"                  # brings its own preprocessing
    else:
        style = "trees" if get_tags(estimator).input_tags.allow_nan else "scaled"
    def build(pinned: Params, situation: Situation) -> Any:
        made = call(name, function, **pinned)
        seeds = {key: situation.seed for key, value in made.get_params().items()
                 if value is None and key.rpartition("__")[2] == "random_state"}
        return made.set_params(**seeds)        # the same inputs give the same model

    return Candidate(name=name, family="custom", style=style, pinned=params, build=build)


def _outside(name: str, function: Callable[..., Any], params: dict[str, Any], flavor: str) -> Candidate:
    """A network or booster: a new one for each fit, on scaled numbers, or on what trees take."""
    table.require(flavor)
    kind = table.kind(flavor)
    return Candidate(
        name=name, family="custom", style="trees" if kind.knows_missing else "scaled", pinned=params,
        build=lambda pinned, situation: kind(make=lambda: _made(name, function, pinned), seed=situation.seed))


def _made(name: str, function: Callable[..., Any], params: Params) -> tuple[Any, dict[str, Any]]:
    """What the function returns: a model, or a model and what its `fit` takes (epochs, say)."""
    made = call(name, function, **params)
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], dict):
        return made
    return made, {}


def _judge(name: str, estimator: Any, task: Task) -> None:
    from sklearn.base import BaseEstimator, is_classifier, is_regressor

    if not isinstance(estimator, BaseEstimator) or not hasattr(estimator, "predict"):
        what = "the class itself" if isinstance(estimator, type) else f"a {type(estimator).__name__}"
        raise ConfigInvalid(f"{name} returned {what}, not a scikit-learn estimator with fit and predict; return e.g. "
                            "sklearn.linear_model.Ridge(alpha=3)", key=name)
    if task == "regression" and is_classifier(estimator):
        raise ConfigInvalid(f"{name} returned a classifier ({type(estimator).__name__}), and the target is a number "
                            "(task: regression); return a regressor", key=name)
    if task != "regression" and is_regressor(estimator):
        raise ConfigInvalid(f"{name} returned a regressor ({type(estimator).__name__}), and the target is a class "
                            f"(task: {task}); return a classifier with predict_proba", key=name)
