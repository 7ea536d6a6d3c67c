"""Which way of computing a version's answers is the fastest that gives the same answers?

`choose` replays held-out rows, and rows made from them (each column far outside, each missing), through the estimator
and through a faster form of it: NumPy formulas, treelite for trees, or a graph that was asked for. Only where every
answer agrees within the tolerance, no class changes, and both refuse the same rows, the faster form is taken; else the
estimator itself, with the reason. What was measured is recorded with the version; `build` makes the recorded form again
when it is loaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trimtab.errors import UntrustedModel
from trimtab.flavors import formulas, trees
from trimtab.flavors.formulas import Array, Step, Unknown, chain, transformer

TOLERANCE = 1e-9
GRAPH_TOLERANCE = 1e-5                         # float32 keeps seven digits
NUMPY, TREELITE, GRAPH = "numpy", "treelite", "onnxruntime"
_FORMS = {NUMPY: formulas.model, TREELITE: trees.model}
ROW_BY_ROW = frozenset(_FORMS)                 # whose sums are taken in an order that other rows do not change
_MOST_ROWS, _MOST_COLUMNS, _ALONE = 2_000, 100, 32
_EDGES = 20
_FAR = 1e3                                     # how many spreads of a column the extreme rows lie outside
_NOT_FINITE = np.array(np.nan)
_REFUSALS = (ValueError, TypeError, OverflowError, FloatingPointError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """How a version's answers are computed.

    tier: "numpy", "treelite", "onnxruntime" (converted), or the estimator's own library. difference: the largest seen
    over `rows` replayed rows, rounded up to a power of ten, relative to the answer's size (for probabilities absolute).
    row_invariant: the answer for a row did not depend, to the last bit, on the rows asked with it. why: a sentence.
    """

    tier: str
    tolerance: float = 0.0
    difference: float = 0.0
    rows: int = 0
    row_invariant: bool = False
    why: str = ""

    def to_json(self) -> dict[str, object]:
        """As a version's facts have it ("predict")."""
        return asdict(self)


class Fast:
    """A faster form of `own`, with its methods. Where the form's answer is not finite, `own` is asked instead."""

    def __init__(self, own: Any, answer: Step, *, classes: bool) -> None:
        self.own, self.answer = own, answer
        if classes:
            self.classes_ = own.classes_
            self.predict_proba = self._shares

    def by_itself(self) -> Fast:
        """The same without `own`: raises FloatingPointError where that would be asked."""
        return Fast(_Nobody(getattr(self.own, "classes_", None)), self.answer, classes=hasattr(self, "classes_"))

    def predict(self, X: Array) -> Any:
        """Numbers, shape (rows,); a classifier is asked for probabilities, so its own labels are rarely wanted."""
        if hasattr(self, "classes_"):
            return self.own.predict(X)
        found = self.answer(X)
        return found if np.isfinite(found).all() else self.own.predict(X)

    def _shares(self, X: Array) -> Any:
        found = self.answer(X)
        return found if np.isfinite(found).all() else self.own.predict_proba(X)


class _Nobody:
    """In the place of an estimator that is not to be asked."""

    def __init__(self, classes: Any) -> None:
        self.classes_ = classes

    def predict(self, X: Array) -> Any:
        """Raises."""
        raise FloatingPointError("an answer is not finite")

    predict_proba = predict


def choose(estimator: Any, X: Array, *, threshold: tuple[int, float] | None = None, graph: Any = None) -> Tier:
    """The fastest form whose answers on the replayed rows are the estimator's own.

    X: held-out rows, encoded, shape (n, features), n ≥ 1. threshold: (column of the positive class, its threshold).
    graph: the estimator as an ONNX graph (`onnx.converted`), taken before all others where it agrees.
    """
    reasons = []
    for name in (GRAPH, *_FORMS) if graph is not None else _FORMS:
        tolerance = GRAPH_TOLERANCE if name == GRAPH else max(TOLERANCE, getattr(_last(estimator), "tolerance", 0.0))
        try:
            fast = _build(estimator, name, graph)
            rows, difference, why = _replay(estimator, fast, X, threshold, tolerance)
        except Unknown as unknown:
            reasons.append(f"{name}: no form of {unknown}")
            continue
        except UntrustedModel as refused:
            reasons.append(f"{name}: {refused}")
            continue
        if why:
            reasons.append(f"{name}: {why}")
            continue
        reasons.append("agrees with the estimator on every replayed row")
        return Tier(tier=name, tolerance=tolerance, difference=difference, rows=rows,
                    row_invariant=_invariant(fast, X), why="; ".join(reasons))
    return Tier(tier=library(estimator), rows=len(X), row_invariant=_invariant(estimator, X), why="; ".join(reasons))


def build(estimator: Any, told: object, graph: Any = None) -> Any:
    """The form that a version's facts tell of (`Tier.to_json`), or None: the estimator itself answers.

    None also where the form can't be made here, as under another release of a library: its answers are the same.
    graph: the version's own, where it has one.
    """
    name = told.get("tier") if isinstance(told, Mapping) and told.get("tolerance") else None
    if name not in _FORMS and (name != GRAPH or graph is None):
        return None
    try:
        return _build(estimator, str(name), graph)
    except Unknown:
        return None


def library(estimator: Any) -> str:
    """Whose predict it is: `scikit-learn`, or the package of an estimator of another kind.

    >>> library(3)
    'builtins'
    """
    last = _last(estimator)
    home = getattr(last, "library", type(last).__module__.partition(".")[0])
    return "scikit-learn" if home == "sklearn" else str(home)


def _last(estimator: Any) -> Any:
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


def _build(estimator: Any, name: str, graph: Any = None) -> Fast:
    """Raises Unknown."""
    is_classifier = hasattr(estimator, "classes_")
    if is_classifier and not hasattr(estimator, "predict_proba"):
        raise Unknown("a classifier without probabilities")
    if name == GRAPH:
        ask = graph.predict_proba if is_classifier else graph.predict    # of missing values it may know something else
        return Fast(estimator, lambda X: ask(X) if np.isfinite(X).all() else _NOT_FINITE, classes=is_classifier)
    steps: Sequence[Any] = [step for _, step in estimator.steps] if hasattr(estimator, "steps") else [estimator]
    try:
        last = steps[-1].formula() if name == NUMPY and hasattr(steps[-1], "formula") else _FORMS[name](steps[-1])
        ahead = chain([transformer(step) for step in steps[:-1]])
    except (AttributeError, LookupError) as missing:         # an attribute that another release has, or an odd state
        raise Unknown(f"{formulas.name_of(steps[-1])} of this release ({missing})") from None
    answer = last if ahead is None else lambda X: last(ahead(X))
    return Fast(estimator, answer, classes=is_classifier)


def _replay(own: Any, fast: Any, X: Array, threshold: tuple[int, float] | None,
            tolerance: float) -> tuple[int, float, str]:
    """(rows replayed, largest difference, why it can't be taken: empty where it can)."""
    worst, rows, size = 0.0, 0, 1.0
    for what, group in _groups(X, own):
        want, got = _ask(own, group), _ask(fast, group)
        rows += len(group)
        if want is None or got is None:
            if (want is None) is not (got is None):
                return rows, worst, f"{'it' if got is None else 'the estimator'} refuses {what}"
            continue
        if want.shape != got.shape:
            return rows, worst, f"its answers have shape {got.shape}, not {want.shape}"
        if want.ndim == 1 and what == "held-out rows":
            size = float(np.median(np.abs(want))) or 1.0
        apart = float((np.abs(got - want) / (np.maximum(np.abs(want), size) if want.ndim == 1 else 1.0)).max())
        worst = max(worst, apart)
        if not apart <= tolerance:
            return rows, worst, f"differs by {apart:.1e} for {what}, over the tolerance of {tolerance:.0e}"
        if want.ndim == 2 and not np.array_equal(_picked(want, threshold), _picked(got, threshold)):
            return rows, worst, f"another class for {what}"
    return rows, _rounded(worst), ""


def _groups(X: Array, own: Any) -> Iterator[tuple[str, Array]]:
    """Held-out rows as they are; rows far outside, one column at a time and all together; rows with values missing;
    for trees that see the columns as they are, rows on their thresholds and beside them."""
    X = X[:_MOST_ROWS]
    yield "held-out rows", X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)      # a column that is missing throughout
        middle, low, high = (np.nan_to_num(value) for value in (
            np.nanmedian(X, axis=0), np.nanmin(X, axis=0), np.nanmax(X, axis=0)))
    spread = np.where(high > low, high - low, 1.0)
    columns = range(min(X.shape[1], _MOST_COLUMNS))
    far = [low, high, np.zeros(X.shape[1])]
    for place in columns:
        for value in (low[place], high[place], high[place] + _FAR * spread[place], low[place] - _FAR * spread[place]):
            row = middle.copy()
            row[place] = value
            far.append(row)
    yield "rows far outside of what was seen", np.array(far)
    for place in columns:
        row = middle.copy()
        row[place] = np.nan
        yield f"rows with column {place + 1} missing", row[None, :]
    yield "rows with every value missing", np.full((1, X.shape[1]), np.nan)
    edges = [(column, value) for column, value in _thresholds(own) if column < X.shape[1]]
    if edges:
        rows = np.tile(X[0], (3 * len(edges), 1))
        for place, (column, value) in enumerate(edges):
            rows[3 * place:3 * place + 3, column] = value, np.nextafter(value, np.inf), np.float32(value)
        yield "rows on a tree's threshold", rows


def _thresholds(own: Any) -> list[tuple[int, float]]:
    """Columns and values at which the trees of an ensemble split, some of each tree."""
    last, found = _last(own), list[tuple[int, float]]()
    if last is not own and any(step not in ("passthrough", None) for _, step in own.steps[:-1]):
        return found
    for tree in np.ravel(np.asarray(getattr(last, "estimators_", ()), dtype=object))[:_EDGES]:
        if hasattr(tree, "tree_"):
            inner = np.flatnonzero(tree.tree_.feature >= 0)[:_EDGES]
            found += zip(tree.tree_.feature[inner].tolist(), tree.tree_.threshold[inner].tolist(), strict=True)
    for predictor in [one for stage in getattr(last, "_predictors", ())[:_EDGES] for one in stage]:
        nodes = predictor.nodes[(predictor.nodes["is_leaf"] == 0) & (predictor.nodes["is_categorical"] == 0)][:_EDGES]
        found += zip(nodes["feature_idx"].tolist(), nodes["num_threshold"].tolist(), strict=True)
    return [(column, value) for column, value in found if np.isfinite(value)]


def _ask(model: Any, X: Array) -> Array | None:
    """Numbers or probabilities; None where the model refuses the rows."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")        # what it warns of, it said at the evaluation
        try:
            found = np.asarray(getattr(model, "predict_proba", model.predict)(X), dtype=np.float64)
        except _REFUSALS:
            return None
    return found if np.isfinite(found).all() else None


def _picked(shares: Array, threshold: tuple[int, float] | None) -> Any:
    return shares.argmax(axis=1) if threshold is None else shares[:, threshold[0]] >= threshold[1]


def _invariant(model: Any, X: Array) -> bool:
    rows = X[:_ALONE]
    together = _ask(model, rows)
    if together is None or len(rows) < 2:
        return False
    alone = [_ask(model, rows[place:place + 1]) for place in range(len(rows))]
    return all(one is not None and np.array_equal(one[0], together[place]) for place, one in enumerate(alone))


def _rounded(difference: float) -> float:
    """Up to a power of ten, so that the last bits of another processor make no other version.

    >>> _rounded(3e-16), _rounded(2e-12), _rounded(0.0)
    (1e-15, 1e-11, 0.0)
    """
    if difference == 0:
        return 0.0
    return float(f"1e{max(-15, int(np.ceil(np.log10(difference))))}")
