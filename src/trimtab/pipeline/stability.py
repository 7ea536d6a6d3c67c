"""Does the model hold when it is shaken?  (other splits and seeds, input noise, missing values, row order)

Refits see only the training rows: they are split anew, by the same kind of split as the hold-out, under other seeds.
The out-of-fold predictions that fall out of it are what the decision threshold is chosen on. Noise, missing values and
row order are tried on the fitted model and the held-out rows. What was not tested says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from trimtab.pipeline.evaluation import Stability, StabilityCheck, number
from trimtab.pipeline.fitting import FitFailed
from trimtab.pipeline.folds import folds
from trimtab.pipeline.model import Array, Feature, Index, Learnable, Split, Task
from trimtab.stats.losses import row_losses

Predict = Callable[[Array], Array]            # X → shape (rows,) for regression, (rows, classes) else
Refit = Callable[[Index, int], Predict]       # rows to train on, seed → the fitted model's predict

SPLITS = 5
NOISE = 0.01
BLANKED = 0.1
MOST_ROWS = 20_000
_SAME = 1e-9                                  # relative; sums in another order differ in the last bits


@dataclass(frozen=True, slots=True)
class Refits:
    """What refitting on other splits of the training rows gave.

    losses: mean loss a split; rows, predictions: the out-of-fold ones; planned: splits that the budget was for;
    sample: how many training rows were drawn to be split, 0 where all of them were.
    """

    losses: tuple[float, ...] = ()
    rows: Index | None = None
    predictions: Array | None = None
    planned: int = SPLITS
    sample: int = 0
    why_not: str = ""


def other_splits(data: Learnable, split: Split, *, rng: np.random.Generator,
                 count: int = SPLITS) -> list[tuple[Index, Index]]:
    """New (fit, check) splits of the *training* rows, of the same kind as `split`.

    By row: shuffled anew, stratified by class. By group: whole groups, dealt anew. By time: growing windows, each
    checked on the stretch that follows, cut at random moments.
    """
    rows = split.train
    if split.kind == "time" and data.times is not None:
        return _time_splits(rows[np.argsort(data.times[rows], kind="stable")], data.times, rng, count)
    if split.kind == "group" and data.groups is not None:
        units = rng.permutation(np.unique(data.groups[rows]))
        place = np.empty(len(units), dtype=np.int64)
        place[np.argsort(units)] = np.arange(len(units)) % count
        part = place[np.searchsorted(np.sort(units), data.groups[rows])]
        return [(rows[part != number], rows[part == number]) for number in range(min(count, len(units)))
                if len(units) > 1]
    anew, _ = folds(data, replace(split, kind="row", seed=int(rng.integers(0, 2**31 - 1))), count)
    return [(fold.fit, fold.score) for fold in anew]


def _time_splits(ordered: Index, times: Array, rng: np.random.Generator, count: int) -> list[tuple[Index, Index]]:
    width = len(ordered) // (count + 2)
    at = times[ordered]
    found = []
    for part in range(count):
        start = (part + 1) * width + int(rng.integers(0, max(1, width)))
        start = int(np.searchsorted(at, at[start], side="left"))      # rows of one moment stay together
        if start > 0 and width > 0:
            found.append((ordered[:start], ordered[start:start + width]))
    return found


def refit_elsewhere(data: Learnable, split: Split, refit: Refit, *, rng: np.random.Generator, budget_s: float,
                    forecast_s: float = 0.0, now_s: Callable[[], float] = time.monotonic) -> Refits:
    """Fit on other splits until done or the budget is spent; none at all where the forecast says that one won't fit.

    Of more than 20,000 training rows that are split by row, 20,000 are drawn: five fits on all of them would take as
    long as the training did. forecast_s: seconds one fit on all training rows is expected to take.
    """
    sample = 0
    if split.kind == "row" and len(split.train) > MOST_ROWS:
        sample, forecast_s = MOST_ROWS, forecast_s * MOST_ROWS / len(split.train)
        split = replace(split, train=np.sort(rng.choice(split.train, MOST_ROWS, replace=False)))
    if forecast_s > budget_s:
        return Refits(why_not=f"one fit takes about {number(forecast_s)} s, over the budget of {number(budget_s)} s")
    losses: list[float] = []
    rows: list[Index] = []
    predictions: list[Array] = []
    splits = other_splits(data, split, rng=rng)
    began = now_s()
    for fit, check in splits:
        if losses and (now_s() - began) * (len(losses) + 1) / len(losses) > budget_s:
            break
        seed = int(rng.integers(0, 2**31 - 1))
        if data.task != "regression" and len(np.unique(data.y[fit])) < len(data.classes):
            continue                           # a class is missing: another problem than the one to be solved
        try:
            guess = refit(fit, seed)(data.X[check])
        except FitFailed as problem:
            return Refits(planned=len(splits), why_not=str(problem))
        losses.append(float(row_losses(data.task, data.y[check], guess).mean()))
        rows.append(check)
        predictions.append(guess)
    if not losses:
        return Refits(planned=len(splits), why_not="no other split of the training rows holds every class")
    return Refits(losses=tuple(losses), rows=np.concatenate(rows), predictions=np.concatenate(predictions),
                  planned=len(splits), sample=sample)


def shake(*, task: Task, predict: Predict, X: Array, y: Array | Index, reference: Array, features: Sequence[Feature],
          refits: Refits, kind: Literal["row", "group", "time"], rng: np.random.Generator,
          rounding: Callable[[Array], float] = lambda X: 0.0) -> Stability:
    """The battery on a fitted model.

    X, y: held-out rows; reference: encoded training rows (for each feature's sd); refits: from `refit_elsewhere`.
    rounding: how far apart two answers for a row of X can be by rounding alone, where that is known.
    """
    if len(X) > MOST_ROWS:
        kept = np.sort(rng.choice(len(X), MOST_ROWS, replace=False))
        X, y = X[kept], y[kept]
    plain = predict(X)
    return Stability(checks=(
        _splits(refits, kind),
        _noise(task, predict, X, y, plain, reference, features, rng),
        _missing(task, predict, X, y, plain, features, rng),
        _order(predict, X, plain, rng, rounding)))


def _splits(refits: Refits, kind: str) -> StabilityCheck:
    if not refits.losses:
        return StabilityCheck(name="other splits", tested=False, words=f"other splits: not tested ({refits.why_not})")
    low, high = min(refits.losses), max(refits.losses)
    by = {"row": "", "group": " by group", "time": " by time"}[kind]
    short = "" if len(refits.losses) == refits.planned else f" (of {refits.planned} planned; the budget was spent)"
    of = f"{refits.sample:,}" if refits.sample else "the"
    return StabilityCheck(
        name="other splits", tested=True, values=refits.losses,
        words=f"{len(refits.losses)} other splits{by} of {of} training rows {number(low)}–{number(high)}{short}")


def _noise(task: Task, predict: Predict, X: Array, y: Array | Index, plain: Array, reference: Array,
           features: Sequence[Feature], rng: np.random.Generator) -> StabilityCheck:
    numeric = np.array([feature.kind == "number" for feature in features])
    if not numeric.any():
        return StabilityCheck(name="input noise", tested=False,
                              words="input noise: not applicable (no numeric feature)")
    sd = np.where(numeric, _column_sd(reference), 0.0)
    noisy = X + rng.normal(size=X.shape) * NOISE * sd
    change = _change(task, y, plain, predict(noisy))
    return StabilityCheck(name="input noise", tested=True, values=(change,),
                          words=f"{NOISE:.0%} input noise {_signed(change)}")


def _missing(task: Task, predict: Predict, X: Array, y: Array | Index, plain: Array, features: Sequence[Feature],
             rng: np.random.Generator) -> StabilityCheck:
    allowed = np.array([feature.missing for feature in features])
    columns = int(allowed.sum())
    if not columns:
        return StabilityCheck(name="missing values", tested=False,
                              words="missing values: not applicable (the contract allows none)")
    where = f"contract allows them in {columns} column{'s' if columns > 1 else ''}"
    blanked = np.where((rng.random(X.shape) < BLANKED) & allowed, np.nan, X)
    try:
        guess = predict(blanked)
    except (ValueError, FitFailed) as problem:
        return StabilityCheck(name="missing values", tested=True,
                              words=f"missing values: the model refuses them ({problem}), though the {where}")
    if not np.isfinite(guess).all():
        return StabilityCheck(name="missing values", tested=True,
                              words=f"missing values: some predictions are not finite, though the {where}")
    change = _change(task, y, plain, guess)
    return StabilityCheck(name="missing values", tested=True, values=(change,),
                          words=f"missing values → imputed as in training ({where}; {BLANKED:.0%} blanked: "
                                f"{_signed(change)})")


def _order(predict: Predict, X: Array, plain: Array, rng: np.random.Generator,
           rounding: Callable[[Array], float]) -> StabilityCheck:
    order = rng.permutation(len(X))
    back = np.empty_like(plain)
    back[order] = predict(X[order])
    alone = rng.choice(len(X), min(20, len(X)), replace=False)
    single = np.concatenate([predict(X[row:row + 1]) for row in alone])
    apart = np.abs(back - plain).reshape(len(X), -1).max(axis=1)
    apart[alone] = np.maximum(apart[alone], np.abs(single - plain[alone]).reshape(len(alone), -1).max(axis=1))
    worst, row = float(apart.max()), int(apart.argmax())
    scale = max(1.0, float(np.abs(plain).max()))
    words = "row order changes nothing" if worst == 0 else f"row order changes predictions by ≤ {worst:.1g}"
    if worst > _SAME * scale and worst <= (most := rounding(X[row:row + 1])):
        words = (f"row order changes predictions by ≤ {worst:.1g}, over {_SAME:.0e} of the largest: rounding of "
                 f"cancelling terms, which can come to {most:.1g}")
    elif worst > _SAME * scale:
        words = f"row order CHANGES predictions, by up to {number(worst)}: a row's answer depends on the rows beside it"
    return StabilityCheck(name="row order", tested=True, words=words, values=(worst,))


def _column_sd(reference: Array) -> Array:
    """Standard deviation a column, NaN left out; 0 where nothing is known."""
    known = ~np.isnan(reference)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, reference, 0.0).sum(0) / count
    sd: Array = np.sqrt(np.where(known, (reference - mean)**2, 0.0).sum(0) / count)
    return sd


def _change(task: Task, y: Array | Index, plain: Array, shaken: Array) -> float:
    return float(row_losses(task, y, shaken).mean() - row_losses(task, y, plain).mean())


def _signed(change: float) -> str:
    return "no change" if change == 0 else f"{'+' if change > 0 else '−'}{number(abs(change))}"
