"""What does a version answer?  The one way in which evaluation, serving and monitoring call a model.

A bundle is a loaded version: contract, facts (`model.json`), estimator and, where the project has one, its features
transform. Whoever has rows, a table or an encoded matrix gets the same numbers from the same code: what was tested is
what serves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from trimtab.data.contract import Column, Contract
from trimtab.errors import ContractViolation, MissingExtra, UntrustedModel, UsageError
from trimtab.registry import version_code
from trimtab.registry.model import Version

if TYPE_CHECKING:
    import polars as pl

    from trimtab.data.rows import RowChecker
    from trimtab.registry.versions import Versions

Array = NDArray[np.float64]
Label = str | int | bool
_DAY_US = 86_400_000_000
GRAPH_FILE = "model.onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Answers in the order of the rows. `values`: floats (regression) or class labels as the data has them.

    `probabilities`: shape (rows, classes), columns in the order of the facts' classes; None for regression and for
    classifiers that give none.
    """

    values: list[float] | list[Label]
    probabilities: Array | None = None

    def split(self, sizes: Iterable[int]) -> list[Prediction]:
        """These answers as those of as many requests as there are sizes (rows), in their order."""
        parts, start = [], 0
        for size in sizes:
            mine = slice(start, start := start + size)
            parts.append(Prediction(values=self.values[mine], probabilities=None if self.probabilities is None
                                    else self.probabilities[mine]))
        return parts

    def joined(self, others: Mapping[int, Any]) -> Prediction:
        """These answers, in their order, with others put in at their places (in the result); those have no
        probabilities: NaN."""
        rest, size = iter(self.values), len(self.values) + len(others)
        values: Any = [others[place] if place in others else next(rest) for place in range(size)]
        if self.probabilities is None:
            return Prediction(values=values)
        shares = np.full((size, self.probabilities.shape[1]), np.nan)
        shares[[place for place in range(size) if place not in others]] = self.probabilities
        return Prediction(values=values, probabilities=shares)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """One loaded version, ready to predict. Safe to share between threads: nothing in it changes after loading.

    facts: "task", "classes", "positive", "threshold", "input" ("matrix": the encoded matrix, "frame": a pandas
    DataFrame of raw columns, "polars": a Polars one), "features", "transform", "predict" (see `flavors.tiers`). fast:
    the form that the facts tell of, which answers in the estimator's place. `warning`: a sentence, empty where nothing
    is to be said.
    """

    contract: Contract
    facts: Mapping[str, Any]
    estimator: Any
    fast: Any = None
    transform: Callable[[pl.DataFrame], object] | None = None    # code of the project: gives a frame, as it should
    name: str = ""
    number: int = 0
    digest: str = ""
    warning: str = ""
    _seen: Contract = field(init=False, repr=False)          # the columns that the estimator sees, after the transform
    _columns: tuple[int, ...] = field(init=False, repr=False)
    _positive: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        seen = self.contract if self.transform is None else _contract_of(self.facts.get("features", ()))
        object.__setattr__(self, "_seen", seen)
        classes = self.classes
        object.__setattr__(self, "_columns", _places(self.estimator, classes) if classes else ())
        positive = self.facts.get("positive")
        place = classes.index(positive) if positive in classes else len(classes) - 1
        object.__setattr__(self, "_positive", place)

    @property
    def task(self) -> str:
        """`regression`, `binary` or `multiclass`."""
        return str(self.facts.get("task", "regression"))

    @property
    def classes(self) -> tuple[Label, ...]:
        """Class labels with the types that the data has; empty for regression."""
        return tuple(self.facts.get("classes") or ())

    @property
    def threshold(self) -> float | None:
        """The probability of the positive class from which on it is the answer; None: the most probable class is."""
        value = self.facts.get("threshold")
        return None if value is None else float(value)

    @property
    def own_classes(self) -> tuple[Label, ...]:
        """`classes` in the order in which the estimator has them; one that it never saw is not among them."""
        return tuple(self.classes[place] for place in self._columns)

    @property
    def tier(self) -> dict[str, object]:
        """How answers are computed here: {"tier", "tolerance", "difference", "rows", "row_invariant", "why"}.

        As measured at registration; where nothing was, only that the estimator itself answers.
        """
        from trimtab.flavors import tiers

        told = self.facts.get("predict")
        if isinstance(told, Mapping) and (self.fast is not None or not told.get("tolerance")):
            return dict(told)
        why = "the faster form can't be made under the libraries that are installed here" if told else "never measured"
        return tiers.Tier(tier=tiers.library(self.estimator), why=why).to_json()

    def predict(self, X: Array) -> Prediction:
        """Answers for the encoded matrix, shape (rows, features of the contract), float64 (see `data.encode`).

        Raises UsageError where the shape is another one.
        """
        width = len(self.contract.features)
        if X.ndim != 2 or X.shape[1] != width:
            raise UsageError(f"{self._who} takes {width} features, and the matrix has shape {tuple(X.shape)}; encode "
                             "the rows with its own contract")
        if not len(X):
            return Prediction(values=[], probabilities=np.empty((0, len(self.classes))) if self.classes else None)
        if self.is_plain:
            return self._answer(X)
        return self.predict_frame(decode(self.contract, X))

    @cached_property
    def together(self) -> Bundle | None:
        """What answers rows of several requests in one call, each as alone, to the last bit; None where nothing does.

        Raises FloatingPointError where the estimator itself has to be asked for one of them: then ask for each alone.
        """
        from trimtab.flavors import tiers

        told = self.facts.get("predict")
        if self.fast is None or not self.is_plain or self.facts.get("brought") or not isinstance(told, Mapping) \
                or told.get("tier") not in tiers.ROW_BY_ROW or told.get("row_invariant") is not True:
            return None
        return replace(self, fast=self.fast.by_itself())

    def predict_frame(self, frame: pl.DataFrame) -> Prediction:
        """Answers for raw columns; others are ignored. The contract is not checked here.

        Raises ContractViolation where a column is missing or of a type that can't be encoded, MissingExtra where the
        estimator wants pandas and there is none, UsageError where the features transform fails.
        """
        from trimtab.data.encode import encode

        if not frame.height:
            return self.predict(np.empty((0, len(self.contract.features))))
        if self.transform is not None:
            frame = self._transformed(frame)
        if self.facts.get("input", "matrix") == "matrix":
            return self._answer(encode(self._seen, frame))
        if self.facts["input"] == "polars":
            return self._answer(frame.select(column.name for column in self._seen.features))
        return self._answer(to_pandas(self._seen, frame))

    def predict_rows(self, rows: Sequence[Mapping[str, object]]) -> Prediction:
        """Answers for JSON rows, each checked against the contract first.

        Raises ContractViolation with `details["violations"]`, one entry per broken rule:
        {"row": from 1, "column", "rule", "value", "message"}; then nothing is predicted.
        """
        X = self.encode_rows(rows)
        return self.predict(X) if not len(X) or self.is_plain else self.predict_frame(self.frame_of(rows, X))

    def frame_of(self, rows: Sequence[Mapping[str, object]], X: Array) -> pl.DataFrame:
        """The raw columns of JSON rows that `encode_rows` made X of, in the types that `decode` gives."""
        import polars as pl

        open_ended = [column.name for column in self.contract.features if column.type == "category" and column.unseen]
        return decode(self.contract, X).with_columns(
            pl.Series(name, [row.get(name) for row in rows], dtype=pl.String) for name in open_ended)

    def encode_rows(self, rows: Sequence[Mapping[str, object]]) -> Array:
        """The encoded matrix of JSON rows, shape (rows, features). Raises ContractViolation as `predict_rows`."""
        out: list[float] = []
        violations: list[dict[str, object]] = []
        check, alone = self._check, len(rows) == 1
        for place, row in enumerate(rows, start=1):
            for broken in check(row, out, None if alone else place):
                violations.append({**broken.to_json(), "row": place})
        if violations:
            raise ContractViolation(_told(violations), violations=violations)
        return np.array(out, dtype=np.float64).reshape(len(rows), len(self.contract.features))

    @cached_property
    def _check(self) -> RowChecker:
        from trimtab.data.rows import row_checker

        return row_checker(self.contract)

    @property
    def is_plain(self) -> bool:
        """Does the estimator take the encoded matrix as it is?"""
        return self.transform is None and self.facts.get("input", "matrix") == "matrix"

    @property
    def _who(self) -> str:
        return self.name or "the model"

    def _transformed(self, frame: pl.DataFrame) -> pl.DataFrame:
        """What the project's own transform makes of the rows, in the types that training saw."""
        import polars as pl

        from trimtab.data.readers import from_frame

        assert self.transform is not None
        known = [column.name for column in self.contract.features if column.name in frame.columns]
        try:
            made: object = self.transform(frame.select(known))
            if isinstance(made, pl.LazyFrame):
                made = made.collect()
        except Exception as problem:
            raise UsageError(f"{self._who}: its features transform {self.facts.get('transform')} raised "
                             f"{type(problem).__name__}: {str(problem)[:200]}") from problem
        if not isinstance(made, pl.DataFrame) or made.height != frame.height:
            raise UsageError(f"{self._who}: its features transform made no frame of {frame.height} rows, as it did in "
                             "training")
        if gone := [column.name for column in self._seen.features if column.name not in made.columns]:
            raise UsageError(f"{self._who}: its features transform did not make {', '.join(gone[:5])}, which the model "
                             "was trained with")
        return from_frame(made, source="features transform").frame

    def _answer(self, X: Any) -> Prediction:
        asked = self.estimator if self.fast is None else self.fast
        if not self.classes:
            values = np.asarray(asked.predict(X), dtype=np.float64).reshape(-1)
            return Prediction(values=values.tolist())
        classes = self.classes
        if not hasattr(asked, "predict_proba"):
            places = self._codes(asked.predict(X))
            return Prediction(values=[classes[place] for place in places])
        given = np.asarray(asked.predict_proba(X), dtype=np.float64)
        if self._columns == tuple(range(len(classes))):
            probabilities = given
        else:
            probabilities = np.zeros((len(given), len(classes)))
            probabilities[:, list(self._columns)] = given
        if self.threshold is not None and len(classes) == 2:
            yes = probabilities[:, self._positive] >= self.threshold
            picked = np.where(yes, self._positive, 1 - self._positive)
        elif self.facts.get("brought"):        # its owner knows it by its own predict, which need not follow them
            picked = np.array(self._codes(self.estimator.predict(X)))
        else:
            picked = probabilities.argmax(axis=1)
        return Prediction(values=[classes[place] for place in picked.tolist()], probabilities=probabilities)

    def _codes(self, answers: Any) -> list[int]:
        of = dict(zip(np.asarray(self.estimator.classes_).tolist(), self._columns, strict=True))
        return [of[answer] for answer in np.asarray(answers).tolist()]


def load_bundle(versions: Versions, version: Version, *, trusted: Iterable[str] = ()) -> Bundle:
    """The version, verified and loaded: signature and digests first, then types, then construction.

    trusted: types allowed beyond trimtab's list and beyond those that its own facts name ("trusted", taken from
    `[model] trusted` at registration and signed with the version). Raises SignatureInvalid, DigestMismatch,
    BlobMissing, Conflict (deleted), UntrustedModel, MissingExtra (the flavour's library is not installed).
    """
    from trimtab.data.contract_toml import parse
    from trimtab.flavors import sklearn as flavor
    from trimtab.flavors import table, tiers

    versions.verify(version)
    named = version.facts.get("trusted", ())
    allow = {str(name) for name in named} | set(trusted) if isinstance(named, list | tuple) else set(trusted)
    warning = flavor.version_warning(_made_with(version))
    data = versions.read(version, flavor.FILE)
    code = {path: versions.read(version, path) for path in version.manifest.files
            if path.startswith(version_code.FOLDER)}
    found = flavor.inspect(data, allow)
    if found.refused:
        raise UntrustedModel(f"{version.name}: {flavor.refusal(found.refused)}", types=list(found.refused))
    with version_code.imported(code, version.name):
        estimator = flavor.load(data, allow)
    fast = tiers.build(estimator, version.facts.get("predict"), _graph(versions, version, estimator))
    if fast is None:
        table.require(version.manifest.flavor)
    reference = version.facts.get("transform")
    transform = version_code.function(str(reference), code, version.name) if reference else None
    contract = parse(versions.read(version, "contract.toml").decode())
    return Bundle(contract=contract, facts=version.facts, estimator=estimator,
                  fast=fast,
                  transform=cast("Callable[[pl.DataFrame], object] | None", transform), name=version.name,
                  number=version.number, digest=version.digest,
                  warning=f"{version.name} was {warning}" if warning else "")


def _graph(versions: Versions, version: Version, estimator: Any) -> Any:
    """The graph that was converted from the version's estimator, where it has one and ONNX Runtime is installed."""
    if GRAPH_FILE not in version.manifest.files:
        return None
    from trimtab.flavors.onnx import Graph

    try:
        return Graph.of(versions.read(version, GRAPH_FILE), getattr(estimator, "classes_", None))
    except MissingExtra:
        return None


def decode(contract: Contract, X: Array) -> pl.DataFrame:
    """The raw columns that an encoded matrix stands for: the inverse of `data.encode`, but unseen categories are null.

    X: shape (rows, features of the contract).
    """
    import polars as pl

    made: list[pl.Series] = []
    for place, column in enumerate(contract.features):
        numbers = pl.Series(column.name, np.ascontiguousarray(X[:, place])).fill_nan(None)
        if column.type == "boolean":
            numbers = numbers.cast(pl.Boolean)
        elif column.type == "integer":
            numbers = numbers.cast(pl.Int64, strict=False)
        elif column.type == "category":
            numbers = numbers.cast(pl.Int64).replace_strict(
                list(range(len(column.categories))), list(column.categories), default=None, return_dtype=pl.String)
        elif column.type == "datetime":
            numbers = (numbers * _DAY_US).round().cast(pl.Int64).cast(pl.Datetime("us"))
        made.append(numbers)
    return pl.DataFrame(made)


def _places(estimator: Any, classes: tuple[Label, ...]) -> tuple[int, ...]:
    """Which of `classes` each of the estimator's own is: the same labels, or codes into them."""
    own = np.asarray(getattr(estimator, "classes_", np.arange(len(classes)))).tolist()
    if own == list(classes):
        return tuple(range(len(classes)))
    if all(isinstance(code, int) and 0 <= code < len(classes) for code in own):
        return tuple(own)
    if all(label in classes for label in own):
        return tuple(classes.index(label) for label in own)
    raise UntrustedModel(f"the model answers {own[:5]}, and its facts say {list(classes)[:5]}: they do not belong "
                         "together. Register it again.")


def _contract_of(features: object) -> Contract:
    """What the estimator sees after a transform, as the facts list it."""
    assert isinstance(features, list | tuple)
    return Contract(columns=tuple(
        Column(name=each["name"], type=each["type"], categories=tuple(each.get("categories") or ()), missing=True,
               unseen=True) for each in features))


def to_pandas(contract: Contract, frame: pl.DataFrame) -> Any:
    """The features as a pandas frame, as an estimator that picks columns by name wants them. Raises MissingExtra."""
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtra("this model was fitted on a pandas DataFrame and pandas is not installed here: "
                           "pip install pandas") from None
    columns = {column.name: frame[column.name].to_list() for column in contract.features}
    made = pd.DataFrame(columns)
    for column in contract.features:
        if column.type in ("number", "integer") and made[column.name].dtype == object:
            made[column.name] = made[column.name].astype("float64")
    return made


def _made_with(version: Version) -> object:
    libraries = version.facts.get("libraries")
    return libraries.get("scikit-learn") if isinstance(libraries, dict) else None


def _told(violations: list[dict[str, object]]) -> str:
    first = violations[0]["message"]
    more = f" (and {len(violations) - 1:,} more)" if len(violations) > 1 else ""
    return f"{first}{more}"
