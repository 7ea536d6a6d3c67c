"""What did one column look like?  (profile v1: the baseline that every later window is compared with)

A numeric column is bins over quantiles, moments and a KLL sketch; a categorical one is top categories and the rest.
Both count missing values. Sketches over the same edges or names merge into the sketch of all rows together, so rows
may be folded a batch at a time. How a table is read and which column is of which kind is `data`'s concern.

`of` is deterministic: equal data, equal JSON. Merging may flip coins inside the KLL sketch (see `kll.py`), so the JSON
of a *merged* numeric sketch goes into no digest; `to_json(quantiles=False)` leaves that part out and may.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from trimtab.errors import Malformed, UsageError
from trimtab.sketch.bins import Array, Counts, Sorted, bin_centres, counts_of_sorted, edges_of_sorted, sort_column
from trimtab.sketch.categories import TopCategories
from trimtab.sketch.kll import Quantiles
from trimtab.sketch.moments import Moments, of_finite


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericSketch:
    """A numeric column: `rows` in all, of which `missing` are NaN and `infinite` ±inf; the rest is in `counts`.

    edges: k ascending numbers in the column's unit; counts: k + 1 bins, see `bins.quantile_edges`.
    quantiles: None where it was left out of the JSON that this was read from.
    """

    kind: Literal["numeric"] = "numeric"
    rows: int
    missing: int
    infinite: int
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    moments: Moments
    quantiles: Quantiles | None

    @classmethod
    def of(cls, values: ArrayLike, edges: ArrayLike | None = None, *, bins: int = 100, k: int = 800) -> NumericSketch:
        """The sketch of `values`, shape (rows,); NaN means missing. About 20 ms for 10⁶ rows.

        edges: those of the baseline; None chooses quantiles of these values. bins, k: see `bins` and `kll`.

        >>> sketch = NumericSketch.of([1.0, 2.0, 2.0, float("nan")])
        >>> sketch.rows, sketch.missing, sketch.counts, sketch.moments.max
        (4, 1, (0, 1, 2, 0), 2.0)
        """
        return cls.of_sorted(sort_column(values), edges, bins=bins, k=k)

    @classmethod
    def of_sorted(cls, column: Sorted, edges: ArrayLike | None = None, *, bins: int = 100,
                  k: int = 800) -> NumericSketch:
        """`of` where the values were sorted by `sort_column` already."""
        cut = edges_of_sorted(column.values, bins) if edges is None else np.asarray(edges, dtype=np.float64)
        return cls(rows=len(column.values) + column.missing + column.infinite, missing=column.missing,
                   infinite=column.infinite, edges=tuple(cut.tolist()),
                   counts=tuple(counts_of_sorted(column.values, cut).tolist()), moments=of_finite(column.values),
                   quantiles=Quantiles.of_sorted(column.values, k))

    def count_array(self) -> Counts:
        """`counts` as an array, shape (k + 1,), for `distances`."""
        return np.array(self.counts, dtype=np.int64)

    def centres(self, *others: NumericSketch) -> Array:
        """A place on the axis for each bin, shape (k + 1,), that suits this sketch and `others` over the same edges."""
        moments = [sketch.moments for sketch in (self, *others)]
        return bin_centres(self.edges, min((m.min for m in moments if m.min is not None), default=0.0),
                           max((m.max for m in moments if m.max is not None), default=0.0))

    def merge(self, other: NumericSketch) -> NumericSketch:
        """The sketch of both data sets together: counts exactly, moments up to rounding, quantiles within their error.

        Raises UsageError where the two have different edges.

        >>> a = NumericSketch.of([1.0, 2.0])
        >>> a.merge(NumericSketch.of([2.0, 5.0], a.edges)).counts
        (0, 1, 2, 1)
        """
        if self.edges != other.edges:
            raise UsageError("two numeric sketches have different bin edges and can't be added. "
                             "Make the second over the first's: NumericSketch.of(values, first.edges).")
        both = self.quantiles and other.quantiles and self.quantiles.merge(other.quantiles)
        return NumericSketch(rows=self.rows + other.rows, missing=self.missing + other.missing,
                             infinite=self.infinite + other.infinite, edges=self.edges,
                             counts=tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
                             moments=self.moments.merge(other.moments), quantiles=both)

    def to_json(self, *, quantiles: bool = True) -> dict[str, object]:
        """Every field under its own name; the KLL bytes as base64. Numbers come back bit for bit."""
        kept = self.quantiles if quantiles else None
        return {"kind": "numeric", "rows": self.rows, "missing": self.missing, "infinite": self.infinite,
                "edges": list(self.edges), "counts": list(self.counts), "moments": self.moments.to_json(),
                "quantiles": None if kept is None else base64.b64encode(kept.to_bytes()).decode()}


@dataclass(frozen=True, slots=True, kw_only=True)
class CategorySketch:
    """A categorical column: `rows` in all, of which `missing` have no value; the rest is in `categories`."""

    kind: Literal["category"] = "category"
    rows: int
    missing: int
    categories: TopCategories

    @classmethod
    def of(cls, values: Iterable[str | None], names: Iterable[str] | None = None, *, top: int = 100) -> CategorySketch:
        """The sketch of `values`; None means missing. names: those of the baseline; None keeps the `top` most frequent.

        >>> CategorySketch.of(["甲", "乙", "甲", None]).categories.names
        ('甲', '乙')
        """
        counted = Counter(values)
        missing = counted.pop(None, 0)
        return cls.of_counts({name: n for name, n in counted.items() if name is not None}, missing, names, top=top)

    @classmethod
    def of_counts(cls, counts: Mapping[str, int], missing: int = 0, names: Iterable[str] | None = None, *,
                  top: int = 100) -> CategorySketch:
        """The same from rows per category, which a table engine counts faster.

        >>> CategorySketch.of_counts({"a": 2}, missing=1).rows
        3
        """
        categories = TopCategories.of(counts, names, top)
        return cls(rows=categories.rows + missing, missing=missing, categories=categories)

    def count_array(self) -> Counts:
        """Rows per category, then `other`: shape (names + 1,), for `distances`."""
        return np.array([*self.categories.counts, self.categories.other], dtype=np.int64)

    def merge(self, other: CategorySketch) -> CategorySketch:
        """The sketch of both data sets together; exact as `TopCategories.merge` is. Raises UsageError as it does.

        >>> CategorySketch.of(["a"]).merge(CategorySketch.of([None])).missing
        1
        """
        return CategorySketch(rows=self.rows + other.rows, missing=self.missing + other.missing,
                              categories=self.categories.merge(other.categories))

    def to_json(self, *, quantiles: bool = True) -> dict[str, object]:
        """Every field under its own name. quantiles: has no effect here; both kinds are called alike."""
        return {"kind": "category", "rows": self.rows, "missing": self.missing, "categories": self.categories.to_json()}


def column_from_json(data: Mapping[str, object]) -> NumericSketch | CategorySketch:
    """The sketch that `to_json` wrote, bit for bit. Raises Malformed where the text is not one.

    >>> sketch = NumericSketch.of([0.1, 0.2])
    >>> column_from_json(sketch.to_json()) == sketch
    True
    """
    try:
        match data["kind"]:
            case "numeric":
                return _numeric(data)
            case "category":
                return CategorySketch(rows=_whole(data["rows"]), missing=_whole(data["missing"]),
                                      categories=TopCategories.from_json(_mapping(data["categories"])))
            case kind:
                raise ValueError(f"its kind is {kind!r}; expected 'numeric' or 'category'")
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise Malformed(f"a stored column profile can't be read: {reason}. "
                        "Make the profile again from the data: trimtab init.") from error


def _numeric(data: Mapping[str, object]) -> NumericSketch:
    edges, counts, stored = data["edges"], data["counts"], data["quantiles"]
    if not isinstance(edges, list) or not isinstance(counts, list) or len(counts) != len(edges) + 1:
        raise ValueError("k edges need k + 1 counts")
    return NumericSketch(
        rows=_whole(data["rows"]), missing=_whole(data["missing"]), infinite=_whole(data["infinite"]),
        edges=tuple(float(edge) for edge in edges), counts=tuple(_whole(count) for count in counts),
        moments=Moments.from_json(_mapping(data["moments"])),
        quantiles=None if stored is None else Quantiles.from_bytes(base64.b64decode(str(stored), validate=True)))


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    return value
