"""A model file gives back the estimator that was saved, and the same estimator always gives the same file."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.cross_decomposition import PLSRegression
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    BaggingRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, SplineTransformer, StandardScaler
from sklearn.svm import SVC, SVR

from trimtab.flavors import sklearn as flavor

Array = NDArray[np.float64]
RNG = np.random.default_rng(7)
X: Array = np.column_stack([RNG.normal(size=(90, 3)), RNG.integers(0, 4, 90)]).astype(float)
Y: Array = X @ np.array([1.0, -2.0, 0.5, 0.3]) + RNG.normal(size=90)
CODES = np.digitize(Y, [-1.0, 1.0])
FRESH: Array = np.column_stack([RNG.normal(size=(40, 3)), RNG.integers(0, 4, 40)]).astype(float)


def table() -> ColumnTransformer:
    numbers = make_pipeline(FeatureUnion([("value", SimpleImputer()), ("gone", MissingIndicator(features="all"))]),
                            StandardScaler())
    return ColumnTransformer([("numbers", numbers, [0, 1]), ("one", OneHotEncoder(handle_unknown="ignore"), [3]),
                              ("ordinal", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), [3])],
                             remainder="passthrough", sparse_threshold=0)


def probability_svc() -> SVC:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SVC(probability=True, random_state=0)


REGRESSION: dict[str, Callable[[], object]] = {
    "linear": LinearRegression,
    "ridge": Ridge,
    "lasso": Lasso,
    "kernel_ridge": lambda: KernelRidge(kernel="rbf"),
    "svr": SVR,
    "forest": lambda: RandomForestRegressor(8, random_state=0),
    "hgb": lambda: HistGradientBoostingRegressor(max_iter=8, categorical_features=[3], random_state=0),
    "dummy": DummyRegressor,
    "nystroem": lambda: make_pipeline(Nystroem(n_components=20, random_state=0), Ridge()),
    "preprocessed": lambda: make_pipeline(table(), Ridge()),
    "log_target": lambda: TransformedTargetRegressor(Ridge(), transformer=StandardScaler()),
    "grid": lambda: GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=3),
    "bagging": lambda: BaggingRegressor(n_estimators=4, max_features=0.5, random_state=0),
    "boosting": lambda: GradientBoostingRegressor(n_estimators=5, random_state=0),
    "neighbours": KNeighborsRegressor,
    "ball_tree": lambda: KNeighborsRegressor(algorithm="ball_tree"),
    "gaussian_process": lambda: GaussianProcessRegressor(random_state=0),
    "mlp": lambda: MLPRegressor(hidden_layer_sizes=(4,), max_iter=500, tol=1e9, random_state=0),
    "pls": PLSRegression,
    "splines": lambda: make_pipeline(SplineTransformer(), Ridge()),
    "stacking": lambda: StackingRegressor([("l", Lasso()), ("f", RandomForestRegressor(3, random_state=0))], Ridge()),
}
CLASSIFICATION: dict[str, Callable[[], object]] = {
    "logistic": LogisticRegression,
    "svc": SVC,
    "svc_probability": probability_svc,
    "forest_classes": lambda: RandomForestClassifier(8, random_state=0),
    "hgb_classes": lambda: HistGradientBoostingClassifier(max_iter=5, random_state=0),
    "dummy_classes": DummyClassifier,
    "boosting_classes": lambda: GradientBoostingClassifier(n_estimators=4, random_state=0),
    "bayes": GaussianNB,
    "neighbour_classes": KNeighborsClassifier,
    "calibrated": lambda: CalibratedClassifierCV(LogisticRegression(), cv=3),
    "voting": lambda: VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())], voting="soft"),
    "isolation": lambda: IsolationForest(n_estimators=5, random_state=0),
}
ALL = {**REGRESSION, **CLASSIFICATION}


def fit(name: str) -> object:
    estimator = ALL[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X.copy(), Y if name in REGRESSION else CODES)  # type: ignore[attr-defined]
    return estimator


def answers(estimator: object) -> list[Array]:
    methods = ("predict", "predict_proba", "decision_function")
    return [np.asarray(getattr(estimator, method)(FRESH)) for method in methods if hasattr(estimator, method)]


@pytest.mark.parametrize("name", ALL)
def test_every_family_comes_back_and_answers_to_the_last_bit(name: str) -> None:
    """Saved, judged, loaded: predictions, probabilities and decision values are identical."""
    estimator = fit(name)
    saved = flavor.save(estimator)
    loaded = flavor.load(saved.files[flavor.FILE])
    assert type(loaded) is type(estimator)
    for before, after in zip(answers(estimator), answers(loaded), strict=True):
        assert before.tobytes() == after.tobytes()
    found = flavor.inspect(saved.files[flavor.FILE])
    assert not found.refused
    assert found.types == saved.types


@pytest.mark.parametrize("name", ALL)
def test_saving_again_or_after_a_reload_gives_the_same_bytes(name: str) -> None:
    """Object ids, zip times, uninitialised gaps of tree nodes and the order of sets are not in the file."""
    estimator = fit(name)
    first = flavor.save(estimator).files[flavor.FILE]
    assert flavor.save(estimator).files[flavor.FILE] == first
    assert flavor.save(flavor.load(first)).files[flavor.FILE] == first


PROGRAM = """
import sys, hashlib
sys.path.insert(0, {folder!r})
import test_round_trip as t
for name in {names!r}:
    print(name, hashlib.sha256(t.flavor.save(t.fit(name)).files["model.skops"]).hexdigest())
"""


def test_two_processes_with_different_hash_seeds_write_the_same_file() -> None:
    """A fit repeated elsewhere has the same digest: version digests can be compared."""
    names = [name for name in ALL if name != "grid"]          # a search records its own fit times
    program = PROGRAM.format(folder=__file__.rsplit("/", 1)[0], names=names)
    seen = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                           env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}).stdout
            for seed in ("1", "2")]
    assert seen[0] == seen[1]
    assert len(seen[0].splitlines()) == len(names)


def test_shared_parts_stay_shared_and_equal_ones_stay_apart() -> None:
    """One array under two names is one array after a reload; two equal arrays are two."""
    model = LinearRegression().fit(X, Y)
    model.left_ = model.right_ = np.arange(4.0)
    model.other_ = np.arange(4.0)
    back = flavor.load(flavor.save(model).files[flavor.FILE])
    assert back.left_ is back.right_                 # type: ignore[attr-defined]
    assert back.other_ is not back.left_             # type: ignore[attr-defined]


def test_the_file_is_small_and_says_which_scikit_learn_made_it() -> None:
    """Deflated; the version is read without constructing anything."""
    import sklearn

    data = flavor.save(LinearRegression().fit(X, Y)).files[flavor.FILE]
    assert len(data) < 2500
    assert flavor.inspect(data).scikit_learn == sklearn.__version__
    assert flavor.version_warning(sklearn.__version__) == ""
    assert "made with scikit-learn 1.2.3" in flavor.version_warning("1.2.3")
