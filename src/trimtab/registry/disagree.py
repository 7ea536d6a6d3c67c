"""On which rows do two models disagree, and which readable slice holds most of them?

Classes: another class is answered. Numbers: the largest differences, 1% of the rows, but ten (or a tenth of the rows,
where there are fewer than a hundred), so that a small test set can say something too.
A slice is one or two conditions on raw columns, such as `age > 61 and sex = F`. Many are looked at, so it is named only
where the hypergeometric probability of so many disagreements among its rows holds after Bonferroni's correction
for all of them; otherwise none stands out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

Mask = NDArray[np.bool_]

LEAST_ROWS = 5                                 # in a slice
LEAST_HITS = 3                                 # disagreements in a slice
MOST_ROWS = 20_000                             # looked at; above, evenly spaced ones
MOST_CONDITIONS = 300
CUTS, VALUES = 15, 12                          # thresholds a numeric column, values a category
EXACT = 500                                    # slices whose p-value is computed, by the best bound
SECOND_MUST_GAIN = 100.0                       # a second condition must lower p so many times
SHARE, FEWEST = 0.01, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A readable set of rows in which two models disagree more often than elsewhere."""

    where: str
    rate: float                               # of disagreement inside
    overall: float                            # of disagreement everywhere
    rows: int
    hits: int
    p: float                                  # corrected for every slice that was looked at

    @property
    def words(self) -> str:
        """`age > 61 and sex = F: 12 of 20 rows disagree (60%), 4.1% overall`."""
        return (f"{self.where}: {self.hits:,} of {self.rows:,} rows disagree ({self.rate:.0%}), "
                f"{self.overall:.1%} overall")

    def to_json(self) -> dict[str, object]:
        """All fields."""
        return {"where": self.where, "rate": self.rate, "overall": self.overall, "rows": self.rows, "hits": self.hits,
                "p": self.p}


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What the search found: the slice, or the sentence that says why there is none."""

    slice: Slice | None
    looked_at: int
    note: str = ""


def disagreements(a: NDArray[np.float64], b: NDArray[np.float64], *, classes: bool) -> Mask:
    """Which rows count as disagreement. a, b: shape (rows,), predictions, or class codes where `classes`.

    >>> disagreements(np.array([0.0, 1.0]), np.array([0.0, 0.0]), classes=True).tolist()
    [False, True]
    """
    if classes:
        return np.asarray(a != b)
    gap = np.abs(a - b)
    count = max(math.ceil(SHARE * len(gap)), min(FEWEST, len(gap) // 10), 1)
    largest = np.argsort(-gap, kind="stable")[:count]
    found = np.zeros(len(gap), dtype=bool)
    found[largest] = True
    return found & (gap > 0)


def find_slice(frame: pl.DataFrame, differs: Mask, *, level: float = 0.05) -> Search:
    """The one- or two-condition rule that holds the disagreements best.

    frame: the raw columns of the rows, in their order; differs: shape (rows,). level: bound on the corrected p.
    O(conditions² × rows), both bounded.
    """
    if not differs.any():
        return Search(slice=None, looked_at=0, note="they disagree on no row")
    total = len(differs)
    if total > MOST_ROWS:
        kept = np.linspace(0, total - 1, MOST_ROWS).astype(np.int64)
        frame, differs = frame[kept.tolist()], differs[kept]
    names, masks = _conditions(frame)
    if not names:
        return Search(slice=None, looked_at=0, note="no column divides the rows")
    singles, pairs = _counts(masks, differs)
    looked_at = len(names) + len(names) * (len(names) - 1) // 2
    best = _best(names, singles, pairs, differs, looked_at)
    if best is None or best.p > level:
        return Search(slice=None, looked_at=looked_at, note=f"none stands out among {looked_at:,} slices looked at")
    seen = "" if total <= MOST_ROWS else f"searched on {MOST_ROWS:,} of {total:,} rows"
    return Search(slice=best, looked_at=looked_at, note=seen)


def _counts(masks: Mask, differs: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows, hits) of each condition and of each pair: shapes (2, k) and (2, k, k)."""
    inside = masks.astype(np.float32)                          # exact below 2²⁴ rows
    hits = inside[:, differs]
    pairs = np.rint(np.stack((inside @ inside.T, hits @ hits.T))).astype(np.int64)
    return pairs[:, np.arange(len(masks)), np.arange(len(masks))], pairs


def _best(names: list[str], singles: NDArray[np.int64], pairs: NDArray[np.int64], differs: Mask,
          looked_at: int) -> Slice | None:
    once = np.triu(np.ones(pairs[0].shape, dtype=np.int64), 1)
    one, two = _p_values(singles[0], singles[1], differs), _p_values(pairs[0] * once, pairs[1] * once, differs)
    first = int(np.lexsort((singles[0], one))[0])
    second = np.unravel_index(np.lexsort((pairs[0].ravel(), two.ravel()))[0], two.shape)
    if two[second] * SECOND_MUST_GAIN < one[first]:
        i, j = int(second[0]), int(second[1])
        where, p, rows, hits = f"{names[i]} and {names[j]}", two[i, j], pairs[0, i, j], pairs[1, i, j]
    else:
        where, p, rows, hits = names[first], one[first], singles[0, first], singles[1, first]
    if p >= 1:
        return None
    return Slice(where=where, rate=float(hits / rows), overall=float(differs.mean()), rows=int(rows), hits=int(hits),
                 p=float(min(1.0, p * looked_at)))


def _p_values(rows: NDArray[np.int64], hits: NDArray[np.int64], differs: Mask) -> NDArray[np.float64]:
    """P(at least so many hits in so many rows drawn without replacement); 1 where the slice is too small or whole.

    Exact for the `EXACT` slices for which Hoeffding's bound exp(−n · KL(hits/n ‖ overall)) (1963, holds without
    replacement too) is smallest; for the others 1: they can't be the best by much.
    """
    from scipy.special import xlogy
    from scipy.stats import hypergeom

    total, all_hits = len(differs), int(differs.sum())
    p = np.ones(rows.shape)
    fit = np.flatnonzero((rows >= LEAST_ROWS) & (hits >= LEAST_HITS) & (rows < total)
                         & (hits * total > rows * all_hits))
    n, k, share = rows.ravel()[fit], hits.ravel()[fit], all_hits / total
    bound = xlogy(k, k / (n * share)) + xlogy(n - k, (n - k) / (n * max(1 - share, 1e-12)))
    best = np.argsort(-bound, kind="stable")[:EXACT]
    p.ravel()[fit[best]] = hypergeom.sf(k[best] - 1, total, all_hits, n[best])
    return p


def _conditions(frame: pl.DataFrame) -> tuple[list[str], Mask]:
    """Readable conditions and their rows, shape (k, rows). Columns in order, at most `MOST_CONDITIONS`."""
    found: dict[str, Mask] = {}
    each = max(2, MOST_CONDITIONS // max(1, frame.width))
    for column in frame.iter_columns():
        found.update(list(_of_column(column).items())[:each])
    useful = {name: mask for name, mask in list(found.items())[:MOST_CONDITIONS]
              if LEAST_ROWS <= mask.sum() < len(mask)}
    return list(useful), np.array(list(useful.values()), dtype=bool).reshape(len(useful), frame.height)


def _of_column(column: pl.Series) -> dict[str, Mask]:
    import polars as pl

    found: dict[str, Mask] = {}
    missing = np.asarray(column.is_null().to_numpy(), dtype=bool)
    if missing.any():
        found[f"{column.name} is missing"] = missing
    if column.dtype.is_numeric():
        found |= _thresholds(column.name, column.cast(pl.Float64).fill_null(float("nan")).to_numpy(), _number)
    elif column.dtype.is_temporal():
        seconds = column.cast(pl.Datetime("us")).dt.epoch("s").cast(pl.Float64).fill_null(float("nan")).to_numpy()
        found |= _thresholds(column.name, np.floor(seconds / 86_400) * 86_400, _day)
    else:
        text = column.cast(pl.String)
        common = text.drop_nulls().value_counts(sort=True).head(VALUES)[column.name].to_list()
        for value in sorted(common):
            is_value = (text == value).fill_null(False)
            found[f"{column.name} = {_quoted(value)}"] = np.asarray(is_value.to_numpy(), dtype=bool)
    return found


def _thresholds(name: str, values: NDArray[np.float64], show: Callable[[float], tuple[str, float]]) -> dict[str, Mask]:
    """Quantiles, rounded as they are shown, so that the rule that is read is the rule that was counted.
    The middle ones come first: they survive where conditions are bounded."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return {}
    shares = sorted(np.linspace(0, 1, CUTS + 2)[1:-1], key=lambda share: abs(share - 0.5))
    found: dict[str, Mask] = {}
    for cut in np.quantile(known, shares, method="lower"):
        text, exact = show(float(cut))
        with np.errstate(invalid="ignore"):
            found[f"{name} > {text}"] = values > exact
            found[f"{name} ≤ {text}"] = values <= exact
    return found


def _number(value: float) -> tuple[str, float]:
    """Four significant digits, and the number that they say."""
    exact = float(f"{value:.4g}")
    return (f"{exact:.0f}" if 1e4 <= abs(exact) < 1e12 else f"{exact:.4g}"), exact


def _day(seconds: float) -> tuple[str, float]:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d"), seconds


def _quoted(value: str) -> str:
    return value if value and value.replace("_", "").replace("-", "").isalnum() else repr(value)
