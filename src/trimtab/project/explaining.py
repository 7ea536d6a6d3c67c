"""Why was this answered?  The terms that sum to one prediction.

Linear models: coefficient × centred input, a term a raw column. Kernel machines: αᵢ K(xᵢ, x) of the training rows, and
b, which sum to the decision value. Anything else: sampled Shapley values of the raw columns with their standard errors
(`stats.shapley`), drawn by the prediction's id, so that the same prediction is explained the same way again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from trimtab.canon import Digest
from trimtab.data.encode import encode
from trimtab.errors import CheckFailed, NotFound
from trimtab.project.replaying import why_not
from trimtab.registry.bundle import Array, Bundle, decode, load_bundle
from trimtab.workspace import Workspace

MOST_ROWS: Final = 16                          # of a request that may ask for explanations
_BACKGROUND, _LEAST_BACKGROUND = 100, 10
_MOST_ANSWERS: Final = 20_000                  # of one Shapley explanation
_STRONGEST: Final = 10
Method = Literal["linear", "kernel", "shapley"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One term. name: a raw column, or "training row 17" (from 0); value: the column's, as it came. coefficient: per
    unit of the column, or αᵢ; kernel: K(xᵢ, x); error: the standard error of a sampled amount."""

    name: str
    amount: float
    value: object = None
    coefficient: float | None = None
    kernel: float | None = None
    error: float | None = None

    def to_json(self) -> dict[str, object]:
        """The fields that it has."""
        told = {"name": self.name, "value": self.value, "amount": self.amount, "coefficient": self.coefficient,
                "kernel": self.kernel, "error": self.error}
        return {key: one for key, one in told.items() if one is not None or (key == "value" and self.kernel is None)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """total = base + Σ parts + rest. of: what is explained, in words; rest: the sum of `more` smaller terms."""

    method: Method
    of: str
    base: float
    parts: tuple[Part, ...]
    total: float
    answer: object
    rest: float = 0.0
    more: int = 0
    source: str = ""

    def to_json(self) -> dict[str, object]:
        """As answers and `explain --json` have it."""
        return {"method": self.method, "of": self.of, "answer": self.answer, "base": self.base, "total": self.total,
                "terms": [part.to_json() for part in self.parts], "rest": self.rest, "more": self.more,
                "source": self.source}


class Explainer:
    """Explains predictions of a workspace's versions; keeps the background rows of those that it explained."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._backgrounds: dict[str, Array] = {}

    def recorded(self, prediction: str) -> tuple[str, Explanation]:
        """(version's name, explanation) of a recorded prediction. Raises NotFound, CheckFailed (it was redacted, or a
        fallback answered), Conflict (the version was deleted) and as `load_bundle`."""
        record, row = self._workspace.traffic.find(prediction)
        bundle = load_bundle(self._workspace.versions, self._workspace.versions.get(record.model, record.version))
        if why := why_not(record, row, tuple(bundle.contract.feature_names)):
            raise CheckFailed(f"{prediction} can't be explained: {why}", prediction=prediction)
        return bundle.name, self.explain(bundle, record.model, row.features, row.output, prediction)

    def explain(self, bundle: Bundle, model: str, row: Mapping[str, object], answer: object,
                prediction: str) -> Explanation:
        """Why `bundle` answered so. answer: what it answered to the row. Raises NotFound where the version was
        registered without its data, ContractViolation (row)."""
        x = bundle.encode_rows([row])
        if bundle.is_plain and (found := self._kernel(bundle, x[0], answer)) is not None:
            return found
        background = self._background(bundle, model)
        if bundle.is_plain and (found := _linear(bundle, row, x[0], background, answer)) is not None:
            return found
        return _shapley(bundle, row, x, background, answer, prediction)

    def _kernel(self, bundle: Bundle, x: Array, answer: object) -> Explanation | None:
        from trimtab.pipeline.formula import telling, terms

        sums = terms(bundle.estimator, x)
        if not sums:
            return None
        shares = bundle.predict(x[None]).probabilities
        own = bundle.own_classes
        scores = np.array([one == answer for one in own], dtype=np.float64) if shares is None else np.array(
            [shares[0, bundle.classes.index(one)] for one in own])
        one = telling(sums, scores)
        amounts = one.coefficients * one.kernel
        order = np.argsort(-np.abs(amounts), kind="stable")[:_STRONGEST]
        parts = tuple(Part(name=f"training row {one.rows[at]}" if one.rows[at] >= 0 else "a training row",
                           amount=float(amounts[at]), coefficient=float(one.coefficients[at]),
                           kernel=float(one.kernel[at])) for at in order)
        names = [str(own[at]) for at in one.pair]
        of = "the answer" if not names else f"the score of {names[0]}" if len(names) == 1 else (
            f"the decision value: positive for {names[1]}, negative for {names[0]}" if len(sums) == 1 else
            f"the decision value: positive for {names[0]}, negative for {names[1]}")
        return Explanation(method="kernel", of=of, base=one.intercept, parts=parts, total=one.total, answer=answer,
                           rest=float(np.delete(amounts, order).sum()),
                           more=int(np.count_nonzero(one.coefficients)) - len(order),
                           source="αᵢ K(xᵢ, x) of the strongest training rows; base is b")

    def _background(self, bundle: Bundle, model: str) -> Array:
        """Rows of the data that the version was made from, encoded; the same ones each time."""
        found = self._backgrounds.get(bundle.digest)
        if found is None:
            space = self._workspace
            named = space.versions.ingredient(space.versions.get(model, bundle.number), "data").get("dataset")
            if named is None:
                raise NotFound(f"{bundle.name} was registered without its data, so there is nothing to hold a row "
                               "against: it can't be explained")
            frame = space.datasets.load(Digest(str(named)))
            drawn = frame.sample(min(_BACKGROUND, frame.height), seed=0)
            self._backgrounds[bundle.digest] = found = encode(bundle.contract, drawn)
        return found


def _linear(bundle: Bundle, row: Mapping[str, object], x: Array, background: Array,
            answer: object) -> Explanation | None:
    from trimtab.pipeline.contributions import linear_terms

    own = bundle.own_classes
    stepped = [place for place, column in enumerate(bundle.contract.features)
               if column.type in ("number", "integer", "datetime")]
    column = own.index(answer) if answer in own else 0
    found = linear_terms(bundle.estimator, x, background, column, stepped)
    if found is None:
        return None
    label = "" if not own else own[1] if len(own) == 2 else answer
    parts = (Part(name=name, value=row.get(name), amount=float(amount),
                  coefficient=float(slope) if np.isfinite(slope) else None)
             for name, amount, slope in zip(bundle.contract.feature_names, found.parts, found.coefficients,
                                            strict=True))
    return Explanation(method="linear", of=f"the {found.of} of {label}" if own else "the answer", base=found.base,
                       parts=_strongest(parts), total=found.total, answer=answer,
                       source="coefficient × (value − mean); base is the mean over rows of the training data")


def _shapley(bundle: Bundle, row: Mapping[str, object], x: Array, background: Array, answer: object,
             prediction: str) -> Explanation:
    from trimtab.stats.shapley import Bits, Index, shapley

    columns = bundle.contract.features
    most = max(_LEAST_BACKGROUND, _MOST_ANSWERS // (2 * (len(columns) + 1)))
    background = background[:most]
    frame, others = bundle.frame_of([row], x), decode(bundle.contract, background)

    def ask(mask: Bits, rows: Index) -> Array:
        if bundle.is_plain:
            made = bundle.predict(np.where(mask, x, background[rows]))
        else:
            made = bundle.predict_frame(pl.DataFrame([
                frame[name].new_from_index(0, len(rows)).zip_with(pl.Series(mask[:, place]), others[name].gather(rows))
                for place, name in enumerate(bundle.contract.feature_names)]))
        if made.probabilities is not None and answer in bundle.classes:
            shares: Array = made.probabilities[:, bundle.classes.index(answer)]
            return shares
        if bundle.classes:
            return np.array([value == answer for value in made.values], dtype=np.float64)
        return np.array(made.values, dtype=np.float64)

    found = shapley(ask, len(columns), len(background), np.random.default_rng(
        int.from_bytes(hashlib.sha256(prediction.encode()).digest()[:8])))
    parts = (Part(name=name, value=row.get(name), amount=float(amount), error=float(error))
             for name, amount, error in zip(bundle.contract.feature_names, found.parts, found.errors, strict=True))
    return Explanation(method="shapley", of=f"the probability of {answer}" if bundle.classes else "the answer",
                       base=found.base, parts=_strongest(parts), total=found.base + float(found.parts.sum()),
                       answer=answer, source="sampled Shapley values (Štrumbelj & Kononenko 2014); base is the mean "
                       "answer to rows of the training data")


def _strongest(parts: Any) -> tuple[Part, ...]:
    return tuple(sorted(parts, key=lambda part: -abs(part.amount)))


def explanations(explainer: Explainer, bundle: Bundle, model: str, rows: Sequence[Mapping[str, object]],
                 ids: Sequence[str], values: Sequence[object], skip: Any = ()) -> list[dict[str, object] | None]:
    """One for each row of an answer; None for those in `skip`, which the model did not answer."""
    return [None if place in skip else explainer.explain(bundle, model, row, value, name).to_json()
            for place, (row, name, value) in enumerate(zip(rows, ids, values, strict=True))]
