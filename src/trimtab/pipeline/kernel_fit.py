"""How is kernel ridge solved in one copy of its matrix?

scikit-learn's own fit keeps the matrix and hands copies to the solver (24 n² bytes at its peak with SciPy 1.17). Here
the Cholesky factor overwrites the matrix. Fitted objects are turned back into scikit-learn's class by `kernel.fit`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import pairwise_kernels


class InPlaceKernelRidge(KernelRidge):  # type: ignore[misc]  # scikit-learn has no types
    """KernelRidge whose fit holds one n × n matrix."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> InPlaceKernelRidge:
        """Solve (K + αI) a = y. X: shape (n, p); y: (n,) or (n, 1). Singular or odd cases: scikit-learn's own fit."""
        self._validate_params()
        single = np.isscalar(self.alpha) and sample_weight is None and self.kernel != "precomputed"
        if not single or callable(self.kernel):
            return self._theirs(X, y, sample_weight)
        X = np.asarray(X, dtype=np.float64)
        K = pairwise_kernels(X, metric=self.kernel, filter_params=True, gamma=self.gamma, degree=self.degree,
                             coef0=self.coef0)
        K.flat[::len(K) + 1] += self.alpha
        try:                                   # K is symmetric: its transpose is the same matrix, in LAPACK's order
            factor = cho_factor(K.T, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError:
            del K
            return self._theirs(X, y, sample_weight)
        self.dual_coef_ = cho_solve(factor, np.asarray(y, dtype=np.float64), check_finite=False)
        self.X_fit_, self.n_features_in_ = X, X.shape[1]
        return self

    def _theirs(self, X: Any, y: Any, sample_weight: Any) -> InPlaceKernelRidge:
        super().fit(X, y, sample_weight)
        return self
