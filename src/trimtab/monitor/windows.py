"""What did a stretch of traffic look like?  A window: counts over the bins of the training data, column by column.

Windows over the same baseline merge by adding, and everything that monitoring says of drift is read from these counts,
so that it can be computed again from what was stored. A window's own small quantile sketch (k = 128, rank error about
2%) is kept for medians, which bins can't tell once values leave the range that was trained on; the rows themselves
stay in the traffic. What the counts *mean* is `drift.py` and `cause.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from trimtab.data.contract import Column, Contract
from trimtab.errors import ContractViolation, Malformed, UsageError
from trimtab.sketch.column import CategorySketch, NumericSketch, column_from_json

if TYPE_CHECKING:
    import polars as pl

Sketch = NumericSketch | CategorySketch
SCHEMA: Final = "trimtab.window/1"
PREDICTION: Final = "(prediction)"            # the model's own answers, watched like one more column
CONTRACT: Final = "(contract)"                # does a row keep the contract?
_SMALL = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnWindow:
    """One column in a window.

    broken: values that break the contract, by rule. top: the most frequent number and how often it came (a lower
    bound after merging windows whose most frequent numbers differ). run: the longest stretch of consecutive rows with
    one and the same number.
    """

    sketch: Sketch
    broken: Mapping[str, int] = field(default_factory=dict)
    top: tuple[float, int] | None = None
    run: int = 0

    @property
    def missing(self) -> float:
        """Share of the rows without a usable value: missing, or not finite."""
        lost = self.sketch.missing + (self.sketch.infinite if isinstance(self.sketch, NumericSketch) else 0)
        return lost / self.sketch.rows if self.sketch.rows else 0.0

    @property
    def unseen(self) -> float:
        """Share of the present values that are no known category; 0 for numbers."""
        if isinstance(self.sketch, NumericSketch) or not (present := self.sketch.categories.rows):
            return 0.0
        return self.sketch.categories.other / present

    def merge(self, other: ColumnWindow) -> ColumnWindow:
        """Both stretches together. Raises UsageError where they were counted over different bins."""
        if isinstance(self.sketch, NumericSketch) and isinstance(other.sketch, NumericSketch):
            sketch: Sketch = self.sketch.merge(other.sketch)
        elif isinstance(self.sketch, CategorySketch) and isinstance(other.sketch, CategorySketch):
            sketch = self.sketch.merge(other.sketch)
        else:
            raise UsageError("a column of numbers and one of categories can't be added: they have different baselines")
        tops = [top for top in (self.top, other.top) if top is not None]
        if len(tops) == 2 and tops[0][0] == tops[1][0]:
            tops = [(tops[0][0], tops[0][1] + tops[1][1])]
        return ColumnWindow(sketch=sketch, broken=_added(self.broken, other.broken), run=max(self.run, other.run),
                            top=max(tops, key=lambda top: top[1], default=None))

    def to_json(self, *, edges: bool = True) -> dict[str, object]:
        """Every field under its own name; without `edges` those are left to the baseline."""
        sketch = self.sketch.to_json()
        if not edges and "edges" in sketch:
            sketch["edges"] = None
        return {"sketch": sketch, "broken": dict(self.broken), "run": self.run,
                "top": None if self.top is None else list(self.top)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of one version's traffic. from_at, to_at: time texts; first_id, last_id: prediction ids; "" unknown.

    broken: rows that break the contract in any way, or that a fallback answered. columns: features, and `PREDICTION`
    for the answers.
    """

    rows: int
    broken: int
    columns: Mapping[str, ColumnWindow]
    from_at: str = ""
    to_at: str = ""
    first_id: str = ""
    last_id: str = ""

    @classmethod
    def of(cls, frame: pl.DataFrame, contract: Contract, baseline: Mapping[str, Sketch], *,
           answers: pl.Series | None = None, fallen: NDArray[np.bool_] | None = None, **where: str) -> Window:
        """Count the rows of `frame` (raw feature columns, in the order of time) over the baseline's bins.

        answers: what the model said of the same rows, counted where the baseline has `PREDICTION`. where: from_at,
        to_at, first_id, last_id. fallen: rows that are known to be unfit; they count as broken. A column that the frame
        does not have is missing in every row. About 0.3 ms a column of 1,000 rows.
        """
        from trimtab.data.check import check_table

        report = check_table(contract, frame, roles=("feature",))
        broken: dict[str, dict[str, int]] = {}
        for (name, rule), count in report.counts.items():
            broken.setdefault(name, {})[rule] = count
        columns = {column.name: _column(column, baseline[column.name], _series(frame, column.name),
                                        broken.get(column.name, {}))
                   for column in contract.features if column.name in baseline}
        if answers is not None and PREDICTION in baseline:
            like: Any = "category" if isinstance(baseline[PREDICTION], CategorySketch) else "number"
            columns[PREDICTION] = _column(Column(name=PREDICTION, type=like), baseline[PREDICTION], answers, {})
        return cls(rows=frame.height, columns=columns, **where,
                   broken=report.bad if fallen is None else int((report.bad_rows | fallen).sum()))

    def merge(self, later: Window) -> Window:
        """Both stretches together: counts exactly, quantiles within their error. Raises UsageError where the two have
        different columns or baselines."""
        if set(self.columns) != set(later.columns):
            raise UsageError("two windows with different columns can't be added: they have different baselines")
        return Window(rows=self.rows + later.rows, broken=self.broken + later.broken,
                      columns={name: one.merge(later.columns[name]) for name, one in self.columns.items()},
                      from_at=_first(self.from_at, later.from_at, min), to_at=_first(self.to_at, later.to_at, max),
                      first_id=_first(self.first_id, later.first_id, min),
                      last_id=_first(self.last_id, later.last_id, max))

    def to_json(self, *, edges: bool = True) -> dict[str, object]:
        """As it is stored; what `from_json` reads. Without `edges` (two thirds of it) it needs the baseline again."""
        return {"schema": SCHEMA, "rows": self.rows, "broken": self.broken, "from_at": self.from_at,
                "to_at": self.to_at, "first_id": self.first_id, "last_id": self.last_id,
                "columns": {name: one.to_json(edges=edges) for name, one in self.columns.items()}}

    @classmethod
    def from_json(cls, stored: object, baseline: Mapping[str, Sketch] | None = None) -> Window:
        """The inverse of `to_json`; `baseline` gives the edges that were left out. Raises Malformed."""
        if not isinstance(stored, Mapping) or stored.get("schema") != SCHEMA:
            raise Malformed(f"a stored window is not of the form {SCHEMA}; it was written by another trimtab")
        try:
            return cls(rows=int(stored["rows"]), broken=int(stored["broken"]),
                       columns={str(name): _column_of(one, (baseline or {}).get(name))
                                for name, one in stored["columns"].items()},
                       **{key: str(stored[key]) for key in ("from_at", "to_at", "first_id", "last_id")})
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise Malformed(f"a stored window can't be read: {problem!r}") from None


def sketch_like(column: Column, before: Sketch, values: pl.Series, *, k: int = _SMALL) -> Sketch:
    """A sketch of `values` over the same bins or categories as `before`; what can't be read as the column's type counts
    as missing (the contract's `type` rule tells of it)."""
    import polars as pl

    if isinstance(before, CategorySketch):
        text = values.cast(pl.String, strict=False)
        counts = {name: int(n) for name, n in text.value_counts().iter_rows() if name is not None}
        return CategorySketch.of_counts(counts, text.null_count(), before.categories.names)
    return NumericSketch.of(numbers(column, values), before.edges, k=k)


def numbers(column: Column, values: pl.Series) -> NDArray[np.float64]:
    """The values as float64, shape (rows,): as a model sees them, NaN where missing or of another type."""
    import polars as pl

    from trimtab.data.encode import encode

    try:
        return np.ascontiguousarray(encode(Contract(columns=(column,)), values.alias(column.name).to_frame())[:, 0])
    except ContractViolation:
        if values.dtype.is_nested():
            return np.full(values.len(), np.nan)
        return values.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()


def _series(frame: pl.DataFrame, name: str) -> pl.Series:
    import polars as pl

    return frame[name] if name in frame.columns else pl.Series(name, [None] * frame.height, dtype=pl.Float64)


def _column(column: Column, before: Sketch, values: pl.Series, broken: Mapping[str, int]) -> ColumnWindow:
    if isinstance(before, CategorySketch):
        return ColumnWindow(sketch=sketch_like(column, before, values), broken=broken)
    found = numbers(column, values)
    return ColumnWindow(sketch=NumericSketch.of(found, before.edges, k=_SMALL), broken=broken, top=_top(found),
                        run=longest_run(found))


def _top(values: NDArray[np.float64]) -> tuple[float, int] | None:
    distinct, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    if not len(distinct):
        return None
    place = int(np.argmax(counts))
    return float(distinct[place]) + 0.0, int(counts[place])


def longest_run(values: NDArray[np.float64]) -> int:
    """The longest stretch of consecutive rows with one and the same number; NaN differs from itself.

    >>> longest_run(np.array([1.0, 2.0, 2.0, np.nan, np.nan, np.nan]))
    2
    """
    if not len(values):
        return 0
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    return int(np.diff(np.append(starts, len(values))).max())


def _column_of(stored: Mapping[str, Any], before: Sketch | None) -> ColumnWindow:
    top, sketch = stored["top"], stored["sketch"]
    if isinstance(before, NumericSketch) and sketch.get("edges") is None:
        sketch = {**sketch, "edges": list(before.edges)}
    return ColumnWindow(sketch=column_from_json(sketch), run=int(stored["run"]),
                        broken={str(rule): int(n) for rule, n in stored["broken"].items()},
                        top=None if top is None else (float(top[0]), int(top[1])))


def _added(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    return {rule: a.get(rule, 0) + b.get(rule, 0) for rule in sorted({*a, *b})}


def _first(a: str, b: str, choose: Any) -> str:
    return str(choose(a, b)) if a and b else a or b
