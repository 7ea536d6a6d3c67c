"""What in this table is worth a look before anything is learned from it?

Findings are sentences for people; they block nothing. What needs a fit or a comparison of pairs works on a sample of
rows and says so. Words are those of the `init` screen: the column, then what was seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trimtab.data.contract import Column, Contract
from trimtab.data.split import overlap
from trimtab.data.suspects import sentinel, suspicious_zeros

Kind = Literal["leak", "duplicate_rows", "constant", "heavy_tail", "zeros", "missing", "ignored_text", "id",
               "duplicate_column", "imbalance", "target_outliers", "sentinel", "infinite", "overlap", "group", "unread"]

SAMPLE: Final = 20_000                         # rows, evenly spaced, where a test needs a model or pairs of columns
HEAVY_TAIL: Final = 5.0                        # p99 / p50, both above 0
MOSTLY_MISSING: Final = 0.5
RARE_CLASS: Final = 0.05
OUTLIER_IQR: Final = 10.0                      # interquartile ranges beyond the quartiles
NEAR_ONE: Final = 0.999                        # of R², or of the share of rows told rightly
_BINS: Final = 50
_FEWEST: Final = 20
_PLAIN: Final = ("number", "integer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing worth a look. column: "" where it concerns rows."""

    column: str
    kind: Kind
    text: str


def findings(frame: pl.DataFrame, contract: Contract) -> tuple[Finding, ...]:
    """Everything found, in the order of the columns; what concerns rows comes last.

    frame: as `read_table` makes it. Columns that the frame does not have are left out.
    """
    there = [column for column in contract.columns if column.name in frame.columns]
    sample, said = _sample(frame)
    found: list[Finding] = []
    for column in there:
        found += _of_column(frame[column.name], column, sample[column.name], said)
    found += _leaks(sample, said, there)
    found += _twins(frame, sample, said, [c for c in there if c.role == "feature"])
    found += _target(frame, sample, said, there)
    found += _duplicates(frame, there)
    return tuple(sorted(found, key=lambda f: frame.columns.index(f.column) if f.column else frame.width))


def confirmed(contract: Contract, found: Iterable[Finding]) -> Contract:
    """The contract with the questions that findings ask (odd zeros, sentinels) in `confirm` of their columns."""
    asked = {f.column: f.text.removesuffix(_MARKED) for f in found if f.kind in ("zeros", "sentinel")}
    return replace(contract, columns=tuple(
        replace(c, confirm=c.confirm or asked.get(c.name, "")) for c in contract.columns))


def overlap_finding(frame: pl.DataFrame, contract: Contract, train: NDArray[np.int64],
                    test: NDArray[np.int64]) -> tuple[Finding, ...]:
    """Test rows that are training rows too: the score on them is memory, not prediction."""
    count = overlap(frame, contract, train, test)
    if not count:
        return ()
    text = (f"{_rows(count)} of {len(test):,} test rows also in the training rows (all features and the target equal): "
            "their score is memory. Split by group, or drop duplicates")
    return (Finding(column="", kind="overlap", text=text),)


_MARKED = '   (contract marks it "confirm")'


def _of_column(values: pl.Series, column: Column, sample: pl.Series, said: str) -> list[Finding]:
    """What one column shows by itself."""
    def find(kind: Kind, text: str) -> Finding:
        return Finding(column=column.name, kind=kind, text=text)

    rows, missing = values.len(), values.null_count()
    if column.role == "id":
        more = "" if values.n_unique() >= rows - missing else "; its values repeat: --split group:" + column.name + \
            " keeps one's rows together"
        return [find("id", f"looks like an id: kept out of the features{more}")]
    if column.role == "ignored" and missing < rows:
        if column.type != "text":
            return []
        return [find("ignored_text", f"text with {values.n_unique():,} different values: ignored, since categories are "
                                     "at most 100 that come back; features = \"module:function\" can use it")]
    if missing == rows and rows:
        return [find("missing", "no value in any row: ignored")]
    found = []
    if column.role == "feature" and missing > MOSTLY_MISSING * rows:
        found.append(find("missing", f"missing in {missing / rows:.0%} of the rows"))
    if column.role == "feature" and _is_constant(values):
        return [*found, find("constant", f"the same in every row ({values.drop_nulls()[0]}): tells nothing")]
    if isinstance(values.dtype, pl.Datetime) and (odd := sentinel(values)):
        found.append(find("sentinel", f"{_rows(odd[1])} at {_shown(odd[0])}: real, or a mark for missing?{_MARKED}"))
    if column.type in _PLAIN and column.role in ("feature", "target"):
        found += [find(kind, text) for kind, text in _of_numbers(values, column, sample, said)]
    return found


def _of_numbers(values: pl.Series, column: Column, sample: pl.Series, said: str) -> list[tuple[Kind, str]]:
    found: list[tuple[Kind, str]] = []
    if values.dtype == pl.Float64 and (infinite := int(values.is_infinite().sum())):
        found.append(("infinite", f"{_rows(infinite)} with an infinite value: the contract rejects them"))
        values = values.filter(values.is_finite())
    if column.role == "feature" and (zeros := suspicious_zeros(values)):
        found.append(("zeros", f"{_rows(zeros)} at exactly 0: real zero or missing?{_MARKED}"))
    if odd := sentinel(values):
        found.append(("sentinel", f"{_rows(odd[1])} at {_shown(odd[0])}: real, or a mark for missing?{_MARKED}"))
    if column.role == "feature" and sample.len() >= 100 and not (values < 0).any():
        middle, high = sample.quantile(0.5, "nearest"), sample.quantile(0.99, "nearest")
        if middle and high and high / middle > HEAVY_TAIL:
            found.append(("heavy_tail", f"heavy right tail (p99/p50 = {high / middle:.1f}{said})"))
    return found


def _leaks(sample: pl.DataFrame, said: str, columns: list[Column]) -> list[Finding]:
    """Features that alone tell the target (almost) perfectly: equal, a line, or a step function of 50 bins.

    The share told is cross-checked: bins are made on even rows and judged on odd ones, so that many bins alone tell
    nothing.
    """
    goals = [c for c in columns if c.role == "target"]
    if not goals or sample.height < _FEWEST:
        return []
    goal, found = goals[0], []
    target = sample[goal.name]
    numeric = goal.type in _PLAIN and target.n_unique() > 10
    for column in columns:
        if column.role != "feature":
            continue
        values = sample[column.name]
        if values.dtype == target.dtype and bool((values.eq_missing(target)).all()):
            found.append(Finding(column=column.name, kind="leak", text=f"equals the target {goal.name} in every row"
                                 f"{said}: is it known before the prediction is needed?"))
            continue
        share = _explained(values, target) if numeric else _told(values, target)
        if share is not None and share >= NEAR_ONE:
            what = f"explains {_percent(share)} of the variance of" if numeric else f"tells {_percent(share)} of"
            found.append(Finding(column=column.name, kind="leak", text=f"alone {what} the target {goal.name}{said}: "
                                 "is it known before the prediction is needed?"))
        elif (auc := _auc(values, target)) is not None and max(auc, 1 - auc) >= NEAR_ONE:
            found.append(Finding(column=column.name, kind="leak", text="alone separates the classes of the target "
                                 f"{goal.name} (AUC {max(auc, 1 - auc):.4f}{said}): is it known before the prediction "
                                 "is needed?"))
    return found


def _explained(values: pl.Series, target: pl.Series) -> float | None:
    """R² of one feature for a number: the better of a straight line and (for categories) means per value."""
    both = pl.DataFrame({"x": values, "y": target.cast(pl.Float64)}).drop_nulls()
    if both.height < _FEWEST:
        return None
    y = both["y"].to_numpy()
    if not np.isfinite(y).all() or y.std() == 0:
        return None
    if values.dtype.is_numeric():
        x = both["x"].cast(pl.Float64).to_numpy()
        if not np.isfinite(x).all() or x.std() == 0:
            return None
        return float(np.corrcoef(x, y)[0, 1] ** 2)
    if values.dtype not in (pl.String, pl.Boolean):
        return None
    half = both.with_row_index("row")
    means = half.filter(pl.col("row") % 2 == 0).group_by("x").agg(pl.col("y").mean().alias("guess"))
    judged = half.filter(pl.col("row") % 2 == 1).join(means, on="x", how="inner")
    if judged.height < _FEWEST or float(judged["y"].var() or 0) == 0:           # type: ignore[arg-type]
        return None
    truth, guess = judged["y"].to_numpy(), judged["guess"].to_numpy()
    return float(1 - ((truth - guess) ** 2).mean() / truth.var())


def _auc(values: pl.Series, target: pl.Series) -> float | None:
    """Area under the ROC curve of a number by itself, for two classes (rank sum, ties count half)."""
    if not values.dtype.is_numeric() or target.drop_nulls().n_unique() != 2:
        return None
    both = pl.DataFrame({"x": values.cast(pl.Float64).rank("average"), "y": target}).drop_nulls()
    first = both["y"].sort().head(1).implode()
    ranks, ones = both["x"].rank("average").to_numpy(), ~both["y"].is_in(first).to_numpy()
    positive = int(ones.sum())
    negative = len(ranks) - positive
    if min(positive, negative) < _FEWEST // 2:
        return None
    return float((ranks[ones].sum() - positive * (positive + 1) / 2) / (positive * negative))


def _told(values: pl.Series, target: pl.Series) -> float | None:
    """Share of held-out rows whose class the feature's bin (number) or value (text) tells; None where that is no
    news."""
    keys = values
    if values.dtype.is_numeric() and values.n_unique() > _BINS:
        floats = values.cast(pl.Float64)
        known = floats.drop_nulls().to_numpy()
        edges = np.unique(np.quantile(known[np.isfinite(known)], np.linspace(0, 1, _BINS + 1)[1:-1]))
        keys = pl.Series(np.searchsorted(edges, floats.fill_null(float("inf")).to_numpy(), side="right"))
    both = pl.DataFrame({"x": keys.cast(pl.String), "y": target.cast(pl.String)})
    both = both.with_row_index("row").drop_nulls("y")
    learn, judge = both.filter(pl.col("row") % 2 == 0), both.filter(pl.col("row") % 2 == 1)
    if judge.height < _FEWEST:
        return None
    common = float(judge["y"].value_counts()["count"].max()) / judge.height      # type: ignore[arg-type]
    guesses = learn.group_by("x").agg(pl.col("y").mode().sort().first().alias("guess"))
    hit = judge.join(guesses, on="x", how="left", nulls_equal=True)
    share = float((hit["guess"] == hit["y"]).fill_null(False).mean())           # type: ignore[arg-type]
    return share if share > common + (1 - common) / 2 else None


def _twins(frame: pl.DataFrame, sample: pl.DataFrame, said: str, features: list[Column]) -> list[Finding]:
    """Pairs of features that say (nearly) the same; at most the first 200 numbers are compared with each other."""
    found = []
    numbers = [c.name for c in features if c.type in _PLAIN and not _is_constant(sample[c.name])][:200]
    floats = [pl.col(name).cast(pl.Float64) for name in numbers]
    matrix = sample.select(one.fill_null(one.mean()) for one in floats)
    values = matrix.to_numpy()
    keep = np.isfinite(values).all(axis=0)
    numbers = [name for name, kept in zip(numbers, keep, strict=True) if kept]
    if len(numbers) >= 2 and sample.height >= _FEWEST:
        like = np.abs(np.corrcoef(values[:, keep], rowvar=False))
        for a, b in zip(*np.nonzero(np.triu(like, 1) > NEAR_ONE), strict=True):
            found.append(Finding(column=numbers[int(b)], kind="duplicate_column",
                                 text=f"nearly the same as {numbers[int(a)]} (correlation {like[a, b]:.4f}{said})"))
    others = [c.name for c in features if c.type not in _PLAIN]
    for place, name in enumerate(others):
        for earlier in others[:place]:
            if frame.schema[name] == frame.schema[earlier] and bool(sample[name].eq_missing(sample[earlier]).all()) \
                    and bool(frame[name].eq_missing(frame[earlier]).all()):
                found.append(Finding(column=name, kind="duplicate_column", text=f"the same as {earlier} in every row"))
                break
    return found


def _target(frame: pl.DataFrame, sample: pl.DataFrame, said: str, columns: list[Column]) -> list[Finding]:
    goals = [c for c in columns if c.role == "target"]
    if not goals or frame.height < _FEWEST:
        return []
    name, values = goals[0].name, frame[goals[0].name].drop_nulls()
    distinct = values.n_unique()
    if (values.dtype != pl.Float64 and distinct <= 50) or distinct == 2:
        counted = values.value_counts().sort("count", name)
        least, count = counted.row(0)
        if distinct >= 2 and count < RARE_CLASS * values.len():
            return [Finding(column=name, kind="imbalance", text=f"class {least} has {_rows(count)} of {values.len():,} "
                            f"({_percent(count / values.len())}): accuracy alone says little")]
        return []
    if not values.dtype.is_numeric():
        return []
    first, third = sample[name].quantile(0.25), sample[name].quantile(0.75)
    if first is None or third is None or third <= first:
        return []
    reach = OUTLIER_IQR * (third - first)
    if outside := int(((values < first - reach) | (values > third + reach)).sum()):
        return [Finding(column=name, kind="target_outliers", text=f"{_rows(outside)} more than {OUTLIER_IQR:.0f} "
                        f"interquartile ranges away{said}: they dominate a squared error")]
    return []


def _duplicates(frame: pl.DataFrame, columns: list[Column]) -> list[Finding]:
    names = [c.name for c in columns if c.role in ("feature", "target", "time", "group")]
    if not names or frame.height < 2:
        return []
    again = frame.height - frame.select(names).hash_rows(seed=1).n_unique()
    if not again:
        return []
    return [Finding(column="", kind="duplicate_rows", text=f"{_rows(again)} repeat an earlier row "
                    f"({_percent(again / frame.height)}): the same row may train and test")]


def _sample(frame: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """At most SAMPLE rows, evenly spaced, and what to say about that."""
    if frame.height <= SAMPLE:
        return frame, ""
    places = np.linspace(0, frame.height - 1, SAMPLE).astype(np.int64)
    return frame[places], f", seen on a sample of {SAMPLE:,} rows"


def _is_constant(values: pl.Series) -> bool:
    known = values.drop_nulls()
    return bool(known.len()) and not values.null_count() and bool(known.min() == known.max())


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def _percent(share: float) -> str:
    return "100%" if share > 1 - 1e-12 else f"{share:.2%}" if share > 0.99 or share < 0.1 else f"{share:.0%}"


def _shown(value: float | datetime) -> str:
    return str(value.date()) if isinstance(value, datetime) else re.sub(r"\.0$", "", str(value))
