"""How are bets on a stretch of rows scored?  The features of a column, and the log wealth that betting on them wins.

Each feature f is a number in [0, 1] that a row has by its bin: its mid-rank u, its spread |2u − 1|, whether it is
missing, whether its category is unseen or is category j. The baseline gives the feature's mean m and how far off it
may be, δ: sampling error of the baseline itself (z·se + z²/3n, Bernstein's form, so that what was never seen is not
taken for impossible) and the smallest change that matters to the user. A bet is a sign s and a stake λ:

    log E = Σ_b c_b · log(1 + λ·(s·(f_b − m) − δ))

Its expectation (of E) is at most 1 as long as |E f − m| ≤ δ: an e-value. The mean over all bets is one, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trimtab.monitor.windows import Sketch
from trimtab.sketch.column import CategorySketch

Array = NDArray[np.float64]
Z: Final = 3.5                                 # covers columns × features: 20 × 3 of them, two-sided, to about 3%
STAKES: Final = 8
TOP: Final = 20                                # categories that are bet on one by one
_RANK_PER_SD = 0.5 / np.sqrt(np.pi)            # how far the mean rank of a normal moves for a shift of one sd


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One feature of a column. f: shape (bins,), values in [0, 1]. seen: shape (bins,), bins in which a row has it."""

    name: str
    f: Array
    seen: NDArray[np.bool_]
    tolerance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bets:
    """All bets on one column. log_factors: shape (features · 2 · stakes, bins); deff: the column's design effect."""

    features: tuple[str, ...]
    log_factors: Array
    deff: float

    @classmethod
    def on(cls, counts: Array, features: tuple[Feature, ...], *, deff: float = 1.0, z: float = Z) -> Bets:
        """Bets against the baseline `counts`, shape (bins,). deff ≥ 1: rows that tell as much as one independent row.
        z: how many standard errors the baseline itself may be off.

        Features without a single row in the baseline are left out.
        """
        names: list[str] = []
        rows: list[Array] = []
        for feature in features:
            weight = np.where(feature.seen, counts, 0.0)
            if not (n := float(weight.sum())):
                continue
            mean = float(weight @ feature.f) / n
            variance = float(weight @ (feature.f - mean) ** 2) / n
            n /= deff
            slack = z * float(np.sqrt(variance / n)) + z * z / (3 * n) + feature.tolerance
            gain = np.stack([feature.f - mean - slack, mean - feature.f - slack])
            worst = np.array([mean + slack, 1 - mean + slack])
            stakes = 0.95 / worst[:, None] * 0.5 ** np.arange(STAKES)
            factors = np.log1p(stakes[:, :, None] * gain[:, None, :])
            rows.append(np.where(feature.seen, factors, 0.0).reshape(2 * STAKES, -1))
            names.append(feature.name)
        return cls(features=tuple(names), deff=deff, log_factors=np.concatenate(rows) if rows else np.zeros((0, len(
            counts))))

    def score(self, counts: Array) -> tuple[float, dict[str, tuple[float, int]]]:
        """(log of the mean of all e-values, for each feature the log of its best bet and the bet's sign)."""
        if not self.features:
            return 0.0, {}
        logs = self.log_factors @ (counts / self.deff)
        top = float(logs.max())
        whole = top + float(np.log(np.exp(logs - top).mean()))
        by_feature = logs.reshape(len(self.features), 2, STAKES).max(axis=2)
        return whole, {name: (float(pair.max()), 1 if pair[0] >= pair[1] else -1)
                       for name, pair in zip(self.features, by_feature, strict=True)}


def counts_of(sketch: Sketch) -> Array:
    """Rows per bin as bets see them: the bins or categories, (for categories: other,) and at the end what is missing or
    not finite."""
    if isinstance(sketch, CategorySketch):
        return np.array([*sketch.categories.counts, sketch.categories.other, sketch.missing], dtype=np.float64)
    return np.array([*sketch.counts, sketch.missing + sketch.infinite], dtype=np.float64)


def features_of(before: Sketch, *, ignore_below_sd: float) -> tuple[Feature, ...]:
    """What is watched in a column like `before`. ignore_below_sd: the smallest change that matters, in sds of the
    column; for a rate in sds of the 0/1 variable, counted as at least 0.1."""
    counts = counts_of(before)
    present = np.ones(len(counts), dtype=np.bool_)
    present[-1] = False
    everywhere = np.ones(len(counts), dtype=np.bool_)
    watched: list[tuple[str, Array, NDArray[np.bool_]]] = [("missing", _only(len(counts), len(counts) - 1), everywhere)]
    if isinstance(before, CategorySketch):
        names = before.categories.names
        watched.append(("unseen", _only(len(counts), len(names)), present))
        common = sorted(range(len(names)), key=lambda j: -before.categories.counts[j])[:TOP]
        watched += [(f"category {names[j]}", _only(len(counts), j), present) for j in sorted(common)]
        ranks: tuple[Feature, ...] = ()
    else:
        rank = _mid_ranks(counts)
        slack = ignore_below_sd * float(_RANK_PER_SD)
        ranks = (Feature(name="level", f=rank, seen=present, tolerance=slack),
                 Feature(name="spread", f=np.abs(2 * rank - 1), seen=present, tolerance=slack))
    return (*ranks, *(Feature(name=name, f=f, seen=seen, tolerance=_rate_slack(counts, f, seen, ignore_below_sd))
                      for name, f, seen in watched))


def contract_bets(broken: int, rows: int, *, ignore_below_sd: float) -> Bets:
    """Bets on the share of rows that break the contract, of which the baseline had `broken` among `rows`."""
    counts, f = np.array([rows - broken, broken], dtype=np.float64), np.array([0.0, 1.0])
    seen = np.ones(2, dtype=np.bool_)
    return Bets.on(counts, (Feature(name="out of contract", f=f, seen=seen,
                                    tolerance=_rate_slack(counts, f, seen, ignore_below_sd)),))


def design_effect(blocks: Array) -> float:
    """How many rows tell as much as one independent row: n·var(block means) / var(x), at least 1.

    blocks: shape (blocks, n), mid-ranks of consecutive rows of the baseline in the order of time. The variance of the
    block means is taken at its upper 90% limit, since a few blocks know it badly. A calibrated approximation for
    dependent rows, no guarantee: it holds for dependence that fades within a block.
    """
    many, n = blocks.shape
    spread = float(blocks.var())
    if many < 5 or spread <= 0:
        return 1.0
    freedom = many - 1
    low = freedom * (1 - 2 / (9 * freedom) - 1.2816 * np.sqrt(2 / (9 * freedom))) ** 3   # Wilson & Hilferty: χ² at 10%
    return max(1.0, float(n * blocks.mean(axis=1).var(ddof=1) / spread * freedom / low))


def _mid_ranks(counts: Array) -> Array:
    """The mean rank in [0, 1] of a value of each bin among the baseline's values; 0 at the end, where it is missing."""
    inside = counts[:-1]
    below = np.concatenate(([0.0], np.cumsum(inside)[:-1]))
    return np.append((below + inside / 2) / max(float(inside.sum()), 1.0), 0.0)


def _only(length: int, place: int) -> Array:
    f = np.zeros(length)
    f[place] = 1.0
    return f


def _rate_slack(counts: Array, f: Array, seen: NDArray[np.bool_], ignore_below_sd: float) -> float:
    weight = np.where(seen, counts, 0.0)
    mean = float(weight @ f) / max(float(weight.sum()), 1.0)
    return ignore_below_sd * max(float(np.sqrt(mean * (1 - mean))), 0.1)
