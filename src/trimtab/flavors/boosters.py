"""What does a model of XGBoost or LightGBM answer?  Kept in the library's own text or JSON form, never as a pickle."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import UntrustedModel, UsageError
from trimtab.flavors import table
from trimtab.flavors.outside import Outside

MAX_BYTES = 1 << 30


class _Booster(Outside):
    """model: the library's own form of the trees, UTF-8; missing values are known to both libraries."""

    knows_missing = True

    def check(self) -> None:
        """Raises UntrustedModel where the form is not the library's text."""
        if len(self.held("model", bytes)) > MAX_BYTES or not self._looks_right():
            raise UntrustedModel(f"the bytes are no model of {self.library}; nothing was loaded")

    def outputs(self, X: NDArray[np.float64]) -> NDArray[Any]:
        """Numbers, or probabilities."""
        if self._live is None:
            table.require(self.library)
            self.check()
            self._live = self._opened()
        return self._ask(X)

    def _looks_right(self) -> bool:
        raise NotImplementedError

    def _opened(self) -> Any:
        raise NotImplementedError

    def _ask(self, X: NDArray[np.float64]) -> NDArray[Any]:
        raise NotImplementedError

    @classmethod
    def _of(cls, data: bytes, labels: Any) -> Any:
        made = cls()
        made.model = data
        made.check()
        if labels is not None:
            made.classes_ = np.asarray(labels)
        return made


class XGBoost(_Booster):
    """A booster of XGBoost, as its JSON."""

    library = "xgboost"

    @classmethod
    def of(cls, model: Any, labels: Any = None) -> XGBoost:
        """An XGBRegressor, XGBClassifier or Booster that is trained."""
        booster = model if hasattr(model, "save_raw") else model.get_booster()
        if booster.attr("best_iteration") is not None:
            booster = booster[: int(booster.attr("best_iteration")) + 1]     # what its own predict uses
        booster = booster.copy()
        booster.feature_names = None                         # it is asked with a matrix
        return cls._of(bytes(booster.save_raw("json")), labels)  # type: ignore[no-any-return]

    def _looks_right(self) -> bool:
        return self.model.startswith(b"{") and b'"learner"' in self.model

    def _opened(self) -> Any:
        import xgboost

        opened = xgboost.Booster({"nthread": 1})
        try:
            opened.load_model(bytearray(self.model))
        except xgboost.core.XGBoostError as refused:
            raise UntrustedModel(f"XGBoost refuses the model: {str(refused).splitlines()[0][:160]}") from None
        return opened

    def _ask(self, X: NDArray[np.float64]) -> NDArray[Any]:
        found: NDArray[Any] = self._live.inplace_predict(X)
        return found


class LightGBM(_Booster):
    """A booster of LightGBM, as its text."""

    library = "lightgbm"
    tolerance = 1e-12

    @classmethod
    def of(cls, model: Any, labels: Any = None) -> LightGBM:
        """An LGBMRegressor, LGBMClassifier or Booster that is trained."""
        booster = model if hasattr(model, "model_to_string") else model.booster_
        if getattr(booster, "pandas_categorical", None):
            raise UsageError("the LightGBM model was trained on pandas categories, whose codes it would be asked "
                             "without; encode them in the rows")
        return cls._of(booster.model_to_string().encode(), labels)  # type: ignore[no-any-return]

    def _looks_right(self) -> bool:
        return bool(self.model.startswith(b"tree\nversion="))

    def _opened(self) -> Any:
        import lightgbm

        try:
            return lightgbm.Booster(model_str=self.model.decode())
        except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as refused:
            raise UntrustedModel(f"LightGBM refuses the model: {str(refused).splitlines()[0][:160]}") from None

    def _ask(self, X: NDArray[np.float64]) -> NDArray[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: NDArray[Any] = self._live.predict(X, num_threads=1)
        return found
