"""How does a model of another library look to scikit-learn's pipelines?  One base for networks, graphs and boosters.

It answers with one array of outputs; here these become numbers, or one probability per class. What it is given must be
finite numbers, as scikit-learn's own models ask, unless the model says that it knows missing values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from trimtab.errors import UntrustedModel

_KEPT = frozenset({"classes_", "config", "model", "output", "reference", "seed", "weights"})
_WITHIN = 1e-3                                 # of 1, as float32 and many classes leave it


class Outside(BaseEstimator):  # type: ignore[misc]
    """A fitted model of another library. Subclasses give `outputs`, and keep only what can be saved.

    classes_: sorted labels, for classes only. tolerance: what its own arithmetic leaves open. make: gives a new model
    and what its `fit` takes, for training here; not kept. seed: of that training.
    """

    library = ""
    tolerance = 1e-5
    knows_missing = False
    make: Callable[[], tuple[Any, dict[str, Any]]] | None = None
    _live: Any = None

    def __init__(self, make: Callable[[], tuple[Any, dict[str, Any]]] | None = None, seed: int = 0) -> None:
        self.make, self.seed = make, seed

    @classmethod
    def of(cls, model: Any, labels: Any = None) -> Any:
        """What was trained elsewhere. labels: sorted, for classes. Raises UsageError, UntrustedModel."""
        raise NotImplementedError

    def outputs(self, X: NDArray[np.float64]) -> NDArray[Any]:
        """The model's own answers, shape (rows,) or (rows, outputs)."""
        raise NotImplementedError

    def held(self, name: str, kind: type) -> Any:
        """A part of what was saved. Raises UntrustedModel where it is missing or of another kind."""
        found = self.__dict__.get(name)
        if not isinstance(found, kind):
            raise UntrustedModel(f"the {type(self).__name__} in the model file has no {name}: it is cut off or was put "
                                 "together by hand; nothing was loaded")
        return found

    def check(self) -> None:
        """Judge what is held, before it runs. Raises UntrustedModel."""

    def predict(self, X: Any) -> Any:
        """Numbers, shape (rows,), or labels."""
        if hasattr(self, "classes_"):
            return self.classes_[self._shares(X).argmax(axis=1)]
        found = self._asked(X)
        if found.size != len(found):
            raise UntrustedModel(f"the model answers a row with {found.shape[1:]} numbers, and one is wanted")
        return found.reshape(-1)

    def __getattr__(self, name: str) -> Any:
        if name == "predict_proba" and "classes_" in self.__dict__:
            return self._shares
        raise AttributeError(f"{type(self).__name__} has no {name}")

    def _shares(self, X: Any) -> NDArray[np.float64]:
        found = self._asked(X)
        classes = len(self.classes_)
        if classes == 2 and found.size == len(found):
            yes = found.reshape(-1)
            found = np.column_stack([1 - yes, yes])
        if found.shape != (len(found), classes):
            raise UntrustedModel(f"the model answers a row with {found.shape[1:]} numbers, and there are {classes} "
                                 "classes: the last layer must give one probability for each, or for the second of two")
        far = max(-found.min(initial=0), found.max(initial=0) - 1, np.abs(found.sum(axis=1) - 1).max(initial=0))
        if not far <= _WITHIN:
            raise UntrustedModel("the model's outputs are no probabilities (from 0 to 1, with the sum 1): give it a "
                                 "softmax or sigmoid at the end, or export probabilities instead of scores")
        return np.clip(found, 0, 1)

    def _asked(self, X: Any) -> NDArray[np.float64]:
        rows = np.ascontiguousarray(X, dtype=np.float64)
        if not np.isfinite(rows).all() and (not self.knows_missing or np.isinf(rows).any()):
            raise ValueError("Input contains NaN or infinity, which the model does not know")
        return np.asarray(self.outputs(rows), dtype=np.float64)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name in _KEPT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if strange := sorted(set(state) - _KEPT):            # one named like a method would stand in its place
            raise UntrustedModel(f"the {type(self).__name__} in the model file keeps {', '.join(strange)[:80]}, which "
                                 "it does not have; nothing was loaded")
        self.__dict__.update(state)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Any, y: Any) -> Any:
        """Train a new model; whole numbers as y are codes of classes. Raises ValueError where it is not known how."""
        if self.make is None:
            raise ValueError(f"how this {type(self).__name__} was trained is not known here")
        model, told = self.make()
        model.fit(np.asarray(X), np.asarray(y), **told)
        made = self.of(model, np.unique(y) if np.issubdtype(np.asarray(y).dtype, np.integer) else None)
        self.__dict__.update(made.__getstate__() | {"seed": self.seed})
        return self
