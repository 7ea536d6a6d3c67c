"""What does a fitted scikit-learn model compute, written in NumPy?  Linear, logistic, dense, kernels, preparation.

scikit-learn checks and copies its input at every step of a pipeline, which costs a hundred times what one row's
arithmetic does. Here each known step becomes the same arithmetic without that. Sums are taken row by row in a fixed
order, without BLAS, so that a row's answer depends neither on its batch nor on the processor. What is not known
exactly raises `Unknown`; whether the two agree is measured in `tiers.py`, not believed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Step = Callable[[Array], Array]
_CHUNK_CELLS = 1 << 22


class Unknown(Exception):
    """A step that has no formula here; the message names it."""


def name_of(item: object) -> str:
    """`StandardScaler` for one of scikit-learn's own, the full name for any other class."""
    kind = type(item)
    return kind.__name__ if kind.__module__.startswith("sklearn.") else f"{kind.__module__}.{kind.__name__}"


def wants(fitted: Any, **attributes: object) -> None:
    """Raises Unknown where an attribute of `fitted` is not the one that the formula is for."""
    for name, value in attributes.items():
        if getattr(fitted, name, None) != value:
            raise Unknown(f"{name_of(fitted)} with {name} = {getattr(fitted, name, None)!r}")


def transformer(fitted: Any) -> Step | None:
    """The arithmetic of a fitted transformer on (rows, columns) float64; None where it changes nothing.

    Raises Unknown.
    """
    if fitted is None or isinstance(fitted, str):
        if fitted in (None, "passthrough"):
            return None
        raise Unknown(str(fitted))
    made = _TRANSFORMERS.get(name_of(fitted))
    if made is None:
        raise Unknown(name_of(fitted))
    return made(fitted)


def chain(steps: list[Step | None]) -> Step | None:
    """One after the other."""
    left = [step for step in steps if step is not None]
    if len(left) < 2:
        return left[0] if left else None

    def run(X: Array) -> Array:
        for step in left:
            X = step(X)
        return X
    return run


def _pipeline(fitted: Any) -> Step | None:
    return chain([transformer(step) for _, step in fitted.steps])


def _function(fitted: Any) -> Step | None:
    if fitted.func is not None:
        raise Unknown("FunctionTransformer with a function")
    return None


def _standard(fitted: Any) -> Step:
    width = fitted.n_features_in_
    mean = np.zeros(width) if fitted.mean_ is None else fitted.mean_
    scale = np.ones(width) if fitted.scale_ is None else fitted.scale_
    return lambda X: (X - mean) / scale


def _min_max(fitted: Any) -> Step:
    wants(fitted, clip=False)
    scale, low = fitted.scale_, fitted.min_
    return lambda X: X * scale + low


def _imputer(fitted: Any) -> Step:
    wants(fitted, add_indicator=False)
    try:
        fill = np.asarray(fitted.statistics_, dtype=np.float64)
    except (TypeError, ValueError):
        fill = np.array([np.nan])
    if np.isnan(fill).any() or not _is_nan(fitted.missing_values):
        raise Unknown("SimpleImputer of something else than numbers")
    return lambda X: np.where(np.isnan(X), fill, X)


def _indicator(fitted: Any) -> Step:
    wants(fitted, features="all")
    if not _is_nan(fitted.missing_values):
        raise Unknown("MissingIndicator of something else than NaN")
    return lambda X: np.isnan(X).astype(np.float64)


def _one_hot(fitted: Any) -> Step:
    wants(fitted, drop=None, min_frequency=None, max_categories=None)
    if fitted.handle_unknown not in ("ignore", "error"):
        raise Unknown(f"OneHotEncoder with handle_unknown = {fitted.handle_unknown!r}")
    levels = [np.asarray(each) for each in fitted.categories_]
    if any(each.dtype.kind not in "fi" or np.isnan(each.astype(np.float64)).any() for each in levels):
        raise Unknown("OneHotEncoder of something else than numbers")
    strict = fitted.handle_unknown == "error"

    def run(X: Array) -> Array:
        parts = [(X[:, place, None] == each).astype(np.float64) for place, each in enumerate(levels)]
        if strict and not all(part.any(axis=1).all() for part in parts):
            parts[0] = np.full_like(parts[0], np.nan)         # not finite: the estimator itself is asked, and refuses
        return parts[0] if len(parts) == 1 else np.hstack(parts)
    return run


def _columns(fitted: Any) -> Step:
    width = fitted.n_features_in_
    parts: list[tuple[slice, Any, Step | None]] = []
    for name, step, _ in fitted.transformers_:
        place = fitted.output_indices_.get(name)
        if place is None or place.start == place.stop or (isinstance(step, str) and step == "drop"):
            continue
        taken = list(fitted._transformer_to_input_indices[name])
        run = taken == list(range(taken[0], taken[0] + len(taken)))
        parts.append((place, slice(taken[0], taken[0] + len(taken)) if run else taken, transformer(step)))
    if fitted.transformer_weights:
        raise Unknown("ColumnTransformer with weights")
    total = max(place.stop for place, _, _ in parts)

    def run_all(X: Array) -> Array:
        if X.shape[1] != width:
            raise ValueError(f"the model takes {width} columns, not {X.shape[1]}")
        out = np.empty((len(X), total))
        for place, taken, step in parts:
            out[:, place] = X[:, taken] if step is None else step(X[:, taken])
        return out
    return run_all


def _union(fitted: Any) -> Step:
    if fitted.transformer_weights:
        raise Unknown("FeatureUnion with weights")
    steps = [transformer(step) for _, step in fitted.transformer_list]
    return lambda X: np.hstack([X if step is None else step(X) for step in steps])


_TRANSFORMERS: dict[str, Callable[[Any], Step | None]] = {
    "Pipeline": _pipeline, "FunctionTransformer": _function, "StandardScaler": _standard, "MinMaxScaler": _min_max,
    "SimpleImputer": _imputer, "MissingIndicator": _indicator, "OneHotEncoder": _one_hot,
    "ColumnTransformer": _columns, "FeatureUnion": _union}


def times(X: Array, weights: Array) -> Array:
    """X · weights, each row summed in one fixed order. X: (n, d); weights: (d,) or (d, h). Gives (n,) or (n, h)."""
    if weights.ndim == 1:
        sums: Array = np.add.reduce(np.multiply(X, weights, order="C"), axis=1)
        return sums
    step = max(1, _CHUNK_CELLS // weights.size)
    parts = [np.add.reduce(np.multiply(X[at:at + step, :, None], weights, order="C"), axis=1)
             for at in range(0, len(X), step)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def sigmoid(scores: Array) -> Array:
    """Probabilities of the second of two classes, shape (n, 2), from scores of shape (n,)."""
    from scipy.special import expit

    return pair(expit(scores))


def pair(yes: Array) -> Array:
    """Probabilities of both classes, shape (n, 2), from those of the second, shape (n,)."""
    both = np.empty((len(yes), 2))
    both[:, 1] = yes
    np.subtract(1, yes, out=both[:, 0])
    return both


def softmax(scores: Array) -> Array:
    """Probabilities, shape (n, classes), from scores of that shape."""
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    share: Array = raised / raised.sum(axis=1, keepdims=True)
    return share


def model(fitted: Any) -> Step:
    """The answers of a fitted predictor on prepared columns: numbers (n,), or probabilities (n, classes).

    Not finite where the estimator itself would refuse the row. Raises Unknown.
    """
    from sklearn.linear_model._base import LinearModel

    kind = name_of(fitted)
    if isinstance(fitted, LinearModel) and "." not in kind:
        return _linear(fitted)
    made = _MODELS.get(kind)
    if made is None:
        raise Unknown(kind)
    return made(fitted)


def _linear(fitted: Any) -> Step:
    weights, shift = np.asarray(fitted.coef_, dtype=np.float64), float(np.ravel(fitted.intercept_)[0])
    if weights.ndim != 1:
        raise Unknown(f"{name_of(fitted)} of several targets")
    return lambda X: times(X, weights) + shift


def _logistic(fitted: Any) -> Step:
    weights, shift = np.ascontiguousarray(fitted.coef_.T), fitted.intercept_
    if len(fitted.classes_) != 2:
        return lambda X: _kept(times(X, weights) + shift, softmax)
    line, start = np.ascontiguousarray(weights[:, 0]), float(shift[0])
    return lambda X: _kept(times(X, line) + start, sigmoid)


def _kept(scores: Array, link: Step) -> Array:
    """`link`, but what is not finite stays so: sigmoid(∞) would hide a row that the estimator refuses."""
    if np.isfinite(scores).all():
        return link(scores)
    return np.full((len(scores), 2 if scores.ndim == 1 else scores.shape[1]), np.nan)


def relu(X: Array) -> Array:
    """max(x, 0)."""
    positive: Array = np.maximum(X, 0)
    return positive


def logistic(X: Array) -> Array:
    """1 / (1 + exp(−x))."""
    from scipy.special import expit

    done: Array = expit(X)
    return done


ACTIVATIONS: dict[str, Step | None] = {"identity": None, "relu": relu, "tanh": np.tanh, "logistic": logistic,
                                       "softmax": softmax}


def dense(layers: list[tuple[Array, Array, Step | None]]) -> Step:
    """A stack of fully connected layers: (weights (d, h), shifts (h,), activation) each. Gives (n, outputs)."""
    layers = [(np.ascontiguousarray(weights), shift, act) for weights, shift, act in layers]

    def run(X: Array) -> Array:
        for place, (weights, shift, act) in enumerate(layers):
            X = times(X, weights) + shift
            if place == 0 and not np.isfinite(X).all():
                return np.full((len(X), len(layers[-1][1])), np.nan)
            if act is not None:
                X = act(X)
        return X
    return run


def _perceptron(fitted: Any) -> Step:
    acts = [fitted.activation] * (len(fitted.coefs_) - 1) + [fitted.out_activation_]
    if any(act not in ACTIVATIONS for act in acts):
        raise Unknown(f"{name_of(fitted)} with {acts[-1]}")
    run = dense([(weights, shift, ACTIVATIONS[act])
                 for weights, shift, act in zip(fitted.coefs_, fitted.intercepts_, acts, strict=True)])
    if not hasattr(fitted, "classes_"):
        if fitted.n_outputs_ != 1:
            raise Unknown(f"{name_of(fitted)} of several targets")
        return lambda X: run(X)[:, 0]
    if fitted.n_outputs_ != 1:
        return run

    return lambda X: pair(run(X)[:, 0])


def _kernel(fitted: Any) -> Step:
    """Σ αᵢ exp(−γ ‖zᵢ − x‖²) + b, distances taken as they are, not through x² − 2xz + z²."""
    wants(fitted, kernel="rbf")
    if name_of(fitted) == "SVR":
        support, weights, gamma = fitted.support_vectors_, fitted.dual_coef_, fitted._gamma
        shift = float(fitted.intercept_[0])
    else:
        support, weights, gamma, shift = fitted.X_fit_, fitted.dual_coef_, fitted.gamma, 0.0
    if not isinstance(support, np.ndarray) or not len(support) or np.size(weights) != len(support):
        raise Unknown(f"{name_of(fitted)} of sparse rows or several targets")
    line = np.ravel(weights)
    gamma = 1.0 / support.shape[1] if gamma is None else float(gamma)
    step = max(1, _CHUNK_CELLS // support.size)

    def run(X: Array) -> Array:
        if not np.isfinite(X).all():
            return np.full(len(X), np.nan)
        parts = []
        for at in range(0, len(X), step):
            apart = X[at:at + step, None, :] - support
            near = np.exp(-gamma * np.add.reduce(apart * apart, axis=2))
            parts.append(times(near, line))
        return (parts[0] if len(parts) == 1 else np.concatenate(parts)) + shift
    return run


def _searched(fitted: Any) -> Step:
    found = fitted.best_estimator_
    if name_of(found) == "Pipeline":
        ahead, last = chain([transformer(step) for _, step in found.steps[:-1]]), model(found.steps[-1][1])
        return last if ahead is None else lambda X: last(ahead(X))
    return model(found)


def _target(fitted: Any) -> Step:
    scaler = fitted.transformer_
    if name_of(scaler) != "StandardScaler" or fitted.regressor_ is None:
        raise Unknown(f"TransformedTargetRegressor with {name_of(scaler)}")
    inner, scale, mean = model(fitted.regressor_), float(scaler.scale_[0]), float(scaler.mean_[0])
    return lambda X: inner(X) * scale + mean


def _constant(fitted: Any) -> Step:
    value = float(np.ravel(fitted.constant_)[0])
    return lambda X: np.full(len(X), value)


_MODELS: dict[str, Callable[[Any], Step]] = {
    "LogisticRegression": _logistic, "LogisticRegressionCV": _logistic, "MLPRegressor": _perceptron,
    "MLPClassifier": _perceptron, "GridSearchCV": _searched, "TransformedTargetRegressor": _target,
    "DummyRegressor": _constant, "SVR": _kernel, "KernelRidge": _kernel}


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and value != value
