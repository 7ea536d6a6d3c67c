"""What sum of kernels is a fitted model?

Looks through preprocessing, target scaling, calibration and Nyström's map, and finds the one form behind all of them:
f(x) = Σᵢ αᵢ K(zᵢ, x) + b, one such sum for a regression or two classes, one per pair of classes for more (libsvm), one
per class for the linear machines that Nyström's method ends in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from trimtab.pipeline.model import Array, Index

_SHOWN_KERNELS = {"rbf": "RBF exp(−γ‖xᵢ − x‖²)", "linear": "linear ⟨xᵢ, x⟩", "poly": "polynomial (γ⟨xᵢ, x⟩ + c)ᵈ",
                  "polynomial": "polynomial (γ⟨xᵢ, x⟩ + c)ᵈ", "sigmoid": "sigmoid tanh(γ⟨xᵢ, x⟩ + c)",
                  "laplacian": "Laplacian exp(−γ‖xᵢ − x‖₁)", "cosine": "cosine ⟨xᵢ, x⟩ / ‖xᵢ‖‖x‖"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelMachine:
    """A fitted kernel model in its one form.

    support: shape (m, prepared columns), the rows zᵢ after preprocessing; rows: (m,), their positions among the
    training rows, -1 where unknown; coefficients: (sums, m) in units of the answer; intercepts: (sums,); pairs: which
    classes (positions) each sum tells apart, empty for regression. facts: what people read (λ, C, ε …).
    """

    kind: str
    kernel: str
    theta: dict[str, float]
    support: Array
    rows: Index
    coefficients: Array
    intercepts: Array
    pairs: tuple[tuple[int, ...], ...] = ()
    magnitudes: Array | None = None           # (sums, m): what |coefficients| would be without cancelling in them
    facts: dict[str, float] = field(default_factory=dict)
    prepare: Any = None

    def prepared(self, X: Array) -> Array:
        """Encoded rows, shape (rows, features), as the kernel sees them."""
        done: Array = X if self.prepare is None else self.prepare.transform(X)
        return done

    def values(self, X: Array) -> Array:
        """K(zᵢ, x), shape (rows, m), for encoded rows X."""
        from sklearn.metrics.pairwise import pairwise_kernels

        found: Array = pairwise_kernels(self.prepared(X), self.support, metric=self.kernel, **self.theta)
        return found

    def rounding(self, X: Array) -> float:
        """How far apart two answers for the same row can be by rounding alone: the standard bound of the sums, and of
        squared distances made from products; the largest over rows X and sums. 0 where no bound is known (other
        kernels than RBF and linear).
        """
        if self.kernel not in ("rbf", "linear"):
            return 0.0
        x, z = self.prepared(X), self.support
        sizes = (x**2).sum(1)[:, None] + (z**2).sum(1)
        K = np.abs(self.values(X)) if self.kernel == "rbf" else np.sqrt((x**2).sum(1)[:, None] * (z**2).sum(1))
        steps = 2 * len(z) + (z.shape[1] + 4) * (1 + 2 * self.theta.get("gamma", 0.0) * sizes)
        weights = np.abs(self.coefficients) if self.magnitudes is None else self.magnitudes
        return float(2 * np.finfo(np.float64).eps * ((K * steps) @ weights.T).max())

    @property
    def shown_kernel(self) -> str:
        """K and its numbers: `RBF exp(−γ‖xᵢ − x‖²), γ=0.05`."""
        numbers = [f"{'γ' if key == 'gamma' else 'd' if key == 'degree' else 'c'}={value:.4g}"
                   for key, value in self.theta.items()]
        return ", ".join([_SHOWN_KERNELS.get(self.kernel, self.kernel), *numbers])


def core(pipeline: Any) -> tuple[Any, float, float, Any]:
    """The fitted machine inside wrappers: (estimator, scale of y, shift of y, everything before it or None)."""
    from sklearn.pipeline import Pipeline

    before: Any = None
    model = pipeline
    if isinstance(model, Pipeline):
        before, model = (model[:-1] if len(model) > 1 else None), model[-1]
    scale, shift = 1.0, 0.0
    if hasattr(model, "regressor_"):
        scaler = model.transformer_
        if not (hasattr(scaler, "scale_") and hasattr(scaler, "mean_")):
            return model, scale, shift, before
        scale, shift = float(scaler.scale_[0]), float(scaler.mean_[0])
        model = model.regressor_
    if len(getattr(model, "calibrated_classifiers_", ())) == 1:
        model = model.calibrated_classifiers_[0].estimator
    return model, scale, shift, before


def unwrap(pipeline: Any) -> KernelMachine | None:
    """The sum of kernels that a fitted pipeline computes, or None where it is no kernel machine."""
    from sklearn.pipeline import Pipeline

    model, scale, shift, before = core(pipeline)
    kind = type(model).__name__
    if isinstance(model, Pipeline) and len(model) == 2 and type(model[0]).__name__ == "Nystroem":
        return _nystroem(model, scale, shift, before)
    if callable(getattr(model, "kernel", None)) or getattr(model, "kernel", None) == "precomputed":
        return None
    if kind == "KernelRidge":
        rows = len(model.X_fit_)
        return KernelMachine(
            kind="kernel ridge", kernel=model.kernel, theta=_theta(model, model.gamma), support=model.X_fit_,
            rows=np.arange(rows), coefficients=scale * model.dual_coef_.reshape(1, rows),
            intercepts=np.array([shift]), facts={"λ": float(model.alpha)}, prepare=before)
    if kind == "SVR":
        return KernelMachine(
            kind="SVR", kernel=model.kernel, theta=_theta(model, model._gamma), support=model.support_vectors_,
            rows=model.support_.astype(np.int64), coefficients=scale * model.dual_coef_,
            intercepts=scale * model.intercept_ + shift,
            facts={"C": float(model.C), "ε": scale * float(model.epsilon)}, prepare=before)
    if kind == "SVC":
        coefficients, pairs = _pairs(model)
        return KernelMachine(
            kind="SVC", kernel=model.kernel, theta=_theta(model, model._gamma), support=model.support_vectors_,
            rows=model.support_.astype(np.int64), coefficients=coefficients, intercepts=model.intercept_, pairs=pairs,
            facts={"C": float(model.C)}, prepare=before)
    return None


def _nystroem(model: Any, scale: float, shift: float, before: Any) -> KernelMachine:
    """φ(x) = K(x, Z) Nᵀ and f = wᵀφ + b, so αᵢ = (wᵀN)ᵢ."""
    mapped, machine = model[0], model[1]
    weights = np.atleast_2d(machine.coef_) @ mapped.normalization_
    magnitudes = np.abs(np.atleast_2d(machine.coef_)) @ np.abs(mapped.normalization_)
    classes = tuple(range(len(getattr(machine, "classes_", ()))))
    pairs = () if not classes else ((0, 1),) if len(classes) == 2 else tuple((c,) for c in classes)
    facts = {"λ": float(machine.alpha)} if hasattr(machine, "alpha") else {"C": float(machine.C)}
    return KernelMachine(
        kind="Nyström approximation", kernel=mapped.kernel, theta=_theta(mapped, mapped.gamma),
        support=mapped.components_, rows=mapped.component_indices_.astype(np.int64), coefficients=scale * weights,
        magnitudes=scale * magnitudes,
        intercepts=scale * np.atleast_1d(machine.intercept_) + shift, pairs=pairs, facts=facts, prepare=before)


def _theta(model: Any, gamma: float | None) -> dict[str, float]:
    """The numbers that the kernel in use has; a `gamma` of None is scikit-learn's 1/columns."""
    if gamma is None:
        width = model.components_.shape[1] if hasattr(model, "components_") else model.X_fit_.shape[1]
        gamma = 1.0 / width
    theta: dict[str, float] = {}
    if model.kernel in ("rbf", "laplacian", "poly", "polynomial", "sigmoid"):
        theta["gamma"] = float(gamma)
    if model.kernel in ("poly", "polynomial"):
        theta["degree"] = 3.0 if model.degree is None else float(model.degree)
    if model.kernel in ("poly", "polynomial", "sigmoid"):
        theta["coef0"] = 1.0 if model.coef0 is None else float(model.coef0)
    return theta


def _pairs(model: Any) -> tuple[Array, tuple[tuple[int, ...], ...]]:
    """libsvm's packed duals as one row per pair of classes; shape (pairs, support rows).

    Of pair i < j, the duals of class i's rows stand in line j − 1, those of class j's rows in line i.
    """
    count = len(model.classes_)
    if count == 2:
        return model.dual_coef_, ((0, 1),)
    ends = np.cumsum(model.n_support_)
    span = [slice(end - size, end) for end, size in zip(ends, model.n_support_, strict=True)]
    pairs = tuple(combinations(range(count), 2))
    unpacked = np.zeros((len(pairs), int(ends[-1])))
    for line, (i, j) in enumerate(pairs):
        unpacked[line, span[i]] = model.dual_coef_[j - 1, span[i]]
        unpacked[line, span[j]] = model.dual_coef_[i, span[j]]
    return unpacked, pairs
