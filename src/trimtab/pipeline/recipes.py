"""What does each built-in name build?

One recipe a name: the estimator, its preprocessing style, and a grid of a few values, mildest first. Grids of kernel
machines are in units that don't depend on the data: γ in 1/columns of scaled features, λ, C and ε for a target of
standard deviation 1 (the target is scaled inside the model).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from trimtab.pipeline.model import Task
from trimtab.pipeline.preprocess import Style

Params = Mapping[str, Any]
_NUMBERS: frozenset[Task] = frozenset({"regression"})
_CLASSES: frozenset[Task] = frozenset({"binary", "multiclass"})
_CALIBRATION_FOLDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a recipe may depend on. width: prepared columns; target_sd: of the training target (1 for classes)."""

    task: Task
    rows: int
    width: int
    target_sd: float
    seed: int
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """See `candidates.Candidate`; `estimator(task)` is the class whose parameters may be pinned."""

    family: Literal["baseline", "linear", "kernel", "trees"]
    style: Style
    tasks: frozenset[Task]
    estimator: Callable[[Task], type]
    build: Callable[[Params, Situation], Any]
    grid: Callable[[Situation], dict[str, tuple[Any, ...]]] = lambda _: {}
    search_rows: int = 20_000
    search_folds: int = 10
    quick: dict[str, Any] = field(default_factory=dict)
    kernel: str = ""


def scaled_target(regressor: Any) -> Any:
    """`regressor` fitted to the target in units of its own mean and standard deviation."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.preprocessing import StandardScaler

    return TransformedTargetRegressor(regressor=regressor, transformer=StandardScaler(), check_inverse=False)


def calibrated(classifier: Any) -> Any:
    """`classifier` with probabilities: Platt's sigmoid on decision values that 3-fold cross-validation made."""
    from sklearn.calibration import CalibratedClassifierCV

    return CalibratedClassifierCV(classifier, method="sigmoid", cv=_CALIBRATION_FOLDS, ensemble=False)


def _dummy_class(task: Task) -> type:
    from sklearn import dummy

    kind: type = dummy.DummyRegressor if task == "regression" else dummy.DummyClassifier
    return kind


def _linear_class(name: str) -> Callable[[Task], type]:
    def find(task: Task) -> type:
        from sklearn import linear_model

        kind: type = getattr(linear_model, name)
        return kind
    return find


def _kernel_class(name: str) -> Callable[[Task], type]:
    def find(task: Task) -> type:
        from sklearn import kernel_ridge, svm

        kind: type = kernel_ridge.KernelRidge if name == "KernelRidge" else getattr(svm, name)
        return kind
    return find


def _trees_class(name: str) -> Callable[[Task], type]:
    def find(task: Task) -> type:
        from sklearn import ensemble

        kind: type = getattr(ensemble, name + ("Regressor" if task == "regression" else "Classifier"))
        return kind
    return find


def _make(find: Callable[[Task], type], wrap: Callable[[Any], Any] = lambda e: e, *, seeded: bool = False,
          threaded: bool = False, **defaults: Any) -> Callable[[Params, Situation], Any]:
    def build(params: Params, s: Situation) -> Any:
        own = {**defaults, **({"random_state": s.seed} if seeded else {}),
               **({"n_jobs": s.threads} if threaded else {}), **params}
        return wrap(find(s.task)(**own))
    return build


def _gammas(s: Situation) -> tuple[float, ...]:
    return tuple(share / max(s.width, 1) for share in (0.03, 0.1, 0.3, 1.0, 3.0))


_dummy, _hgb, _forest = _dummy_class, _trees_class("HistGradientBoosting"), _trees_class("RandomForest")
_ols, _ridge, _lasso = _linear_class("LinearRegression"), _linear_class("Ridge"), _linear_class("Lasso")
_logistic, _krr = _linear_class("LogisticRegression"), _kernel_class("KernelRidge")
_svr, _svc = _kernel_class("SVR"), _kernel_class("SVC")


RECIPES: dict[str, Recipe] = {
    "linear": Recipe(family="linear", style="plain", tasks=_NUMBERS, estimator=_ols, build=_make(_ols)),
    "ridge": Recipe(
        family="linear", style="scaled", tasks=_NUMBERS, estimator=_ridge, build=_make(_ridge),
        grid=lambda s: {"alpha": (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01)}),
    "lasso": Recipe(                           # the penalty is in units of the target
        family="linear", style="scaled", tasks=_NUMBERS, estimator=_lasso, build=_make(_lasso, max_iter=5000),
        grid=lambda s: {"alpha": tuple(s.target_sd * share for share in (0.3, 0.1, 0.03, 0.01, 0.003, 0.001))}),
    "logistic": Recipe(
        family="linear", style="scaled", tasks=_CLASSES, estimator=_logistic, build=_make(_logistic, max_iter=1000),
        grid=lambda s: {"C": (0.01, 0.1, 1.0, 10.0, 100.0)}),
    "kernel_ridge": Recipe(
        family="kernel", style="scaled", tasks=_NUMBERS, estimator=_krr, kernel="kernel_ridge",
        build=_make(_krr, scaled_target, kernel="rbf"), search_rows=1_000,
        grid=lambda s: {"alpha": (3.0, 0.3, 0.03, 0.003), "gamma": _gammas(s)}),
    "svr": Recipe(
        family="kernel", style="scaled", tasks=_NUMBERS, estimator=_svr, kernel="svr",
        build=_make(_svr, scaled_target, kernel="rbf", epsilon=0.1), search_rows=1_000, search_folds=3,
        grid=lambda s: {"C": (0.3, 3.0, 30.0), "gamma": _gammas(s)}),
    "svc": Recipe(
        family="kernel", style="scaled", tasks=_CLASSES, estimator=_svc, kernel="svc",
        build=_make(_svc, calibrated, kernel="rbf", decision_function_shape="ovo"), search_rows=1_000, search_folds=3,
        grid=lambda s: {"C": (0.3, 3.0, 30.0), "gamma": _gammas(s)}),
    "random_forest": Recipe(
        family="trees", style="trees", tasks=_NUMBERS | _CLASSES, estimator=_forest,
        build=_make(_forest, seeded=True, threaded=True, n_estimators=100), search_rows=2_000, search_folds=3,
        quick={"n_estimators": 40}, grid=lambda s: {"min_samples_leaf": (10, 3, 1), "max_features": (0.4, 1.0)}),
    "hgb": Recipe(
        family="trees", style="trees", tasks=_NUMBERS | _CLASSES, estimator=_hgb,
        build=_make(_hgb, seeded=True, max_iter=150), search_rows=5_000, search_folds=3,
        grid=lambda s: {"max_leaf_nodes": (7, 31), "learning_rate": (0.05, 0.1)}),
    "dummy": Recipe(family="baseline", style="none", tasks=_NUMBERS | _CLASSES, estimator=_dummy, build=_make(_dummy)),
}
