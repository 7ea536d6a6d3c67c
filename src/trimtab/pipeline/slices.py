"""On which rows is the model worse than on the rest?

Each feature is cut into deciles (quarters or halves where rows are few), categories and missing; where there are few
features, pairs of halves as well. Many slices are looked at, so the worst one is large by chance alone: intervals and
p-values are simultaneous. Their critical value is the distribution of the largest studentised gap when losses have
nothing to do with features:

* independent rows: losses are permuted over rows (Westfall & Young 1993, max-T), exact under exchangeability;
* groups or time blocks: score contributions are flipped per cluster (wild cluster bootstrap with Rademacher weights,
  Cameron, Gelbach & Miller 2008), an approximation that is conservative for right-skewed losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from trimtab.pipeline.evaluation import Slice, SliceReport, number
from trimtab.pipeline.model import Array, Feature, Index
from trimtab.stats.interval import Interval

Mask = NDArray[np.bool_]
Members = Any                                 # scipy.sparse.csr_array of 0.0 and 1.0, shape (slices, rows)

LEAST_ROWS = 20                               # below, a slice's interval means nothing
MOST_CATEGORIES = 30
MOST_FEATURES_FOR_PAIRS = 12
LEAST_ROWS_FOR_PAIRS = 400
LEAST_CLUSTERS = 8
MOST_ROWS_FOR_PAIRS = 20_000
FEWEST_RESAMPLES = 199                        # p can then still be as small as 0.005
_WORK = 2_000_000_000                         # memberships × resamples; above, fewer resamples
_ORDINALS = ("bottom", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th", "top")
_PARTS = ((250, 10, "decile"), (100, 4, "quarter"), (0, 2, "half"))    # from so many rows on: so many parts


@dataclass(frozen=True, slots=True)
class _Part:
    """A set of rows with a name."""

    where: str
    features: tuple[str, ...]
    rows: Mask


def find_slices(X: Array, losses: Array, features: Sequence[Feature], *, metric: str, reference: Array,
                rng: np.random.Generator, clusters: Index | None = None, level: float = 0.95, resamples: int = 999,
                most: int = 10) -> SliceReport:
    """The slices with the strongest evidence of a larger mean loss, worst first.

    X: shape (rows, features), held out, encoded; losses: shape (rows,), whose mean is `metric`; reference: encoded
    training rows, whose quantiles are the cuts; clusters: shape (rows,), a code per group or time block, None where
    rows are independent. O(rows × slices × resamples).
    """
    if clusters is not None and len(np.unique(clusters)) < LEAST_CLUSTERS:
        return SliceReport(note=f"fewer than {LEAST_CLUSTERS} groups or time blocks are held out")
    parts, note = _parts(X, features, reference)
    if not parts:
        return SliceReport(note=f"no slice of the {len(X):,} held-out rows has {LEAST_ROWS} rows inside and outside")
    members = _members(parts)
    resamples = int(np.clip(_WORK // members.nnz, FEWEST_RESAMPLES, resamples))
    overall = float(losses.mean())
    observed = _studentised(members, losses[:, None], clusters)[:, 0]
    maxima = _null_maxima(members, losses, clusters, rng, resamples)
    critical = float(np.quantile(maxima, level, method="higher"))
    order = np.argsort(-observed, kind="stable")[:most]
    found = []
    for index in order:
        inside = losses[parts[index].rows]
        centre = float(inside.mean())
        half = critical * _standard_error(inside, None if clusters is None else clusters[parts[index].rows])
        found.append(Slice(
            where=parts[index].where, features=parts[index].features, metric=metric, overall=overall,
            interval=Interval(value=centre, low=centre - half, high=centre + half, level=level, n=len(inside)),
            p=float((1 + np.sum(maxima >= observed[index])) / (resamples + 1))))
    return SliceReport(slices=tuple(found), searched=len(parts), note=note)


def _parts(X: Array, features: Sequence[Feature], reference: Array) -> tuple[list[_Part], str]:
    """Every slice with enough rows inside and outside; and a sentence where pairs were left out."""
    rows = len(X)
    parts = [part for column, feature in enumerate(features)
             for part in _of_feature(feature, X[:, column], reference[:, column])]
    notes = []
    if len(features) > MOST_FEATURES_FOR_PAIRS:
        notes.append(f"pairs of features not searched: more than {MOST_FEATURES_FOR_PAIRS} features")
    elif rows < LEAST_ROWS_FOR_PAIRS:
        notes.append(f"pairs of features not searched: fewer than {LEAST_ROWS_FOR_PAIRS} held-out rows")
    elif rows > MOST_ROWS_FOR_PAIRS:
        notes.append(f"pairs of features not searched: more than {MOST_ROWS_FOR_PAIRS:,} held-out rows")
    else:
        parts += _pairs(X, features, reference)
    kept = [part for part in parts if LEAST_ROWS <= part.rows.sum() <= rows - LEAST_ROWS]
    return kept, "; ".join(notes)


def _members(parts: Sequence[_Part]) -> Members:
    columns = [np.flatnonzero(part.rows) for part in parts]
    ends = np.cumsum([0, *map(len, columns)])
    return sparse.csr_array((np.ones(ends[-1]), np.concatenate(columns), ends), shape=(len(parts), len(parts[0].rows)))


def _of_feature(feature: Feature, values: Array, reference: Array) -> list[_Part]:
    missing = np.isnan(values)
    name = (feature.name,)
    parts = [_Part(f"{feature.name} missing", name, missing)]
    if feature.kind in ("category", "boolean"):
        return parts + [_Part(f"{feature.name} = {label}", name, values == code)
                        for code, label in _labels(feature)[:MOST_CATEGORIES]]
    known = reference[~np.isnan(reference)]
    levels = np.unique(known)
    if len(levels) <= 10:
        return parts + [_Part(f"{feature.name} = {_cut(feature, level)}", name, values == level) for level in levels]
    count, word = next((count, word) for least, count, word in _PARTS if len(values) >= least)
    edges = np.quantile(known, np.arange(1, count) / count)
    place = np.searchsorted(edges, values, side="left")
    for code in range(count):
        span = f"≤ {_cut(feature, edges[0])}" if code == 0 else f"> {_cut(feature, edges[-1])}" \
            if code == count - 1 else f"{_cut(feature, edges[code - 1])} to {_cut(feature, edges[code])}"
        ordinal = _ORDINALS[-1] if code == count - 1 else _ORDINALS[code]
        parts.append(_Part(f"{feature.name} {ordinal} {word} ({span})", name, (place == code) & ~missing))
    return parts


def _pairs(X: Array, features: Sequence[Feature], reference: Array) -> list[_Part]:
    """Halves of each number against halves or categories of each other feature."""
    cuts = [_coarse(feature, X[:, column], reference[:, column]) for column, feature in enumerate(features)]
    return [_Part(f"{a.where} and {b.where}", a.features + b.features, a.rows & b.rows)
            for first in range(len(cuts)) for second in range(first + 1, len(cuts))
            for a in cuts[first] for b in cuts[second]]


def _coarse(feature: Feature, values: Array, reference: Array) -> list[_Part]:
    name = (feature.name,)
    if feature.kind in ("category", "boolean"):
        return [_Part(f"{feature.name} = {label}", name, values == code) for code, label in _labels(feature)[:4]]
    known = reference[~np.isnan(reference)]
    if not len(known):
        return []
    middle = float(np.median(known))
    return [_Part(f"{feature.name} ≤ {_cut(feature, middle)}", name, values <= middle),
            _Part(f"{feature.name} > {_cut(feature, middle)}", name, values > middle)]


def _labels(feature: Feature) -> list[tuple[int, str]]:
    if feature.kind == "boolean":
        return [(0, "false"), (1, "true")]
    return [(-1, "(unseen category)"), *enumerate(feature.categories)]


def _cut(feature: Feature, value: float) -> str:
    if feature.kind == "datetime":
        return str(np.datetime64("1970-01-01") + np.timedelta64(int(np.floor(value)), "D"))
    return f"{value:g}" if float(value).is_integer() and abs(value) < 1e6 else number(float(value))


def _studentised(members: Members, losses: Array, clusters: Index | None) -> Array:
    """(mean inside − mean outside) / its standard error. losses: (rows, k) → (slices, k)."""
    rows = members.shape[1]
    inside = members.sum(axis=1)[:, None]
    centred = losses - losses.mean(0)
    if clusters is not None:
        scores = _cluster_scores(members, centred[:, 0], clusters)
        return _ratio(scores.sum(1), np.sqrt((scores**2).sum(1)))[:, None]
    gap = members @ centred                    # Σ inside of (loss − overall); outside it is the same, negative
    square = members @ centred**2
    outside = rows - inside                    # Welch: separate variances inside and outside
    var_in = np.maximum(square / inside - (gap / inside)**2, 0) / inside
    var_out = np.maximum(((centred**2).sum(0) - square) / outside - (gap / outside)**2, 0) / outside
    return _ratio(gap / inside + gap / outside, np.sqrt(var_in + var_out))


def _ratio(above: Array, below: Array) -> Array:
    quotient: Array = np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below > 0)
    return quotient


def _cluster_scores(members: Members, centred: Array, clusters: Index) -> Array:
    """Σ over a cluster's rows of (1[inside] − share inside) · (loss − overall). Shape (slices, clusters)."""
    rows = members.shape[1]
    _, codes = np.unique(clusters, return_inverse=True)
    weighted = sparse.csr_array((centred, (np.arange(rows), codes)))
    share = members.sum(axis=1)[:, None] / rows
    scores: Array = (members @ weighted).toarray() - share * np.bincount(codes, weights=centred)
    return scores


def _null_maxima(members: Members, losses: Array, clusters: Index | None, rng: np.random.Generator,
                 resamples: int) -> Array:
    """The largest studentised gap over all slices, in `resamples` worlds where losses ignore the features."""
    scores = None if clusters is None else _cluster_scores(members, losses - losses.mean(), clusters)
    maxima = np.empty(resamples)
    step = max(1, min(64, 4_000_000 // len(losses)))
    for start in range(0, resamples, step):
        width = min(step, resamples - start)
        if scores is None:
            worlds = _studentised(members, rng.permuted(np.repeat(losses[:, None], width, axis=1), axis=0), None)
        else:
            flips = rng.choice(np.array([-1.0, 1.0]), size=(scores.shape[1], width))
            worlds = _ratio(scores @ flips, np.sqrt((scores**2).sum(1))[:, None])
        maxima[start:start + width] = worlds.max(0)
    return maxima


def _standard_error(losses: Array, clusters: Index | None) -> float:
    """Of the mean; over clusters where rows depend on each other."""
    n = len(losses)
    centred = losses - losses.mean()
    if clusters is None:
        return float(losses.std(ddof=1) / np.sqrt(n))
    sums = np.bincount(np.unique(clusters, return_inverse=True)[1], weights=centred)
    few = len(sums)
    return float(np.sqrt((sums**2).sum() * few / max(few - 1, 1)) / n)
