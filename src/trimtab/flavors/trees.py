"""What does a fitted forest or boosted ensemble answer, through treelite?

scikit-learn's forests look at their input in float32 (its boosted histograms in float64), so it is cast first: then
every comparison is the same one. Margins are asked for, and the link is ours, as treelite's is in float32. An
IsolationForest is another quantity there, and never taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trimtab.flavors.formulas import Array, Step, Unknown, name_of, pair, sigmoid, softmax

_FLOAT32 = frozenset(f"{name}{what}" for name in ("RandomForest", "ExtraTrees", "GradientBoosting")
                     for what in ("Regressor", "Classifier"))
_FLOAT64 = frozenset({"HistGradientBoostingRegressor", "HistGradientBoostingClassifier"})
_STRAIGHT, _LOGARITHMIC = ("squared_error", "absolute_error", "quantile", "huber"), ("poisson", "gamma")


def model(fitted: Any) -> Step:
    """The answers of a fitted ensemble on prepared columns: numbers (n,), or probabilities (n, classes).

    Not finite where the estimator itself would refuse the row. Raises Unknown: another model, or no treelite.
    """
    kind = name_of(fitted)
    if kind not in _FLOAT32 | _FLOAT64:
        raise Unknown(kind)
    if getattr(fitted, "n_outputs_", 1) != 1:
        raise Unknown(f"{kind} of several targets")
    try:
        import treelite.gtil
        import treelite.sklearn
    except ImportError:
        raise Unknown("treelite is not installed") from None
    try:
        trees = treelite.sklearn.import_model(fitted)
    except (treelite.TreeliteError, NotImplementedError, ValueError, AttributeError) as refused:
        raise Unknown(f"{kind}, which treelite refuses ({str(refused).splitlines()[0][:100]})") from None
    from sklearn.utils import get_tags

    narrow, may_miss = kind in _FLOAT32, get_tags(fitted).input_tags.allow_nan
    forest = kind.startswith(("RandomForest", "ExtraTrees"))
    link, width = _link(fitted, forest), fitted.n_features_in_
    predict = treelite.gtil.predict

    def run(X: Array) -> Array:
        if X.shape[1] != width:
            raise ValueError(f"the model takes {width} columns, not {X.shape[1]}")
        if narrow:
            with np.errstate(over="ignore"):
                X = X.astype(np.float32).astype(np.float64)
        seen = np.abs(X).max(initial=0)                     # NaN where one is missing, infinite where one is too large
        if seen == np.inf or (seen != seen and (not may_miss or np.isinf(X).any())):
            return np.full(len(X), np.nan)
        found: Array = predict(trees, np.ascontiguousarray(X), nthread=1, pred_margin=not forest)
        return link(found.reshape(len(X), -1))
    return run


def _link(fitted: Any, forest: bool) -> Step:
    """From what the trees sum up to, shape (n, outputs), to answers."""
    if hasattr(fitted, "classes_"):
        if forest:
            return _shares
        if fitted.loss != "log_loss":
            raise Unknown(f"{name_of(fitted)} with loss = {fitted.loss!r}")
        return (lambda found: sigmoid(found[:, 0])) if len(fitted.classes_) == 2 else softmax
    if forest or fitted.loss in _STRAIGHT:
        return lambda found: found[:, 0]
    if fitted.loss in _LOGARITHMIC:
        return lambda found: np.exp(found[:, 0])
    raise Unknown(f"{name_of(fitted)} with loss = {fitted.loss!r}")


def _shares(found: Array) -> Array:
    """A forest of two classes may answer with the second one's share alone."""
    return found if found.shape[1] > 1 else pair(found[:, 0])
