"""Which way of computing a version's answers is the fastest that gives the same answers?

`choose` replays held-out rows, and rows made from them (each column far outside, each missing), through the estimator
and through a faster form of it: NumPy formulas, or treelite for trees. Only where every answer agrees within the
tolerance, no class changes, and both refuse the same rows, the faster form is taken; else the estimator itself, with
the reason. What was measured is recorded with the version; `build` makes the recorded form again when it is loaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trimtab.flavors import formulas, trees
from trimtab.flavors.formulas import Array, Step, Unknown, chain, transformer

TOLERANCE = 1e-9
NUMPY, TREELITE = "numpy", "treelite"
_FORMS = {NUMPY: formulas.model, TREELITE: trees.model}
_MOST_ROWS, _MOST_COLUMNS, _ALONE = 2_000, 100, 32
_FAR = 1e3                                     # how many spreads of a column the extreme rows lie outside
_REFUSALS = (ValueError, TypeError, OverflowError, FloatingPointError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """How a version's answers are computed.

    tier: "numpy", "treelite", or the estimator's own library. difference: the largest seen over `rows` replayed rows,
    rounded up to a power of ten, relative to the answer's size (for probabilities absolute). row_invariant: the answer
    for a row did not depend, to the last bit, on the rows asked with it. why: a sentence.
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

    def predict(self, X: Array) -> Any:
        """Numbers, shape (rows,); a classifier is asked for probabilities, so its own labels are rarely wanted."""
        if hasattr(self, "classes_"):
            return self.own.predict(X)
        found = self.answer(X)
        return found if np.isfinite(found).all() else self.own.predict(X)

    def _shares(self, X: Array) -> Any:
        found = self.answer(X)
        return found if np.isfinite(found).all() else self.own.predict_proba(X)


def choose(estimator: Any, X: Array, *, threshold: tuple[int, float] | None = None) -> Tier:
    """The fastest form whose answers on the replayed rows are the estimator's own.

    X: held-out rows, encoded, shape (n, features), n ≥ 1. threshold: (column of the positive class, its threshold).
    """
    reasons = []
    for name in _FORMS:
        try:
            fast = _build(estimator, name)
        except Unknown as unknown:
            reasons.append(f"{name}: no form of {unknown}")
            continue
        rows, difference, why = _replay(estimator, fast, X, threshold)
        if why:
            reasons.append(f"{name}: {why}")
            continue
        return Tier(tier=name, tolerance=TOLERANCE, difference=difference, rows=rows,
                    row_invariant=_invariant(fast, X), why="agrees with the estimator on every replayed row")
    return Tier(tier=library(estimator), rows=len(X), row_invariant=_invariant(estimator, X), why="; ".join(reasons))


def build(estimator: Any, told: object) -> Any:
    """The form that a version's facts tell of (`Tier.to_json`), or None: the estimator itself answers.

    None also where the form can't be made here, as under another release of a library: its answers are the same.
    """
    name = told.get("tier") if isinstance(told, Mapping) else None
    if name not in _FORMS:
        return None
    try:
        return _build(estimator, str(name))
    except Unknown:
        return None


def library(estimator: Any) -> str:
    """Whose predict it is: `scikit-learn`, or the package of an estimator of another kind.

    >>> library(3)
    'builtins'
    """
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    home = getattr(last, "library", type(last).__module__.partition(".")[0])
    return "scikit-learn" if home == "sklearn" else str(home)


def _build(estimator: Any, name: str) -> Fast:
    """Raises Unknown."""
    is_classifier = hasattr(estimator, "classes_")
    if is_classifier and not hasattr(estimator, "predict_proba"):
        raise Unknown("a classifier without probabilities")
    steps: Sequence[Any] = [step for _, step in estimator.steps] if hasattr(estimator, "steps") else [estimator]
    try:
        last = steps[-1].formula() if name == NUMPY and hasattr(steps[-1], "formula") else _FORMS[name](steps[-1])
        ahead = chain([transformer(step) for step in steps[:-1]])
    except (AttributeError, LookupError) as missing:         # an attribute that another release has, or an odd state
        raise Unknown(f"{formulas.name_of(steps[-1])} of this release ({missing})") from None
    answer = last if ahead is None else lambda X: last(ahead(X))
    return Fast(estimator, answer, classes=is_classifier)


def _replay(own: Any, fast: Any, X: Array, threshold: tuple[int, float] | None) -> tuple[int, float, str]:
    """(rows replayed, largest difference, why it can't be taken: empty where it can)."""
    worst, rows, size = 0.0, 0, 1.0
    for what, group in _groups(X):
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
        if not apart <= TOLERANCE:
            return rows, worst, f"differs by {apart:.1e} for {what}, over the tolerance of {TOLERANCE:.0e}"
        if want.ndim == 2 and not np.array_equal(_picked(want, threshold), _picked(got, threshold)):
            return rows, worst, f"another class for {what}"
    return rows, _rounded(worst), ""


def _groups(X: Array) -> Iterator[tuple[str, Array]]:
    """Held-out rows as they are; rows far outside, one column at a time and all together; rows with values missing."""
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


def _ask(model: Any, X: Array) -> Array | None:
    """Numbers or probabilities; None where the model refuses the rows."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
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
