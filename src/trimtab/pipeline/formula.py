"""What does a model compute, written out with its numbers, and which training rows carried a prediction?

Kernel machines: ŷ(x) = Σ αᵢ K(xᵢ, x; θ) + b. Linear models: ŷ = b + Σ βⱼ xⱼ in the columns' own units, found by asking
the fitted pipeline itself (it is affine in each column, so one step along a column shows its weight).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.pipeline.machine import core, unwrap
from trimtab.pipeline.model import Array, Feature, Index, Label

_RESOLVED = 32 * float(np.finfo(np.float64).eps)
_LINEAR = {"LinearRegression", "Ridge", "Lasso", "LogisticRegression", "ElasticNet", "RidgeCV", "LassoCV",
           "BayesianRidge"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTerms:
    """One sum behind a prediction: total = Σ coefficients · kernel + intercept, the model's own decision value.

    rows: shape (m,), positions among the training rows (`split.train[rows]` are rows of the dataset); coefficients and
    kernel: (m,). pair: positions of the classes that the sum tells apart (positive → the first of a pair of many
    classes, the second of two, as scikit-learn has it); empty for regression.
    """

    rows: Index
    coefficients: Array
    kernel: Array
    intercept: float
    total: float
    pair: tuple[int, ...] = ()

    def strongest(self, most: int = 5) -> tuple[tuple[int, float], ...]:
        """(training row, its term) of the rows with the largest |αᵢ K|."""
        parts = self.coefficients * self.kernel
        order = np.argsort(-np.abs(parts), kind="stable")[:most]
        return tuple((int(self.rows[i]), float(parts[i])) for i in order)


def terms(pipeline: Any, x: Array) -> tuple[KernelTerms, ...]:
    """The sums behind the prediction of one encoded row x, shape (features,): one, or one per pair of classes.

    Empty for a model that is no kernel machine.
    """
    machine = unwrap(pipeline)
    if machine is None:
        return ()
    kernel = machine.values(np.asarray(x, dtype=np.float64).reshape(1, -1))[0]
    return tuple(
        KernelTerms(rows=machine.rows, coefficients=alpha, kernel=kernel, intercept=float(b),
                    total=float(alpha @ kernel + b), pair=machine.pairs[line] if machine.pairs else ())
        for line, (alpha, b) in enumerate(zip(machine.coefficients, machine.intercepts, strict=True)))


def decision_values(pipeline: Any, X: Array) -> Array:
    """The model's own values that `terms` explains, shape (rows, sums): predictions, or the classifier's decisions."""
    model, _, _, before = core(pipeline)
    if not hasattr(model, "decision_function"):
        return np.asarray(pipeline.predict(X), dtype=np.float64).reshape(len(X), -1)
    prepared = X if before is None else before.transform(X)
    values: Array = np.asarray(model.decision_function(prepared), dtype=np.float64).reshape(len(X), -1)
    return values


def is_linear(pipeline: Any) -> bool:
    """Is it a linear model of the columns that its preprocessing makes?"""
    return type(core(pipeline)[0]).__name__ in _LINEAR


def telling(sums: Sequence[KernelTerms], answer: Array) -> KernelTerms:
    """The sum that tells the likeliest class from the next; answer: a score per class (any number for one sum)."""
    if len(sums) == 1:
        return sums[0]
    first, second = np.argsort(-answer)[:2].tolist()
    return next((one for one in sums if set(one.pair) == {first, second}),
                next((one for one in sums if one.pair == (first,)), sums[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearForm:
    """answer = intercept + Σ weight · term. of: the class whose log-odds or score this is, "" for regression."""

    intercept: float
    weights: tuple[tuple[str, float], ...]
    of: str = ""


def linear_forms(pipeline: Any, features: Sequence[Feature], classes: Sequence[Label] = ()) -> tuple[LinearForm, ...]:
    """A linear model in the columns' own units; one form, or one per class for more than two. Empty for others.

    A weight is a difference of two answers; one below what rounding makes of equal answers (32 ε of the largest of
    them) can't be told from 0, and is 0; so is the intercept.
    """
    if not is_linear(pipeline):
        return ()
    base = np.array([-1.0 if f.kind == "category" else 0.0 for f in features])
    names: list[str] = []
    probes = [base]
    for j, f in enumerate(features):
        steps = list(enumerate(f.categories)) if f.kind == "category" else [(1, "")]
        for value, category in steps:
            names.append(f"[{f.name} = {category}]" if f.kind == "category" else f.name)
            probes.append(np.where(np.arange(len(base)) == j, float(value), base))
        if f.missing:
            names.append(f"[{f.name} missing]")
            probes.append(np.where(np.arange(len(base)) == j, np.nan, base))
    values = decision_values(pipeline, np.vstack(probes))
    labels = [""] if not classes else [str(classes[-1])] if len(classes) == 2 else [str(c) for c in classes]
    if values.shape[1] != len(labels):         # a class was never seen in training
        return ()
    numbers = np.vstack([values[:1], values[1:] - values[0]])
    numbers[np.abs(numbers) <= _RESOLVED * np.abs(values).max(axis=0)] = 0.0
    return tuple(LinearForm(of=label, intercept=first, weights=tuple(zip(names, weights, strict=True)))
                 for label, (first, *weights) in zip(labels, numbers.T.tolist(), strict=True))


def formula(pipeline: Any, features: Sequence[Feature], classes: Sequence[Label] = (), *, most: int = 12) -> str:
    """The model for people, with its numbers; "" for trees and others that have no short formula."""
    machine = unwrap(pipeline)
    if machine is None:
        return "\n".join(_linear_line(form, most) for form in linear_forms(pipeline, features, classes))
    facts = "".join(f", {key}={value:.4g}" for key, value in machine.facts.items())
    what = "landmark" if machine.kind.startswith("Nyström") else "support"
    tail = f"K = {machine.shown_kernel}{facts}, {len(machine.rows):,} {what} rows"
    if not machine.pairs:
        return f"ŷ(x) = Σ αᵢ K(xᵢ, x; θ) {_signed(machine.intercepts[0])}, {tail}{_largest(machine.coefficients[0])}"
    lines = []
    for pair, b, alpha in zip(machine.pairs, machine.intercepts, machine.coefficients, strict=True):
        rows, sign = int(np.count_nonzero(alpha)), _pair(pair, classes, len(machine.pairs))
        lines.append(f"f(x) = Σ αᵢ K(xᵢ, x; θ) {_signed(b)} over {rows:,} rows, {sign}")
    return "\n".join([*lines, tail])


def _linear_line(form: LinearForm, most: int) -> str:
    shown = [(name, weight) for name, weight in form.weights if weight]
    if len(shown) > most:
        shown.sort(key=lambda item: -abs(item[1]))
    left = f"score of {form.of}" if form.of else "ŷ"
    right = "".join(f" {_signed(weight)}·{name}" for name, weight in shown[:most])
    more = f" + {len(shown) - most} more terms" if len(shown) > most else ""
    return f"{left} = {_number(form.intercept)}{right}{more}"


def _pair(pair: tuple[int, ...], classes: Sequence[Label], sums: int) -> str:
    names = [str(classes[i]) if i < len(classes) else str(i) for i in pair]
    if sums == 1:                              # scikit-learn turns the sign of two classes around
        names.reverse()
    return f"positive: {names[0]}, negative: {names[1] if len(names) == 2 else 'the others'}"


def _largest(alpha: Array) -> str:
    return f", largest |αᵢ| {_number(float(np.abs(alpha).max()))}" if alpha.size else ""


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'} {_number(abs(value))}"
